// SPDX-License-Identifier: Apache-2.0
// The product on 2-, 3-, 4- and 8-bit codes without decoding them: coefficients become 15-bit fixed point (an 8-bit part and a
// 7-bit remainder), two exact 8-bit dot products take the place of the f32 product, scales and minima join at the edges.
#pragma once

#include "product.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// f16 → f32 for `n` values, n a multiple of 8.
inline void widen(const f16* from, std::uint32_t n, float* to) noexcept {
  const auto run = [&](auto d, std::uint32_t i) {
    const hn::Rebind<hwy::float16_t, decltype(d)> dh;
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(from) + i)), d, to + i);
  };
  const simd::f32_tag d;
  const hn::CappedTag<float, 8> half;
  const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d)), short_lanes = static_cast<std::uint32_t>(hn::Lanes(half));
  std::uint32_t i = 0;
  for (; i + lanes <= n; i += lanes) run(d, i);
  for (; i < n; i += short_lanes) run(half, i);
}

/// Fixed-point coefficients of `rows` rows, high parts and low parts (int8, in row order), scaled by 127 over the largest.
/// Adding 1.5·2²³ rounds to an integer and leaves it in the low bits. error: 2⁻⁸/127 of the largest coefficient.
template <class D>
HWY_INLINE void fix_point(D d, const float* a, std::uint32_t rows, float largest, std::int8_t* high, std::int8_t* low) noexcept {
  const simd::u32_of<D> du;
  const auto inverse = hn::Set(d, largest > 1e-30f ? 127.0f / largest : 0.0f), remainder = hn::Set(d, 128.0f), magic = hn::Set(d, 12582912.0f);
  for (std::uint32_t k = 0; k < rows; k += static_cast<std::uint32_t>(hn::Lanes(d))) {
    const auto v = hn::Mul(hn::LoadU(d, a + k), inverse);
    const auto h = hn::Add(v, magic);
    const auto l = hn::MulAdd(hn::Sub(v, hn::Sub(h, magic)), remainder, magic);
    simd::store_low_bytes(d, hn::BitCast(du, h), high + k);
    simd::store_low_bytes(d, hn::BitCast(du, l), low + k);
  }
}

/// Prepared row: row groups need one set of coefficients for each group along the columns, a ← a·scale first and bias =
/// Σ a·minimum; column groups one set, whose rows are cut into groups with bias = Σ a. A set is high parts and low parts
/// [padded rows] and an edge (unit, bias) for each group it has.
template <int Bits, kv::group Group, std::uint32_t Size>
struct multiplier<kv::integer<Bits, Group, Size>> {
  using codec_type = kv::integer<Bits, Group, Size>;
  static constexpr bool by_row = Group == kv::group::row;
  static constexpr bool tile_free = !by_row;
  static std::size_t prepared_bytes(kv::tile_shape s) noexcept { return sets(s) * set_bytes(s); }
  static std::size_t scratch_bytes(kv::tile_shape s) noexcept { return amx::compiled && Bits != 8 ? s.elements() : 0; }

  static void prepare(const codec_type&, const kv::codec_context&, kv::tile_shape s, const std::byte* tile, const float* a, std::size_t lda, std::uint32_t n,
                      std::byte* out) noexcept {
    static_assert(max_head_dim >= tile_tokens);
    for (std::uint32_t set = 0; set < sets(s); ++set)
      for (std::uint32_t r = 0; r < n; r += 4) {
        const auto block = [&](auto d) {
          std::byte* to = out + r * prepared_bytes(s) + set * set_bytes(s);
          if (n - r == 1) prepare_set<1>(d, s, tile, set, a + r * lda, lda, to);
          else if (n - r == 2) prepare_set<2>(d, s, tile, set, a + r * lda, lda, to);
          else if (n - r == 3) prepare_set<3>(d, s, tile, set, a + r * lda, lda, to);
          else prepare_set<4>(d, s, tile, set, a + r * lda, lda, to);
        };
        if (s.rows % 16 == 0) block(simd::f32_tag{});
        else block(hn::CappedTag<float, 8>{});
      }
  }

  static void multiply(const codec_type& codec, const kv::codec_context&, kv::tile_shape s, const std::byte* tile, const std::byte* a,
                       std::uint32_t n, float* y, std::size_t ldy, std::byte* scratch, const std::byte* next = nullptr) noexcept {
    const std::uint32_t taken = code_registers::take(s, by_row ? s.rows : group_size(s), n) ? n / code_registers::rows * code_registers::rows : 0;
    if (taken != 0) multiply_registers(s, tile, a, taken, y, ldy, scratch, ahead(tile, next));
    if (taken != n)
      multiply_beside(codec, s, tile, a + taken * prepared_bytes(s), n - taken, y + taken * ldy, ldy, taken == 0 ? next : nullptr, []() __attribute__((always_inline)) {});
  }
  /// multiply, with `beside()` called between dot products of the first rows: work that waits for memory rather than for the
  /// arithmetic units costs little there. How often depends on the shape.
  template <class Beside>
  static HWY_INLINE void multiply_beside(const codec_type& codec, kv::tile_shape s, const std::byte* tile, const std::byte* a, std::uint32_t n, float* y,
                                         std::size_t ldy, const std::byte* next, Beside&& beside) noexcept {
    const ahead fetch(tile, next);
    for (std::size_t at = codec_type::code_bytes(s); at < codec.tile_bytes(s); at += 64) fetch(tile + at);
    const std::size_t stride = prepared_bytes(s);
    const std::uint32_t padded = padded_rows(s);
    float scale[by_row ? 1 : limit], minimum[by_row ? 1 : limit];
    if constexpr (!by_row) {
      widen(codec_type::scales(s, tile), codec_type::groups(s), scale);
      widen(codec_type::minima(s, tile), codec_type::groups(s), minimum);
    }
    for_blocks<4, 2>(n, s.columns, [&]<int R, int C, class D>(D d, std::uint32_t r0, std::uint32_t c0) {
      const simd::i32_of<D> di;
      const std::size_t lanes = hn::Lanes(d);
      const std::byte* first = a + r0 * stride + (by_row && Size != 0 ? c0 / group_size(s) * set_bytes(s) : 0);
      for (std::uint32_t j = 0; j < edges(s); ++j) {  // rows of one group of each column; all rows where groups are rows
        hn::Vec<decltype(di)> high[R][C], low[R][C];
        for (int r = 0; r < R; ++r)
          for (int c = 0; c < C; ++c) high[r][c] = low[r][c] = hn::Zero(di);
        const std::uint32_t begin = j * group_size(s), end = edges(s) == 1 ? padded : std::min(begin + group_size(s), padded);
        dot<R, C>(d, s, tile, fetch, r0 == 0, c0, begin, end, first, stride, high, low, beside);
        for (int r = 0; r < R; ++r) {
          const auto* edge = reinterpret_cast<const float*>(first + r * stride + 2 * padded) + 2 * j;
          for (int c = 0; c < C; ++c) {
            const std::size_t column = c0 + c * lanes, at = by_row ? 0 : j * s.columns + column;
            add_scaled(d, hn::Add(hn::ShiftLeft<7>(high[r][c]), low[r][c]), edge, scale + at, minimum + at, y + (r0 + r) * ldy + column);
          }
        }
      }
    });
  }

 private:
  static constexpr std::uint32_t limit = Size == 0 ? max_head_dim : max_head_dim * tile_tokens / 32;
  static std::uint32_t padded_rows(kv::tile_shape s) noexcept { return static_cast<std::uint32_t>(round_up(s.rows, codec_type::rows_per_lane)); }
  static std::uint32_t sets(kv::tile_shape s) noexcept { return by_row ? codec_type::along(s) : 1; }
  static std::uint32_t edges(kv::tile_shape s) noexcept { return by_row ? 1 : codec_type::along(s); }
  static std::uint32_t group_size(kv::tile_shape s) noexcept { return Size != 0 ? Size : by_row ? s.columns : s.rows; }
  static std::size_t set_bytes(kv::tile_shape s) noexcept { return round_up(2 * padded_rows(s) + edges(s) * 2 * sizeof(float), 64); }

  static std::uint32_t lane(const std::byte* row, std::uint32_t k) noexcept {
    std::uint32_t v;
    std::memcpy(&v, row + k, 4);
    return v;
  }

  /// to += a group's sums with its unit and bias (edge), and by columns scales and minima.
  template <class D>
  static HWY_INLINE void add_scaled(D d, hn::Vec<simd::i32_of<D>> sums, const float* edge, const float* scale, const float* minimum, float* to) noexcept {
    const auto sum = hn::ConvertTo(d, sums), unit = hn::Set(d, edge[0]), bias = hn::Set(d, edge[1]), before = hn::LoadU(d, to);
    if constexpr (by_row) hn::StoreU(hn::Add(hn::MulAdd(sum, unit, bias), before), d, to);
    else hn::StoreU(hn::MulAdd(hn::Mul(sum, unit), hn::LoadU(d, scale), hn::MulAdd(bias, hn::LoadU(d, minimum), before)), d, to);
    static_cast<void>(scale), static_cast<void>(minimum);
  }

  /// multiply for whole blocks of sixteen rows, on matrix registers.
  static void multiply_registers(kv::tile_shape s, const std::byte* tile, const std::byte* a, std::uint32_t n, float* y, std::size_t ldy, std::byte* scratch,
                                 const ahead& fetch) noexcept {
    const simd::f32_tag d;
    const std::size_t stride = prepared_bytes(s);
    const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
    const std::byte* codes = Bits == 8 ? tile : scratch;
    if constexpr (Bits != 8) {
      for (std::uint32_t c = 0; c < s.columns; c += lanes)
        each_step<1>(d, s, tile, fetch, true, c, 0, s.rows, [&](std::uint32_t row, const auto& v) __attribute__((always_inline)) {
          hn::StoreU(v[0], simd::u32_of<simd::f32_tag>{}, reinterpret_cast<std::uint32_t*>(scratch) + row / 4 * s.columns + c);
        });
    }
    for (std::size_t at = Bits == 8 ? 0 : codec_type::code_bytes(s); at < codec_type{}.tile_bytes(s); at += 64) fetch(tile + at);
    float scale[by_row ? 1 : limit], minimum[by_row ? 1 : limit];
    if constexpr (!by_row) {
      widen(codec_type::scales(s, tile), codec_type::groups(s), scale);
      widen(codec_type::minima(s, tile), codec_type::groups(s), minimum);
    }
    for (std::uint32_t r = 0; r < n; r += code_registers::rows, a += code_registers::rows * stride, y += code_registers::rows * ldy) {
      const auto set = [&](std::uint32_t c) { return a + (by_row && Size != 0 ? c / group_size(s) * set_bytes(s) : 0); };
      code_registers::multiply(s, by_row ? s.rows : group_size(s), codes, set, stride, [&](std::uint32_t j, std::uint32_t c, const std::int32_t* sums) {
        for (std::uint32_t i = 0; i < code_registers::rows; ++i) {
          const auto* edge = reinterpret_cast<const float*>(set(c) + i * stride + 2 * s.rows) + 2 * j;
          const std::size_t at = by_row ? 0 : j * s.columns + c;
          add_scaled(d, hn::Load(simd::i32_of<simd::f32_tag>{}, sums + i * code_registers::columns), edge, scale + at, minimum + at, y + i * ldy + c);
        }
      });
    }
  }

  /// high, low += the codes of rows [begin, end) times the coefficients; `begin` is a multiple of 32, `end` of whole lanes.
  template <int R, int C, class D, class VI, class Beside>
  static HWY_INLINE void dot(D d, kv::tile_shape s, const std::byte* tile, const ahead& fetch, bool fetches, std::uint32_t c0, std::uint32_t begin,
                             std::uint32_t end, const std::byte* a, std::size_t stride, VI (&high)[R][C], VI (&low)[R][C],
                             Beside& beside) noexcept {
    const simd::u32_of<D> du;
    const simd::i32_of<D> di;
    const std::uint32_t padded = padded_rows(s);
    each_step<C>(d, s, tile, fetch, fetches, c0, begin, end, [&](std::uint32_t row, const hn::Vec<simd::u32_of<D>>(&v)[C]) __attribute__((always_inline)) {
      if (fetches && (Bits == 8 || row % 8 == 4)) beside();
      for (int r = 0; r < R; ++r) {
        const std::byte* from = a + r * stride;
        const auto h = hn::Set(du, lane(from, row)), l = hn::Set(du, lane(from + padded, row));
        for (int c = 0; c < C; ++c) {
          high[r][c] = simd::dot_u8s8(di, high[r][c], v[c], h);
          low[r][c] = simd::dot_u8s8(di, low[r][c], v[c], l);
        }
      }
    });
  }

  /// step(row, codes) for every four of rows [begin, end), as bytes of words.
  template <int C, class D, class Step>
  static HWY_INLINE void each_step(D, kv::tile_shape s, const std::byte* tile, const ahead& fetch, bool fetches, std::uint32_t c0, std::uint32_t begin, std::uint32_t end,
                                   Step&& step) noexcept {
    const simd::u32_of<D> du;
    using VU = hn::Vec<decltype(du)>;
    const std::size_t lanes = hn::Lanes(du);
    const auto load = [&](const std::byte* array, std::uint32_t index, VU(&v)[C]) __attribute__((always_inline)) {
      for (int c = 0; c < C; ++c) {
        const auto* from = reinterpret_cast<const std::uint32_t*>(array) + index * s.columns + c0 + c * lanes;
        v[c] = hn::LoadU(du, from);
        if (fetches) fetch(from);
      }
    };
    constexpr std::uint32_t per_lane = codec_type::rows_per_lane;
    const auto mask = hn::Set(du, Bits == 4 ? 0x0f0f0f0fu : 0x03030303u);
    VU v[C], plane[C];
    if constexpr (Bits == 8) {
      for (std::uint32_t row = begin; row < end; row += per_lane) {
        load(tile, row / per_lane, v);
        step(row, v);
      }
    } else if constexpr (Bits != 3) {
      for (std::uint32_t row = begin; row < end; row += per_lane) {
        load(tile, row / per_lane, v);
        for (int c = 0; c < C; ++c) plane[c] = hn::And(v[c], mask);
        step(row, plane);
        for (int c = 0; c < C; ++c) plane[c] = hn::And(hn::ShiftRight<Bits>(v[c]), mask);
        step(row + 4, plane);
        if constexpr (Bits == 2) {
          for (int c = 0; c < C; ++c) plane[c] = hn::And(hn::ShiftRight<4>(v[c]), mask);
          step(row + 8, plane);
          for (int c = 0; c < C; ++c) plane[c] = hn::And(hn::ShiftRight<6>(v[c]), mask);
          step(row + 12, plane);
        }
      }
    } else {
      const auto top = hn::Set(du, 0x04040404u);
      VU h[C];
      for (std::uint32_t row = begin; row < end; row += 2 * per_lane) {
        load(tile + codec_type::plane_bytes(s), row / codec_type::high_rows, h);
        load(tile, row / per_lane, v);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(v[c], mask), hn::ShiftLeft<2>(h[c]), top);
        step(row, plane);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(hn::ShiftRight<2>(v[c]), mask), hn::ShiftLeft<1>(h[c]), top);
        step(row + 4, plane);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(hn::ShiftRight<4>(v[c]), mask), h[c], top);
        step(row + 8, plane);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(hn::ShiftRight<6>(v[c]), mask), hn::ShiftRight<1>(h[c]), top);
        step(row + 12, plane);
        if (row + per_lane >= end) break;
        load(tile, row / per_lane + 1, v);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(v[c], mask), hn::ShiftRight<2>(h[c]), top);
        step(row + 16, plane);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(hn::ShiftRight<2>(v[c]), mask), hn::ShiftRight<3>(h[c]), top);
        step(row + 20, plane);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(hn::ShiftRight<4>(v[c]), mask), hn::ShiftRight<4>(h[c]), top);
        step(row + 24, plane);
        for (int c = 0; c < C; ++c) plane[c] = hn::OrAnd(hn::And(hn::ShiftRight<6>(v[c]), mask), hn::ShiftRight<5>(h[c]), top);
        step(row + 28, plane);
      }
    }
  }

  /// One set of R rows at a time, so that scales are widened once and the reductions share their steps.
  template <int R, class D>
  static void prepare_set(D d, kv::tile_shape s, const std::byte* tile, std::uint32_t set, const float* a, std::size_t lda, std::byte* out) noexcept {
    const hn::Rebind<hwy::float16_t, D> dh;
    const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d)), padded = padded_rows(s);
    float scaled[R][by_row ? max_head_dim : 1];
    for (std::uint32_t j = 0; j < edges(s); ++j) {
      const std::uint32_t begin = j * group_size(s), end = by_row ? s.rows : std::min(begin + group_size(s), s.rows);
      hn::Vec<D> largest[4], bias[4];
      for (int r = 0; r < 4; ++r) largest[r] = bias[r] = hn::Zero(d);
      for (std::uint32_t k = begin; k < end; k += lanes) {
        if constexpr (by_row) {
          const auto at = [&](const f16* h) { return hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(h) + set * s.rows + k)); };
          const auto scale = at(codec_type::scales(s, tile)), minimum = at(codec_type::minima(s, tile));
          for (int r = 0; r < R; ++r) {
            const auto v = hn::LoadU(d, a + r * lda + k), w = hn::Mul(v, scale);
            bias[r] = hn::MulAdd(v, minimum, bias[r]);
            hn::StoreU(w, d, scaled[r] + k);
            largest[r] = hn::Max(largest[r], hn::Abs(w));
          }
        } else {
          for (int r = 0; r < R; ++r) {
            const auto v = hn::LoadU(d, a + r * lda + k);
            bias[r] = hn::Add(bias[r], v);
            largest[r] = hn::Max(largest[r], hn::Abs(v));
          }
        }
      }
      float most[4], total[4];
      simd::reduce4(d, largest, simd::maximum, most);
      simd::reduce4(d, bias, simd::add, total);
      for (int r = 0; r < R; ++r) {
        auto* high = reinterpret_cast<std::int8_t*>(out + r * prepared_bytes(s));
        fix_point(d, (by_row ? scaled[r] : a + r * lda) + begin, end - begin, most[r], high + begin, high + padded + begin);
        auto* edge = reinterpret_cast<float*>(high + 2 * padded) + 2 * j;
        edge[0] = most[r] / 127.0f / 128.0f, edge[1] = total[r];
      }
    }
    if (padded != s.rows)
      for (int r = 0; r < R; ++r)
        for (int part = 1; part <= 2; ++part) std::memset(out + r * prepared_bytes(s) + part * padded - (padded - s.rows), 0, padded - s.rows);
  }
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
