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
  static std::size_t scratch_bytes(kv::tile_shape s) noexcept { return amx::compiled ? s.elements() * sizeof(bf16) : 0; }

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
                       std::size_t ldy, std::byte* scratch, const std::byte* next = nullptr) noexcept {
    if (bf16_registers::take(s)) return multiply_registers(s, tile, a, n, y, ldy, scratch, ahead(tile, next));
    const auto* x = reinterpret_cast<const std::uint32_t*>(tile);
    const std::size_t stride = prepared_bytes(s);
    const float unit = kv::fp8::scale(s, tile).to_float() * up;
    const ahead fetch(tile, next);
    for_blocks<4, 4>(n, s.columns, [&]<int R, int C, class D>(D d, std::uint32_t r0, std::uint32_t c0) {
      const simd::u32_of<D> du;
      const std::size_t lanes = hn::Lanes(d);
      hn::Vec<D> acc[R][C];
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) acc[r][c] = hn::Zero(d);
      for (std::uint32_t k = 0; k < s.rows / 4; ++k) {
        hn::Vec<decltype(du)> even[C], odd[C];
        for (int c = 0; c < C; ++c) {
          const auto* from = x + k * s.columns + c0 + c * lanes;
          const auto v = hn::LoadU(du, from);
          if (r0 == 0) fetch(from);
          even[c] = widen_even(du, v), odd[c] = widen_odd(du, v);
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
  static constexpr std::uint32_t sign = 0x80008000u, rest = 0x07f007f0u;

  /// Rows 0 and 2, 1 and 3 of four as bf16.
  template <class DU, class VU = hn::Vec<DU>>
  static HWY_INLINE VU widen_even(DU du, VU v) {
    return hn::OrAnd(hn::And(hn::ShiftLeft<4>(v), hn::Set(du, rest)), hn::ShiftLeft<8>(v), hn::Set(du, sign));
  }
  template <class DU, class VU = hn::Vec<DU>>
  static HWY_INLINE VU widen_odd(DU du, VU v) {
    return hn::OrAnd(hn::And(v, hn::Set(du, sign)), hn::ShiftRight<4>(v), hn::Set(du, rest));
  }

  /// The widened tile on matrix registers, sixteen rows of sums at a time.
  static void multiply_registers(kv::tile_shape s, const std::byte* tile, const std::byte* a, std::uint32_t n, float* y, std::size_t ldy, std::byte* scratch,
                                 const ahead& fetch) noexcept {
    const simd::f32_tag d;
    const simd::u32_of<simd::f32_tag> du;
    const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
    auto* const pairs = reinterpret_cast<std::uint32_t*>(scratch);
    for (std::uint32_t k = 0; k < s.rows / 4; ++k)
      for (std::uint32_t c = 0; c < s.columns; c += lanes) {
        const auto* from = reinterpret_cast<const std::uint32_t*>(tile) + k * s.columns + c;
        const auto v = hn::LoadU(du, from);
        fetch(from);
        hn::StoreU(widen_even(du, v), du, pairs + 2 * k * s.columns + c);
        hn::StoreU(widen_odd(du, v), du, pairs + (2 * k + 1) * s.columns + c);
      }
    const auto unit = hn::Set(d, kv::fp8::scale(s, tile).to_float() * up);
    alignas(64) float sums[amx::most_rows * (max_head_dim > tile_tokens ? max_head_dim : tile_tokens)];
    bf16_registers::start(n);
    for (std::uint32_t r = 0; r < n; r += amx::most_rows) {
      const std::uint32_t here = std::min(n - r, amx::most_rows);
      std::fill_n(sums, here * s.columns, 0.0f);
      bf16_registers::block(s, scratch, a + r * prepared_bytes(s), prepared_bytes(s), n - r, sums, s.columns, [](const void*) {}, false);
      for (std::uint32_t i = 0; i < here; ++i)
        for (std::uint32_t c = 0; c < s.columns; c += lanes) {
          float* to = y + (r + i) * ldy + c;
          hn::StoreU(hn::MulAdd(hn::Load(d, sums + i * s.columns + c), unit, hn::LoadU(d, to)), d, to);
        }
    }
  }
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
