// SPDX-License-Identifier: Apache-2.0
// The product on 4- and 8-bit codes without decoding them: coefficients become 15-bit fixed point (an 8-bit part and a
// 7-bit remainder), two exact 8-bit dot products take the place of the f32 product, scales and minima join at the edges.
#pragma once

#include "product.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// Prepared row: high parts [rows], low parts [rows] (int8, in row order), then step and bias (f32).
/// Row groups: a ← a·scale first, bias = Σ a·minimum. Column groups: bias = Σ a. error: 2⁻⁸/127 of the largest coefficient.
template <int Bits, kv::group Group>
struct multiplier<kv::integer<Bits, Group>> {
  using codec_type = kv::integer<Bits, Group>;
  static constexpr bool by_row = Group == kv::group::row;
  static constexpr bool tile_free = !by_row;
  static std::size_t prepared_bytes(kv::tile_shape s) noexcept { return round_up(2 * s.rows + 2 * sizeof(float), 64); }
  static std::size_t scratch_bytes(kv::tile_shape) noexcept { return 0; }

  static void prepare(const codec_type&, const kv::codec_context&, kv::tile_shape s, const std::byte* tile, const float* a, std::size_t lda, std::uint32_t n,
                      std::byte* out) noexcept {
    float scale[max_head_dim], minimum[max_head_dim], scaled[max_head_dim];
    static_assert(max_head_dim >= tile_tokens);
    if constexpr (by_row) {
      widen(codec_type::scales(s, tile), s.rows, scale);
      widen(codec_type::minima(s, tile), s.rows, minimum);
    }
    for (std::uint32_t r = 0; r < n; ++r) prepare_row(s, a + r * lda, scale, minimum, scaled, out + r * prepared_bytes(s));
  }

  static void multiply(const codec_type&, const kv::codec_context&, kv::tile_shape s, const std::byte* tile, const std::byte* a,
                       std::uint32_t n, float* y, std::size_t ldy, std::byte*, const std::byte* next = nullptr) noexcept {
    const ahead fetch(tile, next);
    const auto* x = reinterpret_cast<const std::uint32_t*>(tile);
    const std::size_t stride = prepared_bytes(s);
    float scale[max_head_dim], minimum[max_head_dim];
    if constexpr (!by_row) {
      widen(codec_type::scales(s, tile), s.columns, scale);
      widen(codec_type::minima(s, tile), s.columns, minimum);
    }
    for_blocks<4, 2>(n, s.columns, [&]<int R, int C, class D>(D d, std::uint32_t r0, std::uint32_t c0) {
      const simd::u32_of<D> du;
      const simd::i32_of<D> di;
      const std::size_t lanes = hn::Lanes(d);
      hn::Vec<decltype(di)> high[R][C], low[R][C];
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) high[r][c] = low[r][c] = hn::Zero(di);
      const auto step = [&](std::uint32_t k, const hn::Vec<decltype(du)>(&v)[C]) {
        for (int r = 0; r < R; ++r) {
          const std::byte* row = a + (r0 + r) * stride;
          const auto h = hn::Set(du, lane(row, k)), l = hn::Set(du, lane(row + s.rows, k));
          for (int c = 0; c < C; ++c) {
            high[r][c] = simd::dot_u8s8(di, high[r][c], v[c], h);
            low[r][c] = simd::dot_u8s8(di, low[r][c], v[c], l);
          }
        }
      };
      for (std::uint32_t g = 0; g < s.rows / codec_type::rows_per_lane; ++g) {
        hn::Vec<decltype(du)> v[C], nibble[C];
        for (int c = 0; c < C; ++c) {
          v[c] = hn::LoadU(du, x + g * s.columns + c0 + c * lanes);
          if (r0 == 0) fetch(x + g * s.columns + c0 + c * lanes);
        }
        if constexpr (Bits == 8) {
          step(g, v);
        } else {
          const auto mask = hn::Set(du, 0x0f0f0f0fu);
          for (int c = 0; c < C; ++c) nibble[c] = hn::And(v[c], mask);
          step(2 * g, nibble);
          for (int c = 0; c < C; ++c) nibble[c] = hn::And(hn::ShiftRight<4>(v[c]), mask);
          step(2 * g + 1, nibble);
        }
      }
      for (int r = 0; r < R; ++r) {
        const auto* edge = reinterpret_cast<const float*>(a + (r0 + r) * stride + 2 * s.rows);
        const auto unit = hn::Set(d, edge[0]), bias = hn::Set(d, edge[1]);
        for (int c = 0; c < C; ++c) {
          const auto sum = hn::ConvertTo(d, hn::Add(hn::ShiftLeft<7>(high[r][c]), low[r][c]));
          float* to = y + (r0 + r) * ldy + c0 + c * lanes;
          auto result = hn::LoadU(d, to);
          if constexpr (by_row) {
            result = hn::Add(hn::MulAdd(sum, unit, bias), result);
          } else {
            const auto sc = hn::LoadU(d, scale + c0 + c * lanes), mi = hn::LoadU(d, minimum + c0 + c * lanes);
            result = hn::MulAdd(hn::Mul(sum, unit), sc, hn::MulAdd(bias, mi, result));
          }
          hn::StoreU(result, d, to);
        }
      }
    });
  }

 private:
  using d8 = hn::CappedTag<float, 8>;  // rows are a multiple of 8
  static std::uint32_t lane(const std::byte* row, std::uint32_t k) noexcept {
    std::uint32_t v;
    std::memcpy(&v, row + 4 * k, 4);
    return v;
  }
  /// f16 → f32 for `n` values, n a multiple of 8.
  static void widen(const f16* from, std::uint32_t n, float* to) noexcept {
    const d8 d;
    const hn::Rebind<hwy::float16_t, d8> dh;
    for (std::uint32_t i = 0; i < n; i += static_cast<std::uint32_t>(hn::Lanes(d)))
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(from) + i)), d, to + i);
  }
  static void prepare_row(kv::tile_shape s, const float* a, const float* scale, const float* minimum, float* scaled, std::byte* out) noexcept {
    const d8 d;
    const hn::Rebind<std::int8_t, d8> db;
    const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
    auto largest = hn::Zero(d), bias = hn::Zero(d);
    for (std::uint32_t k = 0; k < s.rows; k += lanes) {
      auto v = hn::LoadU(d, a + k);
      if constexpr (by_row) {
        bias = hn::MulAdd(v, hn::LoadU(d, minimum + k), bias);
        v = hn::Mul(v, hn::LoadU(d, scale + k));
        hn::StoreU(v, d, scaled + k);
      } else {
        bias = hn::Add(bias, v);
      }
      largest = hn::Max(largest, hn::Abs(v));
    }
    const float most = hn::GetLane(hn::MaxOfLanes(d, largest));
    const float unit = most / 127.0f;
    const auto inverse = hn::Set(d, most > 1e-30f ? 127.0f / most : 0.0f), remainder = hn::Set(d, 128.0f);
    auto* high = reinterpret_cast<std::int8_t*>(out);
    for (std::uint32_t k = 0; k < s.rows; k += lanes) {
      const auto v = hn::Mul(hn::LoadU(d, (by_row ? scaled : a) + k), inverse);
      const auto h = hn::NearestInt(v);
      const auto l = hn::NearestInt(hn::Mul(hn::Sub(v, hn::ConvertTo(d, h)), remainder));
      hn::StoreU(hn::DemoteTo(db, h), db, high + k);
      hn::StoreU(hn::DemoteTo(db, l), db, high + s.rows + k);
    }
    auto* edge = reinterpret_cast<float*>(out + 2 * s.rows);
    edge[0] = unit / 128.0f;
    edge[1] = hn::GetLane(hn::SumOfLanes(d, bias));
  }
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
