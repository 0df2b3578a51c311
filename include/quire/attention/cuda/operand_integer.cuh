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

/// Integer codes with one scale and minimum for each row, stretch of a row or column of X. Those of rows go into coefficients, those of
/// columns (keys only) into what comes out. Codes are counted from their middle: coefficients are rounded, and what that
/// takes from a product is then in proportion to X and not to X - minimum, whose offset a rotation would gather in one channel.
/// The highest of 3 bits comes from rows of words of its own, 32 rows of X each, behind those of the other two.
template <int Bits, kv::group Group, std::uint32_t Size, std::uint32_t Rows, std::uint32_t Columns, std::uint32_t MoreBytes>
struct operand<kv::integer<Bits, Group, Size>, Rows, Columns, MoreBytes>
    : staged_words<Rows, Columns, kv::integer<Bits, Group, Size>::rows_per_lane, kv::integer<Bits, Group, Size>::groups({Rows, Columns}) * 4 + MoreBytes, Bits == 3 ? Rows / 32 : 0> {
  using codec = kv::integer<Bits, Group, Size>;
  using words = staged_words<Rows, Columns, codec::rows_per_lane, codec::groups({Rows, Columns}) * 4 + MoreBytes, Bits == 3 ? Rows / 32 : 0>;
  static constexpr kv::tile_shape shape{Rows, Columns};
  static constexpr std::uint32_t middle = 1u << (Bits - 1);
  static constexpr std::uint32_t planes = 8 / codec::plane_bits, groups = codec::groups(shape);
  static constexpr scaling scaled = Group == kv::group::column ? scaling::columns : codec::along(shape) == 1 ? scaling::rows : scaling::parts;
  static_assert(Group == kv::group::row || codec::along(shape) == 1,
                "quire::attention::cuda: where columns have scales (keys by token) they have one each: Size must be 0 or head_dim at least; parts have them along rows alone");
  static constexpr bool f16_products = false;

  __device__ static constexpr pair_place place_of(std::uint32_t pair) noexcept {
    return {planes * (pair / (8 * planes)) + pair % (2 * planes) / 2, pair / (2 * planes) % 4, pair % 2};
  }
  __device__ static constexpr std::uint32_t pair_of(pair_place p) noexcept {
    return p.step / planes * 8 * planes + p.t * 2 * planes + p.step % planes * 2 + p.half;
  }
  template <bool Unrolled = true, class F>
  __device__ static void for_each_step(const std::byte* staged, std::uint32_t column, lane_place l, F&& f) noexcept {
    constexpr std::uint32_t quads = Rows / (4 * codec::rows_per_lane);
#pragma unroll(Unrolled ? quads : 1)
    for (std::uint32_t quad = 0; quad < quads; ++quad) {
      const std::uint64_t both = words::two_columns(staged, quad, column, l);
      const std::uint32_t first = static_cast<std::uint32_t>(both), second = static_cast<std::uint32_t>(both >> 32);
      std::uint64_t high = 0;  // bit p of a byte: plane p of this lane's sixteen rows, which are half of a word's
      if constexpr (Bits == 3) high = words::two_columns_of(staged, Rows / codec::rows_per_lane + quad * 2 + l.t / 2, column, l) >> l.t % 2 * 4;
#pragma unroll(Unrolled ? planes : 1)
      for (std::uint32_t plane = 0; plane < planes; ++plane) {
        if constexpr (Bits == 8) {
          const std::uint32_t a[4] = {detail::byte_codes<false>(first), detail::byte_codes<false>(second), detail::byte_codes<true>(first), detail::byte_codes<true>(second)};
          f(quad, a);
        } else {
          constexpr std::uint32_t mask = 0x01010101u * ((1u << codec::plane_bits) - 1u);
          std::uint32_t x = first >> plane * codec::plane_bits & mask, y = second >> plane * codec::plane_bits & mask;
          if constexpr (Bits == 3) x |= (static_cast<std::uint32_t>(high) >> plane & 0x01010101u) << 2, y |= (static_cast<std::uint32_t>(high >> 32) >> plane & 0x01010101u) << 2;
          const std::uint32_t a[4] = {detail::small_codes<false, middle>(x), detail::small_codes<false, middle>(y), detail::small_codes<true, middle>(x), detail::small_codes<true, middle>(y)};
          f(quad * planes + plane, a);
        }
      }
    }
  }

  __device__ static float scale(const std::byte* staged, std::uint32_t g) noexcept { return parameter(staged, g); }
  __device__ static float minimum(const std::byte* staged, std::uint32_t g) noexcept { return fmaf(scale(staged, g), static_cast<float>(middle), parameter(staged, groups + g)); }
  /// Rows 4k to 4k + 3 are neighbours, so are their parameters: two loads.
  __device__ static four_scales four_of(const std::byte* staged, std::uint32_t step, std::uint32_t column, lane_place l) noexcept {
    const std::uint32_t g = (scaled == scaling::parts ? column / (Size == 0 ? 1 : Size) * Rows : 0) + 2 * pair_of({step, l.t, 0});
    const float4 s = four_parameters(staged, g), low = four_parameters(staged, groups + g);
    constexpr auto code = static_cast<float>(middle);
    return {s, {fmaf(s.x, code, low.x), fmaf(s.y, code, low.y), fmaf(s.z, code, low.z), fmaf(s.w, code, low.w)}};
  }

 private:
  __device__ static float parameter(const std::byte* staged, std::uint32_t i) noexcept {
    return device::widen_f16(reinterpret_cast<const std::uint16_t*>(staged + words::parameters)[i]);
  }
  __device__ static float4 four_parameters(const std::byte* staged, std::uint32_t i) noexcept {
    const std::uint64_t four = *reinterpret_cast<const std::uint64_t*>(staged + words::parameters + i * 2);
    const auto part = [&](std::uint32_t k) { return device::widen_f16(static_cast<std::uint16_t>(four >> 16 * k)); };
    return {part(0), part(1), part(2), part(3)};
  }
};

}  // namespace quire::inline v0::attention::cuda
