// SPDX-License-Identifier: Apache-2.0
// The product on repaired tiles without putting them together: a·X = a·D by the backbone's own kernel, then (a·Pᵀ)·Q, then a·S.
#pragma once

#include "../../kv/codec/gear.hpp"
#include "product_integer.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// Prepared: the rows of the backbone's multiplier, then the coefficients themselves. Queries go in blocks of four: their
/// coefficients are turned once, so that an outlier is one multiply-add of four queries into a sum [column][query],
/// and that is turned back when it joins y. Two such sums take turns by row, because a column that is hit again waits for its last
/// store; one sum and four were slower. An integer backbone runs the outliers between its own dot products.
/// A tile is read from its end, where factors and outliers lie. Asked for alone, those lines come late; with the whole tile
/// asked for first, in order, a step over memory takes 0.5 to 0.8 of the time.
template <class Base, std::uint32_t Rank, std::uint32_t Outliers>
struct multiplier<kv::gear<Base, Rank, Outliers>> {
  using codec_type = kv::gear<Base, Rank, Outliers>;
  using backbone = multiplier<Base>;
  static constexpr bool tile_free = backbone::tile_free;
  static std::size_t prepared_bytes(kv::tile_shape s) noexcept { return backbone::prepared_bytes(s) + s.rows * sizeof(float); }
  static std::size_t scratch_bytes(kv::tile_shape s) noexcept {
    return round_up(backbone::scratch_bytes(s), 64) + sizeof(float) * (4 * s.rows + 8 * s.columns) + 6 * s.rows * Outliers + 64;
  }

  static void prepare(const codec_type& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const float* a, std::size_t lda,
                      std::uint32_t n, std::byte* out) noexcept {
    backbone::prepare(codec.base, at, s, tile, a, lda, n, out);
    auto* copy = reinterpret_cast<float*>(out + n * backbone::prepared_bytes(s));
    const hn::CappedTag<float, 8> d;  // rows are a multiple of 8
    for (std::uint32_t r = 0; r < n; ++r, copy += s.rows)
      for (std::uint32_t k = 0; k < s.rows; k += static_cast<std::uint32_t>(hn::Lanes(d))) hn::StoreU(hn::LoadU(d, a + r * lda + k), d, copy + k);
  }

  static void multiply(const codec_type& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const std::byte* a,
                       std::uint32_t n, float* y, std::size_t ldy, std::byte* scratch, const std::byte* next = nullptr) noexcept {
    if (s.rows % 16 == 0) run<simd::f32_tag>(codec, at, s, tile, a, n, y, ldy, scratch, next);
    else run<hn::CappedTag<float, 8>>(codec, at, s, tile, a, n, y, ldy, scratch, next);
  }

 private:
  static constexpr bool sparse = Outliers != 0;
  /// 128-bit blocks of a vector, at least one.
  template <class D>
  static constexpr std::uint32_t blocks = hn::MaxLanes(D{}) < 4 ? 1 : static_cast<std::uint32_t>(hn::MaxLanes(D{})) / 4;

  template <class D>
  static HWY_INLINE hn::Vec<D> load_half(D d, const f16* from) noexcept {
    const hn::Rebind<hwy::float16_t, D> dh;
    return hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(from)));
  }

  /// Vectors along the rows are D's.
  template <class D>
  static void run(const codec_type& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const std::byte* a, std::uint32_t n,
                  float* y, std::size_t ldy, std::byte* scratch, const std::byte* next) noexcept {
    const ahead fetch(tile, next);
    for (std::size_t line = codec.base.tile_bytes(s); line < codec.tile_bytes(s); line += 64) fetch(tile + line);  // the backbone asks for its own
    const auto* coefficients = reinterpret_cast<const float*>(a + n * backbone::prepared_bytes(s));
    const auto* factors = reinterpret_cast<const f16*>(tile + codec.factors_at(s));
    float* turned = reinterpret_cast<float*>(round_up(reinterpret_cast<std::uintptr_t>(scratch) + backbone::scratch_bytes(s), 64));
    float *sums = turned + 4 * s.rows, *deltas = sums + 8 * s.columns;
    auto* cells = reinterpret_cast<std::uint16_t*>(deltas + s.rows * Outliers);
    float along[Rank + 1][4];   // a·Pᵀ of each query
    const auto with_rows = [&](std::uint32_t left, auto&& f) {
      if (left == 1) f.template operator()<1>();
      else if (left == 2) f.template operator()<2>();
      else if (left == 3) f.template operator()<3>();
      else f.template operator()<4>();
    };
    const auto begin = [&](std::uint32_t r) {
      with_rows(n - r, [&]<int R>() {
        take<R>(D{}, s, coefficients + r * s.rows, factors, turned, sums, along);
      });
    };
    scattering<D> work{s, turned, deltas, cells, sums};
    begin(0);  // early: what it writes in vectors is read in quarters, which waits until it has left the store queue
    if constexpr (sparse) unpack(s, tile + codec.deltas_at(s), tile + codec.indices_at(s), deltas, cells);
    if constexpr (sparse && requires { backbone::multiply_beside(codec.base, s, tile, a, n, y, ldy, next, work); }) {
      backbone::multiply_beside(codec.base, s, tile, a, n, y, ldy, next, [&]() __attribute__((always_inline)) { work.some(); });
    } else {
      backbone::multiply(codec.base, at, s, tile, a, n, y, ldy, scratch, next);
    }
    for (std::uint32_t r = 0; r < n; r += 4) {
      if (r != 0) {
        begin(r);
        work = {s, turned, deltas, cells, sums};
      }
      if constexpr (sparse)
        while (work.row < s.rows) work.some();
      with_rows(n - r, [&]<int R>() {
        if (s.columns % 16 == 0) give<R>(simd::f32_tag{}, s, along, factors + Rank * s.rows, sums, y + r * ldy, ldy);
        else give<R>(hn::CappedTag<float, 8>{}, s, along, factors + Rank * s.rows, sums, y + r * ldy, ldy);
      });
    }
  }

  /// Turns the coefficients of R queries, takes their products with P and clears the sums. Among 4·blocks rows, row 4b + j lies at place
  /// j·blocks + b of `turned`.
  template <int R, class D>
  static HWY_INLINE void take(D d, kv::tile_shape s, const float* a, const f16* p, float* turned, float* sums, float (&along)[Rank + 1][4]) noexcept {
    const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
    hn::Vec<D> sum[Rank + 1][4];
    for (std::uint32_t k = 0; k < Rank; ++k)
      for (int r = 0; r < 4; ++r) sum[k][r] = hn::Zero(d);
    for (std::uint32_t i = 0; i < s.rows; i += lanes) {
      hn::Vec<D> v[4];
      for (int r = 0; r < 4; ++r) v[r] = r < R ? hn::LoadU(d, a + r * s.rows + i) : hn::Zero(d);
      for (std::uint32_t k = 0; k < Rank; ++k) {
        const auto f = load_half(d, p + k * s.rows + i);
        for (int r = 0; r < R; ++r) sum[k][r] = hn::MulAdd(v[r], f, sum[k][r]);
      }
      if constexpr (sparse) {
        simd::transpose4(d, v);
        for (int r = 0; r < 4; ++r) hn::StoreU(v[r], d, turned + 4 * i + r * lanes);
      }
    }
    if constexpr (sparse)
      for (std::uint32_t i = 0; i < 8 * s.columns; i += lanes) hn::StoreU(hn::Zero(d), d, sums + i);
    for (std::uint32_t k = 0; k < Rank; ++k) simd::reduce4(d, sum[k], simd::add, along[k]);
  }

  /// Outliers in the form `scatter` reads: differences as f32, columns as the place of their sum, in floats. Apart from being cheaper
  /// to read, they lie beside the sums: loads from the tile may agree with a recent store in the last 12 bits and wait for it.
  static HWY_INLINE void unpack(kv::tile_shape s, const std::byte* from, const std::byte* index, float* deltas, std::uint16_t* cells) noexcept {
    widen(reinterpret_cast<const f16*>(from), s.rows * Outliers, deltas);
    const hn::CappedTag<std::uint16_t, 8> d;
    const hn::Rebind<std::uint8_t, decltype(d)> db;
    for (std::uint32_t i = 0; i < s.rows * Outliers; i += static_cast<std::uint32_t>(hn::Lanes(d)))
      hn::StoreU(hn::ShiftLeft<2>(hn::PromoteTo(d, hn::LoadU(db, reinterpret_cast<const std::uint8_t*>(index) + i))), d, cells + i);
  }

  /// sums [2][columns][4] += a·S, even rows into the first, odd rows into the second; four rows at a time.
  template <class D>
  struct scattering {
    kv::tile_shape s;
    const float *turned, *deltas;
    const std::uint16_t* cells;
    float* sums;
    std::uint32_t row = 0;

    HWY_INLINE void some() noexcept {
      if constexpr (sparse) {
        if (row == s.rows) return;
        const hn::CappedTag<float, 4> d4;
        constexpr std::uint32_t lanes4 = static_cast<std::uint32_t>(hn::MaxLanes(d4)), b = blocks<D>;
        const std::uint32_t inside = row & (4 * b - 1);  // b is a power of two
        const float *from = turned + 4 * (row - inside + inside / 4), *delta = deltas + row * Outliers;
        const std::uint16_t* cell = cells + row * Outliers;
        for (std::uint32_t j = 0; j < 4; ++j, from += 4 * b) {
          float* to = j % 2 == 0 ? sums : sums + 4 * s.columns;
          for (std::uint32_t i = 0; i < 4; i += lanes4) {
            const auto a = hn::LoadU(d4, from + i);
            for (std::uint32_t k = 0; k < Outliers; ++k, ++delta, ++cell) {
              float* at = to + *cell + i;
              hn::StoreU(hn::MulAdd(hn::Set(d4, *delta), a, hn::LoadU(d4, at)), d4, at);
            }
            if (i + lanes4 < 4) delta -= Outliers, cell -= Outliers;
          }
        }
        row += 4;
      }
    }
  };

  /// y += along·Q + the sums, turned back.
  template <int R, class D>
  static HWY_INLINE void give(D d, kv::tile_shape s, const float (&along)[Rank + 1][4], const f16* q, const float* sums, float* y, std::size_t ldy) noexcept {
    const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
    constexpr std::uint32_t b = blocks<D>;
    alignas(64) std::int32_t order[16] = {};  // the turned lanes hold columns in the order 0, b, 2b, 3b, 1, b + 1, …
    for (std::uint32_t c = 0; c < lanes; ++c) order[c] = static_cast<std::int32_t>(lanes < 4 ? 0 : 4 * (c % b) + c / b);
    const auto places = hn::SetTableIndices(d, order);
    for (std::uint32_t c = 0; c < s.columns; c += lanes) {
      hn::Vec<D> sum[R];
      for (int r = 0; r < R; ++r) sum[r] = hn::LoadU(d, y + r * ldy + c);
      for (std::uint32_t k = 0; k < Rank; ++k) {
        const auto f = load_half(d, q + k * s.columns + c);
        for (int r = 0; r < R; ++r) sum[r] = hn::MulAdd(hn::Set(d, along[k][r]), f, sum[r]);
      }
      if constexpr (sparse) {
        hn::Vec<D> v[4];
        for (std::uint32_t j = 0; j < 4; ++j) {
          const float* from = sums + 4 * c + j * lanes;
          v[j] = hn::Add(hn::LoadU(d, from), hn::LoadU(d, from + 4 * s.columns));
        }
        simd::transpose4(d, v);
        for (int r = 0; r < R; ++r) sum[r] = hn::Add(sum[r], b == 1 ? v[r] : hn::TableLookupLanes(v[r], places));
      }
      for (int r = 0; r < R; ++r) hn::StoreU(sum[r], d, y + r * ldy + c);
    }
  }
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
