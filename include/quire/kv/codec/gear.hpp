// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../core/number.hpp"
#include "low_rank.hpp"

namespace quire::inline v0::kv {

/// X ≈ D + L + S: the backbone `Base`, `Rank` directions of what it misses, and for each row of X (a channel of keys over the tile's
/// tokens, a token of values) its `Outliers`/2 largest and smallest elements, which the backbone sees as the mean of the
/// others. Outliers = 0 is GEAR-L. For every tile ‖X − (D+L+S)‖ ≤ ‖X − (D+S)‖: factors that would not help are zeros.
/// Bytes: the backbone's tile, at the next multiple of 4 P [Rank][rows] and Q [Rank][columns] (f16, L = Pᵀ·Q), then for
/// each row its outliers' differences X − D (f16), then their columns (u8).
/// cost: 16·Rank·(1/rows + 1/columns) + 24·Outliers/columns bits an element above the backbone; fails: never.
/// from: GEAR (arXiv:2403.05527), KIVI backbone with group::row; test: tests/kv/codec/gear.cpp
template <Codec Base, std::uint32_t Rank, std::uint32_t Outliers>
struct gear {
  static_assert(!RotatingCodec<Base>, "quire::kv::gear: write hadamard<gear<Base, ...>>, not gear<hadamard<Base>, ...>: the fold turns queries and outputs "
                                      "once for the whole tile, so a rotation stands outermost and factors and outliers live in its basis");
  static_assert(Rank <= 8, "quire::kv::gear: Rank must be 0 to 8, a tile may have no more directions");
  static_assert(Outliers % 2 == 0 && Outliers <= 6, "quire::kv::gear: Outliers must be 0, 2, 4 or 6, half of them largest and half smallest");
  static_assert(Rank + Outliers > 0, "quire::kv::gear: Rank and Outliers are both 0, use the backbone itself");
  using base_codec = Base;
  static constexpr std::uint32_t rank = Rank, outliers = Outliers;
  [[no_unique_address]] Base base{};

  static constexpr const char* format() noexcept { return text.data(); }

  /// Parts of a tile, in bytes from its beginning.
  QUIRE_HD constexpr std::size_t factors_at(tile_shape s) const noexcept { return round_up(base.tile_bytes(s), 4); }
  QUIRE_HD constexpr std::size_t deltas_at(tile_shape s) const noexcept { return factors_at(s) + std::size_t{Rank} * (s.rows + s.columns) * sizeof(f16); }
  QUIRE_HD constexpr std::size_t indices_at(tile_shape s) const noexcept { return deltas_at(s) + std::size_t{s.rows} * Outliers * sizeof(f16); }
  QUIRE_HD constexpr std::size_t tile_bytes(tile_shape s) const noexcept { return indices_at(s) + std::size_t{s.rows} * Outliers; }

  /// As factors and differences are stored.
  QUIRE_HD static f16 saturated(float x) noexcept {
    constexpr float most = 65504.0f;
    return f16::from(x > most ? most : x < -most ? -most : x);
  }

  void encode(const codec_context& at, tile_shape s, const float* x, std::byte* out) const noexcept {
    float work[max_head_dim * tile_tokens], kept[max_head_dim * tile_tokens];
    const std::uint32_t n = s.elements();
    auto* index = reinterpret_cast<std::uint8_t*>(out + indices_at(s));
    if constexpr (Outliers == 0) {
      base.encode(at, s, x, out);
    } else {
      for (std::uint32_t i = 0; i < n; ++i) work[i] = x[i];
      for (std::uint32_t r = 0; r < s.rows; ++r) take_outliers(x + r * s.columns, s.columns, work + r * s.columns, index + r * Outliers);
      base.encode(at, s, work, out);
    }
    for (std::size_t i = base.tile_bytes(s); i < factors_at(s); ++i) out[i] = std::byte{0};
    base.decode(at, s, out, kept);
    auto* delta = reinterpret_cast<f16*>(out + deltas_at(s));
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t k = 0; k < Outliers; ++k) {
        const std::uint32_t i = r * s.columns + index[r * Outliers + k];
        delta[r * Outliers + k] = saturated(x[i] - kept[i]);
        kept[i] += delta[r * Outliers + k].to_float();
      }
    if constexpr (Rank != 0) {
      auto* p = reinterpret_cast<f16*>(out + factors_at(s));
      f16* q = p + Rank * s.rows;
      float wide_p[Rank * max_head_dim], wide_q[Rank * max_head_dim];
      for (std::uint32_t i = 0; i < n; ++i) work[i] = x[i] - kept[i];
      const float scale = fit_low_rank(work, s, Rank, place_seed(at), wide_p, wide_q);
      for (std::uint32_t i = 0; i < Rank * s.rows; ++i) p[i] = saturated(wide_p[i]);
      for (std::uint32_t i = 0; i < Rank * s.columns; ++i) q[i] = saturated(wide_q[i] / scale);
      for (std::uint32_t i = 0; i < n; ++i) work[i] = kept[i];
      add_factors(s, p, q, work);
      if (!(square_error(x, work, n) <= square_error(x, kept, n)))
        for (std::uint32_t i = 0; i < Rank * (s.rows + s.columns); ++i) p[i] = {};
    }
  }
  /// Element (r, c) of a tile.
  QUIRE_HD static float element(tile_shape s, const std::byte* tile, std::uint32_t r, std::uint32_t c) noexcept {
    constexpr gear codec{};
    const auto *p = reinterpret_cast<const f16*>(tile + codec.factors_at(s)), *delta = reinterpret_cast<const f16*>(tile + codec.deltas_at(s));
    const auto* index = reinterpret_cast<const std::uint8_t*>(tile + codec.indices_at(s));
    float x = Base::element(s, tile, r, c);
    for (std::uint32_t k = r * Outliers; k < (r + 1) * Outliers; ++k)
      if (index[k] == c) x += delta[k].to_float();
    for (std::uint32_t k = 0; k < Rank; ++k) x += p[k * s.rows + r].to_float() * p[Rank * s.rows + k * s.columns + c].to_float();
    return x;
  }
  QUIRE_HD void decode(const codec_context& at, tile_shape s, const std::byte* tile, float* x) const noexcept {
    base.decode(at, s, tile, x);
    const auto* delta = reinterpret_cast<const f16*>(tile + deltas_at(s));
    const auto* index = reinterpret_cast<const std::uint8_t*>(tile + indices_at(s));
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t k = 0; k < Outliers; ++k) x[r * s.columns + index[r * Outliers + k]] += delta[r * Outliers + k].to_float();
    if constexpr (Rank != 0) {
      const auto* p = reinterpret_cast<const f16*>(tile + factors_at(s));
      add_factors(s, p, p + Rank * s.rows, x);
    }
  }

 private:
  static constexpr format_text text = format_text{}.add("gear-r").add(Rank).add("-s").add(Outliers).add(".1+").add(Base::format());

  /// Columns of a row's largest and smallest elements; in `work` they become the mean of the others.
  static void take_outliers(const float* x, std::uint32_t n, float* work, std::uint8_t* index) noexcept {
    std::uint64_t taken[max_head_dim / 64 + 1] = {};
    for (std::uint32_t k = 0; k < Outliers; ++k) {
      const float sign = k < Outliers / 2 ? 1.0f : -1.0f;
      std::uint32_t best = n;
      float most = 0;
      for (std::uint32_t c = 0; c < n; ++c) {
        const float v = sign * x[c];
        if ((best == n || v > most) && (taken[c / 64] >> c % 64 & 1u) == 0) best = c, most = v;
      }
      taken[best / 64] |= std::uint64_t{1} << best % 64;
      index[k] = static_cast<std::uint8_t>(best);
    }
    double sum = 0;
    for (std::uint32_t c = 0; c < n; ++c) sum += (taken[c / 64] >> c % 64 & 1u) == 0 ? static_cast<double>(x[c]) : 0.0;
    for (std::uint32_t k = 0; k < Outliers; ++k) work[index[k]] = static_cast<float>(sum / (n - Outliers));
  }
  QUIRE_HD static void add_factors(tile_shape s, const f16* p, const f16* q, float* x) noexcept {
    float row[max_head_dim];
    for (std::uint32_t k = 0; k < Rank; ++k) {
      for (std::uint32_t c = 0; c < s.columns; ++c) row[c] = q[k * s.columns + c].to_float();
      for (std::uint32_t r = 0; r < s.rows; ++r) {
        const float weight = p[k * s.rows + r].to_float();
        for (std::uint32_t c = 0; c < s.columns; ++c) x[r * s.columns + c] += weight * row[c];
      }
    }
  }
  static double square_error(const float* x, const float* y, std::uint32_t n) noexcept {
    double part[8] = {};
    for (std::uint32_t i = 0; i < n; i += 8)
      for (std::uint32_t k = 0; k < 8; ++k) {
        const double e = static_cast<double>(x[i + k]) - y[i + k];
        part[k] += e * e;
      }
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
  }
};

}  // namespace quire::inline v0::kv
