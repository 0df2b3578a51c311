// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "config.hpp"

namespace quire::inline v0 {

/// Tokens in a tile: the unit of encoding, sharing, moving and dealing. A live mask has one bit per token.
inline constexpr std::uint32_t tile_tokens = 64;
/// Tiles in a piece: the leaf of the merge tree (see attention/fold.hpp).
inline constexpr std::uint32_t piece_tiles = 4;
inline constexpr std::uint32_t piece_tokens = tile_tokens * piece_tiles;

/// Largest head the kernels and codecs serve; head sizes are multiples of 8.
inline constexpr std::uint32_t max_head_dim = 256;

/// What a cache holds for each token: `layers` × `kv_heads` keys and values of `head_dim` elements.
struct extents {
  std::uint32_t layers = 1;
  std::uint32_t kv_heads = 1;
  std::uint32_t head_dim = 64;

  QUIRE_HD constexpr std::uint32_t heads() const noexcept { return layers * kv_heads; }
  friend bool operator==(const extents&, const extents&) = default;
};

QUIRE_HD constexpr std::uint32_t ceil_div(std::uint32_t a, std::uint32_t b) noexcept { return (a + b - 1) / b; }
QUIRE_HD constexpr std::size_t round_up(std::size_t a, std::size_t b) noexcept { return (a + b - 1) / b * b; }
/// Tiles that `tokens` tokens touch, and tiles they fill.
QUIRE_HD constexpr std::uint32_t tiles_touched(std::uint32_t tokens) noexcept { return ceil_div(tokens, tile_tokens); }
QUIRE_HD constexpr std::uint32_t tiles_filled(std::uint32_t tokens) noexcept { return tokens / tile_tokens; }

}  // namespace quire::inline v0
