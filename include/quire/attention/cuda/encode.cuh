// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../kv/codec/fp8.hpp"
#include "../../kv/codec/integer.hpp"
#include "queries.cuh"

namespace quire::inline v0::attention::cuda {

/// X as f32 in shared memory; rotations want a token's channels side by side, whichever side the tile is of.
struct shared_matrix {
  float* x;
  std::uint32_t row_stride, column_stride;
  float* beside;   ///< as many more floats as the encoder asks for
  __device__ float& operator()(std::uint32_t r, std::uint32_t c) const noexcept { return x[r * row_stride + c * column_stride]; }
};

/// Bits of X's largest magnitude, in all lanes. Every warp goes over the whole tile: no shared memory, no barrier.
__device__ inline std::uint32_t largest_magnitude(kv::tile_shape s, shared_matrix x, std::uint32_t lane) noexcept {
  std::uint32_t largest = 0;
  for (std::uint32_t i = lane; i < s.elements(); i += warp_threads) {
    const std::uint32_t a = __float_as_uint(x(i / s.columns, i % s.columns)) & 0x7fffffffu;
    largest = a > largest ? a : largest;
  }
  for (std::uint32_t d = 16; d != 0; d /= 2) {
    const std::uint32_t other = __shfl_xor_sync(~0u, largest, d);
    largest = other > largest ? other : largest;
  }
  return largest;
}

/// How a block seals a tile: X complete at a barrier before, `out` in global memory; X may change. Arithmetic and bytes are those of the
/// codec's own `encode`, but for the last bit where compilers contract products differently and where a header says more.
template <class Codec>
struct tile_encoder {
  static constexpr bool known = false;
};
/// Shared memory for sealing a tile, in floats.
template <class Codec>
constexpr std::uint32_t sealing_floats(kv::tile_shape s) noexcept {
  if constexpr (kv::RotatingCodec<Codec>) return sealing_floats<typename Codec::base_codec>(s);
  else if constexpr (requires { tile_encoder<Codec>::floats_beside(s); }) return s.elements() + tile_encoder<Codec>::floats_beside(s);
  else return s.elements();
}

template <int Bits, kv::group Group, std::uint32_t Size>
struct tile_encoder<kv::integer<Bits, Group, Size>> {
  using codec = kv::integer<Bits, Group, Size>;
  static constexpr bool known = true;

  __device__ static void encode(const kv::codec_context&, kv::tile_shape s, shared_matrix x, std::byte* out, thread_place me) noexcept {
    auto* scales = reinterpret_cast<f16*>(out + codec::code_bytes(s));
    f16* minima = scales + codec::groups(s);
    constexpr bool by_row = Group == kv::group::row;
    const std::uint32_t length = by_row ? s.columns : s.rows;
    for (std::uint32_t g = me.warp; g < codec::groups(s); g += block_warps) {  // a warp for each group
      const std::uint32_t line = g % codec::across(s), begin = g / codec::across(s) * Size, end = Size == 0 || begin + Size > length ? length : begin + Size;
      const auto element = [&](std::uint32_t i) { return by_row ? x(line, i) : x(i, line); };
      float lo = element(begin), hi = lo;
      for (std::uint32_t i = begin + me.lane; i < end; i += warp_threads) lo = fminf(lo, element(i)), hi = fmaxf(hi, element(i));
      for (std::uint32_t d = 16; d != 0; d /= 2) lo = fminf(lo, __shfl_xor_sync(~0u, lo, d)), hi = fmaxf(hi, __shfl_xor_sync(~0u, hi, d));
      if (me.lane == 0) {
        const auto f = codec::fit(lo, hi);
        scales[g] = f.scale, minima[g] = f.minimum;
      }
    }
    __syncthreads();
    const auto code = [&](std::uint32_t r, std::uint32_t c) -> std::uint32_t {
      if (r >= s.rows) return 0;
      const std::uint32_t g = codec::group_of(s, r, c);
      const float step = scales[g].to_float();
      return codec::code(x(r, c), minima[g].to_float(), step > 0 ? 1.0f / step : 0.0f);
    };
    auto* words = reinterpret_cast<std::uint32_t*>(out);
    constexpr std::uint32_t mask = (1u << codec::plane_bits) - 1u;
    for (std::uint32_t i = me.thread; i < codec::plane_bytes(s) / 4; i += block_threads) {
      const std::uint32_t first = i / s.columns * codec::rows_per_lane, c = i % s.columns;
      std::uint32_t word = 0;
      for (std::uint32_t k = 0; k < codec::rows_per_lane; ++k) word |= (code(first + k, c) & mask) << (k % 4 * 8 + k / 4 * codec::plane_bits);
      words[i] = word;
    }
    if constexpr (Bits == 3)
      for (std::uint32_t i = me.thread; i < (codec::code_bytes(s) - codec::plane_bytes(s)) / 4; i += block_threads) {
        const std::uint32_t first = i / s.columns * codec::high_rows, c = i % s.columns;
        std::uint32_t word = 0;
        for (std::uint32_t k = 0; k < codec::high_rows; ++k) word |= (code(first + k, c) >> 2) << (k % 4 * 8 + k / 4);
        words[codec::plane_bytes(s) / 4 + i] = word;
      }
  }
};

template <>
struct tile_encoder<kv::fp8> {
  static constexpr bool known = true;

  __device__ static void encode(const kv::codec_context&, kv::tile_shape s, shared_matrix x, std::byte* out, thread_place me) noexcept {
    const auto f = kv::fp8::fit(largest_magnitude(s, x, me.lane));
    if (me.thread == 0) *reinterpret_cast<f16*>(out + s.elements()) = f.scale;
    auto* words = reinterpret_cast<std::uint32_t*>(out);
    for (std::uint32_t i = me.thread; i < s.elements() / 4; i += block_threads) {
      const std::uint32_t r = i / s.columns * 4, c = i % s.columns;
      std::uint32_t word = 0;
      for (std::uint32_t k = 0; k < 4; ++k) word |= std::uint32_t{kv::fp8::narrow(x(r + k, c) * f.inverse)} << 8 * k;
      words[i] = word;
    }
  }
};

/// Another 16- or 32-bit format than the tail's.
template <class Number>
struct tile_encoder<kv::raw<Number>> {
  static constexpr bool known = true;

  __device__ static void encode(const kv::codec_context&, kv::tile_shape s, shared_matrix x, std::byte* out, thread_place me) noexcept {
    auto* numbers = reinterpret_cast<Number*>(out);
    for (std::uint32_t i = me.thread; i < s.elements(); i += block_threads) numbers[kv::raw<Number>::at(s, i / s.columns, i % s.columns)] = kv::raw<Number>::narrow(x(i / s.columns, i % s.columns));
  }
};

/// Seals one side of a tile from its exact rows. `x`: shared memory, sealing_floats. Begins and ends at a barrier.
template <class Raw, class Codec>
__device__ void seal_tile(const kv::codec_context& at, std::uint32_t head_dim, const std::byte* exact, std::byte* out, float* x, thread_place me) noexcept {
  const kv::tile_shape s = kv::shape_of(at.which, head_dim);
  if constexpr (std::is_same_v<Raw, Codec>) {
    for (std::uint32_t i = me.thread; i < Raw{}.tile_bytes(s) / 16; i += block_threads) reinterpret_cast<uint4*>(out)[i] = reinterpret_cast<const uint4*>(exact)[i];
  } else {
    const auto* numbers = reinterpret_cast<const typename Raw::number*>(exact);
    const bool by_token = kv::RotatingCodec<Codec> && at.which == kv::side::key;
    const shared_matrix m{x, by_token ? 1 : s.columns, by_token ? s.rows : 1, x + s.elements()};
    for (std::uint32_t i = me.thread; i < s.elements(); i += block_threads) {
      const std::uint32_t r = i / s.columns, c = i % s.columns;
      x[r * m.row_stride + c * m.column_stride] = Raw::widen(numbers[Raw::at(s, r, c)]);
    }
    __syncthreads();
    if constexpr (kv::RotatingCodec<Codec>) {
      static_assert(tile_encoder<typename Codec::base_codec>::known, "quire::attention::cuda: this codec has no device encoder yet");
      rotate_rows(x, tile_tokens, head_dim, me);
      __syncthreads();
      tile_encoder<typename Codec::base_codec>::encode(at, s, m, out, me);
    } else {
      static_assert(tile_encoder<Codec>::known, "quire::attention::cuda: this codec has no device encoder yet");
      tile_encoder<Codec>::encode(at, s, m, out, me);
    }
  }
  __syncthreads();
}

}  // namespace quire::inline v0::attention::cuda
