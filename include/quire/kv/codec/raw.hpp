// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "../../core/number.hpp"
#include "../codec.hpp"

namespace quire::inline v0::kv {

/// Numbers as they are: X as [rows / pack][columns][pack], where `pack` neighbouring rows share 32 bits (f32: 1, 16-bit
/// formats: 2), so that one dot instruction takes a whole 32-bit lane. Open tails are tiles of this codec.
/// shape: any even number of rows; cost: sizeof(Number) bytes an element; fails: never. test: tests/kv/codec/raw.cpp
template <class Number>
struct raw {
  static_assert(sizeof(Number) == 4 || sizeof(Number) == 2, "quire::kv::raw: Number must be float, bf16 or f16");
  using number = Number;
  static constexpr std::uint32_t pack = 4 / sizeof(Number);

  static constexpr const char* format() noexcept {
    if constexpr (std::is_same_v<Number, float>) return "f32.1";
    if constexpr (std::is_same_v<Number, bf16>) return "bf16.1";
    return "f16.1";
  }
  QUIRE_HD constexpr std::size_t tile_bytes(tile_shape s) const noexcept { return std::size_t{s.elements()} * sizeof(Number); }

  /// Index of element (row, column) in the tile, in numbers.
  QUIRE_HD static constexpr std::uint32_t at(tile_shape s, std::uint32_t row, std::uint32_t column) noexcept {
    return (row / pack * s.columns + column) * pack + row % pack;
  }
  QUIRE_HD static constexpr Number narrow(float x) noexcept {
    if constexpr (std::is_same_v<Number, float>) return x;
    else {  // finite rows stay finite: what lies outside the format takes its largest value
      constexpr float most = std::is_same_v<Number, f16> ? 65504.0f : bf16{0x7f7f}.to_float();
      return Number::from(x > most ? most : x < -most ? -most : x);
    }
  }
  QUIRE_HD static constexpr float widen(Number x) noexcept {
    if constexpr (std::is_same_v<Number, float>) return x;
    else return x.to_float();
  }

  QUIRE_HD void encode(const codec_context&, tile_shape s, const float* x, std::byte* out) const noexcept {
    auto* n = reinterpret_cast<Number*>(out);
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) n[at(s, r, c)] = narrow(x[r * s.columns + c]);
  }
  /// Element (r, c) of a tile.
  QUIRE_HD static float element(tile_shape s, const std::byte* tile, std::uint32_t r, std::uint32_t c) noexcept { return widen(reinterpret_cast<const Number*>(tile)[at(s, r, c)]); }
  QUIRE_HD void decode(const codec_context&, tile_shape s, const std::byte* tile, float* x) const noexcept {
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) x[r * s.columns + c] = element(s, tile, r, c);
  }
  QUIRE_HD void put(side which, std::uint32_t head_dim, std::uint32_t token, const float* row, std::byte* tile) const noexcept {
    const tile_shape s = shape_of(which, head_dim);
    auto* n = reinterpret_cast<Number*>(tile);
    for (std::uint32_t i = 0; i < head_dim; ++i)
      n[which == side::key ? at(s, i, token) : at(s, token, i)] = narrow(row[i]);
  }
  QUIRE_HD void copy(side which, std::uint32_t head_dim, const std::byte* from, std::uint32_t token, std::byte* tile, std::uint32_t to) const noexcept {
    const tile_shape s = shape_of(which, head_dim);
    const auto* x = reinterpret_cast<const Number*>(from);
    auto* n = reinterpret_cast<Number*>(tile);
    for (std::uint32_t i = 0; i < head_dim; ++i)
      n[which == side::key ? at(s, i, to) : at(s, to, i)] = x[which == side::key ? at(s, i, token) : at(s, token, i)];
  }
};
static_assert(RawCodec<raw<float>> && RawCodec<raw<bf16>> && RawCodec<raw<f16>>);

}  // namespace quire::inline v0::kv
