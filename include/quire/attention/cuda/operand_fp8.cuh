// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../kv/codec/fp8.hpp"
#include "operand.cuh"

namespace quire::inline v0::attention::cuda {

/// E4M3 without subnormals: shifted into a bf16 the exponent is 120 too low, which one exact product mends.
template <std::uint32_t Rows, std::uint32_t Columns, std::uint32_t MoreBytes>
struct operand<kv::fp8, Rows, Columns, MoreBytes> : staged_words<Rows, Columns, 4, sizeof(f16) + MoreBytes> {
  using words = staged_words<Rows, Columns, 4, sizeof(f16) + MoreBytes>;
  static constexpr scaling scaled = scaling::tile;
  static constexpr bool f16_products = false;

  __device__ static constexpr pair_place place_of(std::uint32_t pair) noexcept { return {pair / 8, pair / 2 % 4, pair % 2}; }
  __device__ static constexpr std::uint32_t pair_of(pair_place p) noexcept { return p.step * 8 + p.t * 2 + p.half; }
  template <class F>
  __device__ static void for_each_step(const std::byte* staged, std::uint32_t column, lane_place l, F&& f) noexcept {
#pragma unroll
    for (std::uint32_t step = 0; step < words::steps; ++step) {
      const std::uint64_t both = words::two_columns(staged, step, column, l);
      const std::uint32_t first = static_cast<std::uint32_t>(both), second = static_cast<std::uint32_t>(both >> 32);
      const std::uint32_t a[4] = {widen(device::pick_bytes(first, 0u, 0x1404)), widen(device::pick_bytes(second, 0u, 0x1404)), widen(device::pick_bytes(first, 0u, 0x3424)),
                                  widen(device::pick_bytes(second, 0u, 0x3424))};
      f(step, a);
    }
  }
  __device__ static float scale(const std::byte* staged, std::uint32_t) noexcept {
    return device::widen_f16(*reinterpret_cast<const std::uint16_t*>(staged + words::parameters));
  }

 private:
  /// Two elements, each in the high byte of a half word.
  __device__ static std::uint32_t widen(std::uint32_t high_bytes) noexcept {
    const std::uint32_t low_exponent = (high_bytes & 0x80008000u) | (high_bytes & 0x7f007f00u) >> 4;
    return device::fma_bf16(low_exponent, 0x7b807b80u, 0u);  // 2^120
  }
};

}  // namespace quire::inline v0::attention::cuda
