// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../kv/codec/integer.hpp"
#include "operand.cuh"

namespace quire::inline v0::attention::cuda {

namespace detail {

/// Two of four bytes less `Middle` as bf16, exact; `Upper`: bytes 2 and 3. Codes below 128.
template <bool Upper, std::uint32_t Middle>
__device__ inline std::uint32_t small_codes(std::uint32_t bytes) noexcept {
  const std::uint32_t biased = device::pick_bytes(bytes, 0x43434343u, Upper ? 0x4342 : 0x4140);  // bf16 0x43cc is 128 + cc
  return device::fma_bf16(biased, 0x3f803f80u, 0xc300c300u + Middle * 0x00010001u);
}
/// The same for all 8-bit codes, less 128: of the seven low bits 128 more is taken off where the high bit does not stand.
template <bool Upper>
__device__ inline std::uint32_t byte_codes(std::uint32_t bytes) noexcept {
  const std::uint32_t biased = device::pick_bytes(bytes & 0x7f7f7f7fu, 0x43434343u, Upper ? 0x4342 : 0x4140);
  return device::fma_bf16(biased, 0x3f803f80u, device::pick_bytes(~bytes & 0x80808080u, 0xc3c3c3c3u, Upper ? 0x4342 : 0x4140));
}

}  // namespace detail

/// Integer codes with one scale and minimum for each row or each column of X (2, 4, 8 bits). Row groups go into coefficients,
/// column groups (keys only) into what comes out. Codes are counted from their middle: coefficients are rounded, and what that
/// takes from a product is then in proportion to X and not to X - minimum, whose offset a rotation would gather in one channel.
template <int Bits, kv::group Group, std::uint32_t Rows, std::uint32_t Columns, std::uint32_t MoreBytes>
  requires(Bits != 3)
struct operand<kv::integer<Bits, Group, 0>, Rows, Columns, MoreBytes>
    : staged_words<Rows, Columns, 32 / Bits, (Group == kv::group::row ? Rows : Columns) * 4 + MoreBytes> {
  using words = staged_words<Rows, Columns, 32 / Bits, (Group == kv::group::row ? Rows : Columns) * 4 + MoreBytes>;
  static constexpr std::uint32_t middle = 1u << (Bits - 1);
  static constexpr std::uint32_t planes = 8 / Bits, groups = Group == kv::group::row ? Rows : Columns;
  static constexpr scaling scaled = Group == kv::group::row ? scaling::rows : scaling::columns;
  static constexpr bool f16_products = false;

  __device__ static constexpr pair_place place_of(std::uint32_t pair) noexcept {
    return {planes * (pair / (8 * planes)) + pair % (2 * planes) / 2, pair / (2 * planes) % 4, pair % 2};
  }
  __device__ static constexpr std::uint32_t pair_of(pair_place p) noexcept {
    return p.step / planes * 8 * planes + p.t * 2 * planes + p.step % planes * 2 + p.half;
  }
  template <class F>
  __device__ static void for_each_step(const std::byte* staged, std::uint32_t column, lane_place l, F&& f) noexcept {
#pragma unroll
    for (std::uint32_t quad = 0; quad < words::word_rows / 4; ++quad) {
      const std::uint64_t both = words::two_columns(staged, quad, column, l);
      const std::uint32_t first = static_cast<std::uint32_t>(both), second = static_cast<std::uint32_t>(both >> 32);
#pragma unroll
      for (std::uint32_t plane = 0; plane < planes; ++plane) {
        if constexpr (Bits == 8) {
          const std::uint32_t a[4] = {detail::byte_codes<false>(first), detail::byte_codes<false>(second), detail::byte_codes<true>(first), detail::byte_codes<true>(second)};
          f(quad, a);
        } else {
          constexpr std::uint32_t mask = 0x01010101u * ((1u << Bits) - 1u);
          const std::uint32_t x = first >> plane * Bits & mask, y = second >> plane * Bits & mask;
          const std::uint32_t a[4] = {detail::small_codes<false, middle>(x), detail::small_codes<false, middle>(y), detail::small_codes<true, middle>(x), detail::small_codes<true, middle>(y)};
          f(quad * planes + plane, a);
        }
      }
    }
  }

  __device__ static float scale(const std::byte* staged, std::uint32_t g) noexcept { return parameter(staged, g); }
  __device__ static float minimum(const std::byte* staged, std::uint32_t g) noexcept { return fmaf(scale(staged, g), static_cast<float>(middle), parameter(staged, groups + g)); }

 private:
  __device__ static float parameter(const std::byte* staged, std::uint32_t i) noexcept {
    return device::widen_f16(reinterpret_cast<const std::uint16_t*>(staged + words::parameters)[i]);
  }
};

}  // namespace quire::inline v0::attention::cuda
