// SPDX-License-Identifier: Apache-2.0
// Packed weights back to rows: whole matrices as bf16 for the tensor cores, single rows as the embedding of tokens.
#pragma once

#include "panel.cuh"

namespace quire::inline v0::linear::cuda {

/// out [rows][stride] of a matrix in row order, each weight rounded to nearest even once.
struct dequantize_call {
  matrix weights;
  bf16* out = nullptr;
  std::size_t stride = 0;  ///< numbers from row to row, ≥ cols; rows begin at multiples of 16 bytes
};

/// out [n][stride] ← rows tokens[i] of a matrix: exactly what linear::row gives, narrowed to Row.
template <class Row = float>
struct embed_call {
  matrix weights;
  const std::int32_t* tokens = nullptr;  ///< [n], each below rows; one that is not gives a row of zeros and sets `outside`
  std::uint32_t n = 0;
  Row* out = nullptr;
  std::size_t stride = 0;           ///< numbers from row to row, ≥ cols
  std::uint32_t* outside = nullptr; ///< set to 1 by a token that names no row
};

namespace detail {

/// `Count` numbers side by side, of which the address is a multiple of their size.
template <std::uint32_t Count>
__device__ inline void store_bf16(bf16* to, const float (&v)[Count]) noexcept {
  if constexpr (Count == 4) {
    *reinterpret_cast<uint2*>(to) = make_uint2(device::pack_bf16(v[0], v[1]), device::pack_bf16(v[2], v[3]));
  } else if constexpr (Count == 2) {
    *reinterpret_cast<std::uint32_t*>(to) = device::pack_bf16(v[0], v[1]);
  } else {
    *to = narrow<bf16>(v[0]);
  }
}

/// A block takes a panel, its warps the steps in turn: eight lanes write neighbouring columns of one row.
template <weight_type Type>
__global__ void __launch_bounds__(block_threads) dequantize_kernel(const __grid_constant__ dequantize_call c) {
  using word = lane_weights<Type>;
  const std::uint32_t warp = threadIdx.x / warp_threads, lane = threadIdx.x % warp_threads;
  const std::uint32_t cols = c.weights.cols, steps = word::steps(cols);
  const std::uint32_t first = blockIdx.x * panel_rows + lane % lane_outputs * lane_outputs;
  const std::byte* panel = c.weights.data + blockIdx.x * panel_bytes(Type, cols);
  for (std::uint32_t s = warp; s < steps; s += block_warps) {
    const std::uint32_t column = word::first_column(s, lane);
    if (column >= cols) continue;
    word w;
    w.load(panel, s, lane);
#pragma unroll
    for (std::uint32_t o = 0; o < lane_outputs; ++o) {
      if (first + o >= c.weights.rows) break;
#pragma unroll
      for (std::uint32_t p = 0; p < word::parts; ++p) {
        float v[word::part_columns];
#pragma unroll
        for (std::uint32_t k = 0; k < word::part_columns; ++k) v[k] = w.at(p, o, k);
        store_bf16(c.out + (first + o) * c.stride + column + p * word::part_columns, v);
      }
    }
  }
}

/// A block takes a token. Of each word only one output of four is the token's.
template <weight_type Type, class Row>
__global__ void __launch_bounds__(block_threads) embed_kernel(const __grid_constant__ embed_call<Row> c) {
  using word = lane_weights<Type>;
  const std::uint32_t cols = c.weights.cols;
  Row* out = c.out + blockIdx.x * c.stride;
  const auto token = static_cast<std::uint32_t>(c.tokens[blockIdx.x]);
  if (token >= c.weights.rows) {
    for (std::uint32_t k = threadIdx.x; k < cols; k += block_threads) out[k] = narrow<Row>(0);
    if (threadIdx.x == 0) atomicOr(c.outside, 1u);
    return;
  }
  const std::byte* panel = c.weights.data + token / panel_rows * panel_bytes(Type, cols);
  const std::uint32_t output = token % panel_rows, lane = threadIdx.x % column_groups * lane_outputs + output / lane_outputs;
  for (std::uint32_t s = threadIdx.x / column_groups; s < word::steps(cols); s += block_threads / column_groups) {
    const std::uint32_t column = word::first_column(s, lane);
    if (column >= cols) continue;
    word w;
    w.load(panel, s, lane);
#pragma unroll
    for (std::uint32_t o = 0; o < lane_outputs; ++o)
      if (o == output % lane_outputs) {
#pragma unroll
        for (std::uint32_t k = 0; k < word::columns; ++k)
          out[column + k] = narrow<Row>(w.at(k / word::part_columns, o, k % word::part_columns));
      }
  }
}

}  // namespace detail

/// Bytes of `out` for rows side by side.
[[nodiscard]] constexpr std::size_t dequantized_bytes(const matrix& m) noexcept {
  return std::size_t{m.rows} * ((m.cols + 7) / 8 * 8) * sizeof(bf16);
}

/// fails: unsupported_shape, out_of_range, device. test: tests/linear/cuda/dequantize.cpp
[[nodiscard]] inline status dequantize(const dequantize_call& c, device::stream on) noexcept {
  if (const status s = fits(c.weights, c.out, c.stride, c.weights.cols, "stride of out (a multiple of 16 bytes, as its address)"); !s)
    return s;
  return with_type(c.weights.type, [&](auto type) {
    return device::launch(&detail::dequantize_kernel<type()>, {.blocks = panels(c.weights), .threads = block_threads}, on, c);
  });
}

/// fails: unsupported_shape, out_of_range, device. test: tests/linear/cuda/dequantize.cpp
template <class Row>
[[nodiscard]] status embed(const embed_call<Row>& c, device::stream on) noexcept {
  if (const status s = fits(c.weights, c.out, c.stride, c.weights.cols, "stride of out (a multiple of 16 bytes, as its address)"); !s)
    return s;
  return with_type(c.weights.type, [&](auto type) {
    return device::launch(&detail::embed_kernel<type(), Row>, {.blocks = c.n, .threads = block_threads}, on, c);
  });
}

}  // namespace quire::inline v0::linear::cuda
