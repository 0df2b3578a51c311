// SPDX-License-Identifier: Apache-2.0
// The product on E4M3 tiles: two shifts and masks put a byte's exponent and mantissa where bf16 has them, 120 binary places too low,
// and the bf16 dot product does the rest.
#pragma once

#include "../../kv/codec/fp8.hpp"
#include "product.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// Prepared row: for every four rows the bf16 pairs (a0, a2) and (a1, a3), times 2⁶⁰; sums are times 2⁻⁶⁰ then, far from
/// what the dot instruction flushes to zero. Coefficients are rounded to bf16; precondition: |a| < 2⁶⁷.
template <>
struct multiplier<kv::fp8> {
  static constexpr bool tile_free = true;
  static std::size_t prepared_bytes(kv::tile_shape s) noexcept { return round_up(s.rows * sizeof(bf16), 64); }
  static std::size_t scratch_bytes(kv::tile_shape) noexcept { return 0; }

  static void prepare(const kv::fp8&, const kv::codec_context&, kv::tile_shape s, const std::byte*, const float* a, std::size_t lda, std::uint32_t n,
                      std::byte* out) noexcept {
    const auto pair = [](float lo, float hi) {
      const auto l = std::bit_cast<std::uint32_t>(lo * up), h = std::bit_cast<std::uint32_t>(hi * up);
      return (l + 0x7fffu + (l >> 16 & 1u)) >> 16 | ((h + 0x7fffu + (h >> 16 & 1u)) & 0xffff0000u);
    };
    for (std::uint32_t r = 0; r < n; ++r) {
      auto* pairs = reinterpret_cast<std::uint32_t*>(out + r * prepared_bytes(s));
      const float* x = a + r * lda;
      for (std::uint32_t k = 0; k < s.rows / 4; ++k) {
        pairs[2 * k] = pair(x[4 * k], x[4 * k + 2]);
        pairs[2 * k + 1] = pair(x[4 * k + 1], x[4 * k + 3]);
      }
    }
  }
  static void multiply(const kv::fp8&, const kv::codec_context&, kv::tile_shape s, const std::byte* tile, const std::byte* a, std::uint32_t n, float* y,
                       std::size_t ldy, std::byte*, const std::byte* next = nullptr) noexcept {
    const auto* x = reinterpret_cast<const std::uint32_t*>(tile);
    const std::size_t stride = prepared_bytes(s);
    const float unit = kv::fp8::scale(s, tile).to_float() * up;
    const ahead fetch(tile, next);
    for_blocks<4, 4>(n, s.columns, [&]<int R, int C, class D>(D d, std::uint32_t r0, std::uint32_t c0) {
      const simd::u32_of<D> du;
      const std::size_t lanes = hn::Lanes(d);
      const auto sign = hn::Set(du, 0x80008000u), rest = hn::Set(du, 0x07f007f0u);
      hn::Vec<D> acc[R][C];
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) acc[r][c] = hn::Zero(d);
      for (std::uint32_t k = 0; k < s.rows / 4; ++k) {
        hn::Vec<decltype(du)> even[C], odd[C];
        for (int c = 0; c < C; ++c) {
          const auto* from = x + k * s.columns + c0 + c * lanes;
          const auto v = hn::LoadU(du, from);
          if (r0 == 0) fetch(from);
          even[c] = hn::OrAnd(hn::And(hn::ShiftLeft<4>(v), rest), hn::ShiftLeft<8>(v), sign);
          odd[c] = hn::OrAnd(hn::And(v, sign), hn::ShiftRight<4>(v), rest);
        }
        for (int r = 0; r < R; ++r) {
          const auto* pairs = reinterpret_cast<const std::uint32_t*>(a + (r0 + r) * stride) + 2 * k;
          const auto first = hn::Set(du, pairs[0]), second = hn::Set(du, pairs[1]);
          for (int c = 0; c < C; ++c) acc[r][c] = simd::dot_bf16(d, simd::dot_bf16(d, acc[r][c], even[c], first), odd[c], second);
        }
      }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) {
          float* to = y + (r0 + r) * ldy + c0 + c * lanes;
          hn::StoreU(hn::MulAdd(acc[r][c], hn::Set(d, unit), hn::LoadU(d, to)), d, to);
        }
    });
  }

 private:
  static constexpr float up = 0x1p60f;
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
