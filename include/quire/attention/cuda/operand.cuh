// SPDX-License-Identifier: Apache-2.0
// A tile as the left operand of tensor-core products. With X [rows][columns] of kv/codec.hpp, y[column] = Σ_row a[row]·X[row][column]
// is the transposed product: columns of X stand on the MMA's 16 rows, rows of X are what it sums over, and the few query rows are
// its 8 columns. Codecs keep 2 to 16 neighbouring rows of X in a word, [rows / per word][columns], and that is the order of the
// operand's fragments: a lane takes two neighbouring columns with one 64-bit load, and no transposing load is needed.
#pragma once

#include "../../kv/codec/hadamard.hpp"
#include "../../kv/codec/raw.hpp"
#include "copies.cuh"

namespace quire::inline v0::attention::cuda {

using device::warp_threads;
/// Columns and summed rows of one product.
inline constexpr std::uint32_t mma_columns = 16, mma_rows = 16;

/// A lane's place in fragments (see device::mma_bf16).
struct lane_place {
  std::uint32_t g, t;
  __device__ static lane_place of(std::uint32_t lane) noexcept { return {lane / 4, lane % 4}; }
};

/// Where a pair of neighbouring rows (2·pair, 2·pair + 1) of X is summed: step, lane t and which half of the step's words.
struct pair_place {
  std::uint32_t step, t, half;
};

/// X = scale·code + minimum, as the operand counts codes. A scale by rows, or by parts of them, goes into the coefficients of the product, others
/// into what comes out. Sixteen neighbouring columns lie in one part.
enum class scaling { none, tile, rows, parts, columns };

/// How `Codec`'s tiles of shape [Rows][Columns] multiply. A model gives
///   word_rows              rows of words; tiles are staged in shared memory as [word_rows][stride] words, then what follows them
///   staged_bytes           the whole; parameters begin at `parameters`
///   stage(to, tile, order) asks for `copied_bytes` by an order of copies.cuh
///   place_of(pair), pair_of(place)   the order in which rows are summed
///   for_each_step(words, column, lane, f)   f(step, fragment) for the 16 columns from `column` on; by rows or parts also for_each_step<false>: in a loop
///   scaled                 what a scale (and a minimum, unless by tile) belongs to
///   scale(tile, g), minimum(tile, g)        g: the row or the column; nothing for parts
///   four_of(tile, step, column, lane)       by rows or parts: scales and minima of the four rows whose fragment a lane has
/// `MoreBytes` behind the base's parameters are staged with them. A codec that adds to what another keeps (operand_gear.cuh) also gives
///   repaired               true
///   project, repair        its part of the product, from coefficients in the base's order that are rounded to f16 but not scaled
template <class Codec, std::uint32_t Rows, std::uint32_t Columns, std::uint32_t MoreBytes = 0>
struct operand;

template <class Operand>
inline constexpr bool is_repaired = requires { requires Operand::repaired; };
/// Into how many parts rows of X fall that have scales of their own in each column (operand_split.cuh); 1 where they have not.
template <class Operand>
constexpr std::uint32_t column_parts_of() noexcept {
  if constexpr (requires { Operand::column_parts; }) return Operand::column_parts;
  else return 1;
}
/// Whether coefficients are scaled, each tile anew.
template <class Operand>
inline constexpr bool scales_coefficients = Operand::scaled == scaling::rows || Operand::scaled == scaling::parts;
/// Of four neighbouring rows of X.
struct four_scales {
  float4 scale, minimum;
};
/// How repairs multiply.
struct repair_products {
  static constexpr bool f16_products = true;
  static constexpr scaling scaled = scaling::none;
};

/// Numbers of X in shared memory are padded so that the lanes of a quarter warp meet different banks.
inline constexpr std::uint32_t stride_padding = 8;

/// What all operands share: where words and parameters stand. `MoreRows` rows of words of another kind follow the first.
template <std::uint32_t Rows, std::uint32_t Columns, std::uint32_t RowsPerWord, std::uint32_t ParameterBytes, std::uint32_t MoreRows = 0>
struct staged_words {
  static_assert(Rows % (4 * RowsPerWord) == 0, "quire::attention::cuda: head_dim must be a multiple of 16, of 32 for 4-bit and of 64 for 2- and 3-bit codes");
  static_assert(Columns % mma_columns == 0, "quire::attention::cuda: head_dim must be a multiple of 16");
  static constexpr std::uint32_t rows = Rows, columns = Columns, rows_per_word = RowsPerWord;
  static constexpr std::uint32_t steps = Rows / mma_rows;
  static constexpr std::uint32_t word_rows = Rows / RowsPerWord + MoreRows, stride = Columns + stride_padding;
  static constexpr std::uint32_t parameters = word_rows * stride * 4;
  static constexpr std::uint32_t parameter_copies = (ParameterBytes + 15) / 16;
  static constexpr std::uint32_t staged_bytes = parameters + parameter_copies * 16;
  static constexpr std::uint32_t copied_bytes = (word_rows * Columns * 4) + parameter_copies * 16;

  /// The words (quad·4 + t, columns 2g and 2g + 1) that start at `column`; those of any row.
  __device__ static std::uint64_t two_columns(const std::byte* staged, std::uint32_t quad, std::uint32_t column, lane_place l) noexcept {
    return two_columns_of(staged, quad * 4 + l.t, column, l);
  }
  __device__ static std::uint64_t two_columns_of(const std::byte* staged, std::uint32_t row, std::uint32_t column, lane_place l) noexcept {
    return *reinterpret_cast<const std::uint64_t*>(staged + (row * stride + column + 2 * l.g) * 4);
  }
  /// Asks for the whole tile, all threads of a block together. Bytes up to the next multiple of 16 are read.
  template <class Order>
  __device__ static void stage(std::byte* to, const std::byte* tile, const Order& order) noexcept {
    order.template rows<word_rows, Columns * 4, stride * 4>(to, tile);
    if constexpr (parameter_copies != 0) order.template rows<1, parameter_copies * 16>(to + parameters, tile + std::size_t{word_rows} * Columns * 4);
  }
};

/// Floats. Words of 16-bit ones are the fragments; an f32 is the sum of two bf16 within 2^-18 of it, and `f` sees each step twice.
/// Coefficients of f32 are rounded as those of bf16 are, but for CUDA cores.
template <class Number, std::uint32_t Rows, std::uint32_t Columns, std::uint32_t MoreBytes>
struct operand<kv::raw<Number>, Rows, Columns, MoreBytes> : staged_words<Rows, Columns, kv::raw<Number>::pack, MoreBytes> {
  using words = staged_words<Rows, Columns, kv::raw<Number>::pack, MoreBytes>;
  static constexpr scaling scaled = scaling::none;
  static constexpr bool f16_products = std::is_same_v<Number, f16>;

  __device__ static constexpr pair_place place_of(std::uint32_t pair) noexcept { return {pair / 8, pair % 4, pair / 4 % 2}; }
  __device__ static constexpr std::uint32_t pair_of(pair_place p) noexcept { return p.step * 8 + p.half * 4 + p.t; }
  template <class F>
  __device__ static void for_each_step(const std::byte* staged, std::uint32_t column, lane_place l, F&& f) noexcept {
#pragma unroll
    for (std::uint32_t step = 0; step < words::steps; ++step) {
      if constexpr (sizeof(Number) == 2) {
        const std::uint64_t low = words::two_columns(staged, 2 * step, column, l), high = words::two_columns(staged, 2 * step + 1, column, l);
        const std::uint32_t a[4] = {static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(low >> 32), static_cast<std::uint32_t>(high), static_cast<std::uint32_t>(high >> 32)};
        f(step, a);
      } else {
        std::uint32_t a[4], rest[4];
#pragma unroll
        for (std::uint32_t half = 0; half < 2; ++half) {
          const auto* from = reinterpret_cast<const float*>(staged) + 2 * pair_of({step, l.t, half}) * words::stride + column + 2 * l.g;
          const float2 first = *reinterpret_cast<const float2*>(from), second = *reinterpret_cast<const float2*>(from + words::stride);
          a[2 * half] = device::pack_bf16(first.x, second.x), a[2 * half + 1] = device::pack_bf16(first.y, second.y);
          rest[2 * half] = rest_of(a[2 * half], first.x, second.x), rest[2 * half + 1] = rest_of(a[2 * half + 1], first.y, second.y);
        }
        f(step, a), f(step, rest);
      }
    }
  }

 private:
  /// What two bf16 leave of two f32.
  __device__ static std::uint32_t rest_of(std::uint32_t word, float low, float high) noexcept {
    return device::pack_bf16(low - __uint_as_float(word << 16), high - __uint_as_float(word & 0xffff0000u));
  }
};

/// A rotated codec multiplies as its base does; rows and columns stand in the rotated basis.
template <class Base, std::uint32_t Rows, std::uint32_t Columns>
struct operand<kv::hadamard<Base>, Rows, Columns> : operand<Base, Rows, Columns> {};

/// Two coefficients for a product with `Operand`, in one word.
template <class Operand>
__device__ inline std::uint32_t pack(float low, float high) noexcept {
  if constexpr (Operand::f16_products) return device::pack_f16(low, high);
  else return device::pack_bf16(low, high);
}
/// Two neighbouring rows of X, from a word of a fragment.
template <class Operand>
__device__ inline float2 unpack(std::uint32_t word) noexcept {
  if constexpr (Operand::f16_products) return {device::widen_f16(static_cast<std::uint16_t>(word)), device::widen_f16(static_cast<std::uint16_t>(word >> 16))};
  else return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)};
}
/// sum + x·X over the four rows of one column that two words of a fragment hold: pair_of({step, t, 0}), then half 1.
template <class Operand>
__device__ inline float dot(std::uint32_t low, std::uint32_t high, float4 x, float sum) noexcept {
  const float2 a = unpack<Operand>(low), b = unpack<Operand>(high);
  return fmaf(b.y, x.w, fmaf(b.x, x.z, fmaf(a.y, x.y, fmaf(a.x, x.x, sum))));
}
template <class Operand>
__device__ inline void multiply(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) noexcept {
  if constexpr (Operand::f16_products) device::mma_f16(c, a, b);
  else device::mma_bf16(c, a, b);
}
/// Coefficients as a block keeps them in shared memory: of tensor cores two packed words, [step][row block][lane][2], or four f32 where they are
/// scaled as they are read; on CUDA cores four f32, [step][row][t][4].
template <class Block, class Operand>
__device__ inline void put_pair(std::uint32_t* coefficients, std::uint32_t pair, float low, float high) noexcept {
  if constexpr (Block::on_cores || Operand::scaled == scaling::parts) reinterpret_cast<float2*>(coefficients)[pair] = {low, high};
  else coefficients[pair] = pack<Operand>(low, high);
}
/// y += x·X over the rows of one step for all query rows of a block; on CUDA cores a lane's quarter of them.
template <class Block, class Operand>
__device__ inline void multiply_step(const std::uint32_t* coefficients, std::uint32_t step, const std::uint32_t (&a)[4], float (&y)[Block::row_blocks][Block::fragment_floats], lane_place l) noexcept {
  if constexpr (Block::on_cores) {
#pragma unroll
    for (std::uint32_t j = 0; j < Block::lane_rows; ++j) {
      const float4 x = reinterpret_cast<const float4*>(coefficients)[(step * Block::lane_rows + j) * 4 + l.t];
      y[0][j] = dot<Operand>(a[0], a[2], x, y[0][j]), y[0][Block::lane_rows + j] = dot<Operand>(a[1], a[3], x, y[0][Block::lane_rows + j]);
    }
  } else {
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
      const std::uint64_t w = reinterpret_cast<const std::uint64_t*>(coefficients)[(step * Block::row_blocks + b) * warp_threads + l.g * 4 + l.t];
      const std::uint32_t x[2] = {static_cast<std::uint32_t>(w), static_cast<std::uint32_t>(w >> 32)};
      multiply<Operand>(y[b], a, x);
    }
  }
}

/// The same for all rows where columns have a scale for every part of them: each part's product is scaled as it comes out. Minima are left out.
template <class Block, class Operand>
__device__ inline void multiply_split(const std::byte* staged, const std::uint32_t* coefficients, std::uint32_t column, float (&y)[Block::row_blocks][Block::fragment_floats], lane_place l) noexcept {
  constexpr std::uint32_t parts = Block::on_cores ? 1 : Operand::parts_at_once, planes = Operand::planes;   // on CUDA cores a lane's rows lie in one part
  float sum[parts][Block::row_blocks][Block::fragment_floats];
  Operand::for_each_step(staged, column, l, [&](std::uint32_t step, const std::uint32_t(&a)[4]) {
#pragma unroll
    for (std::uint32_t part = 0; part < parts; ++part)
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
        for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) sum[part][b][c] = step % planes == 0 ? 0.0f : sum[part][b][c];
    if constexpr (parts == 1) {
      multiply_step<Block, Operand>(coefficients, step, a, sum[0], l);
    } else {
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {  // lanes t 0 and 1 have the first part's rows, the others the second's
        const std::uint64_t w = reinterpret_cast<const std::uint64_t*>(coefficients)[(step * Block::row_blocks + b) * warp_threads + l.g * 4 + l.t];
        const std::uint32_t low = static_cast<std::uint32_t>(w), high = static_cast<std::uint32_t>(w >> 32);
        const std::uint32_t first[2] = {l.t < 2 ? low : 0u, l.t < 2 ? high : 0u}, second[2] = {l.t < 2 ? 0u : low, l.t < 2 ? 0u : high};
        multiply<Operand>(sum[0][b], a, first), multiply<Operand>(sum[1][b], a, second);
      }
    }
    if (step % planes != planes - 1) return;
#pragma unroll
    for (std::uint32_t part = 0; part < parts; ++part) {
      const std::uint32_t at = step / planes * Operand::parts_at_once + (Block::on_cores && Operand::parts_at_once == 2 ? l.t / 2 : part);
      const float scale[2] = {Operand::scale(staged, at, column + 2 * l.g), Operand::scale(staged, at, column + 2 * l.g + 1)};
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
        for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) y[b][c] = fmaf(sum[part][b][c], scale[c / Block::lane_rows], y[b][c]);
    }
  });
}

/// x ← its sum over the four lanes t, in all of them.
__device__ inline float over_lanes(float x) noexcept {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

/// Wide blocks over scales by rows fill all registers: their steps are a loop, or loads of the next ones would push sums out.
template <class Block>
inline constexpr bool unrolls = Block::row_blocks < 4;

/// y += x·X for the 16 columns from `column` on, whose coefficients are f32 and scaled here; what minima make is in it. On CUDA cores a lane's part.
template <class Block, class Operand>
__device__ inline void multiply_scaled(const std::byte* staged, const std::uint32_t* coefficients, std::uint32_t column, float (&y)[Block::row_blocks][Block::fragment_floats], lane_place l) noexcept {
  constexpr std::uint32_t lane_rows = Block::lane_rows;
  float least[Block::on_cores ? lane_rows : Block::row_blocks] = {};   // what minima make: of row j, or of row g of a block
  Operand::template for_each_step<unrolls<Block>>(staged, column, l, [&](std::uint32_t step, const std::uint32_t(&a)[4]) {
    const auto [scale, minimum] = Operand::four_of(staged, step, column, l);
    const auto* x = reinterpret_cast<const float4*>(coefficients);
    const auto take_minima = [&](float4 q, float sum) { return fmaf(q.x, minimum.x, fmaf(q.y, minimum.y, fmaf(q.z, minimum.z, fmaf(q.w, minimum.w, sum)))); };
    if constexpr (Block::on_cores) {
#pragma unroll
      for (std::uint32_t j = 0; j < lane_rows; ++j) {
        float4 q = x[(step * lane_rows + j) * 4 + l.t];
        least[j] = take_minima(q, least[j]);
        q.x *= scale.x, q.y *= scale.y, q.z *= scale.z, q.w *= scale.w;
        y[0][j] = dot<Operand>(a[0], a[2], q, y[0][j]), y[0][lane_rows + j] = dot<Operand>(a[1], a[3], q, y[0][lane_rows + j]);
      }
    } else {
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
        const float4 q = x[(step * Block::row_blocks + b) * warp_threads + l.g * 4 + l.t];
        const std::uint32_t w[2] = {pack<Operand>(q.x * scale.x, q.y * scale.y), pack<Operand>(q.z * scale.z, q.w * scale.w)};
        least[b] = take_minima(q, least[b]);
        multiply<Operand>(y[b], a, w);
      }
    }
  });
  if constexpr (Block::on_cores) {
#pragma unroll
    for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) y[0][c] += least[c % lane_rows];
  } else {
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {  // a lane has summed for row g what rows 2t and 2t + 1 need
      const float sum = over_lanes(least[b]);
      const float even = __shfl_sync(~0u, sum, l.t * 8), odd = __shfl_sync(~0u, sum, l.t * 8 + 4);
      y[b][0] += even, y[b][1] += odd, y[b][2] += even, y[b][3] += odd;
    }
  }
}

}  // namespace quire::inline v0::attention::cuda
