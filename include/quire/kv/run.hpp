// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "../core/extents.hpp"

namespace quire::inline v0::kv {

/// Which query reads which form of a tile; part of a layout's type.
/// causal_seal: a query reads tile i sealed exactly if its position >= the tile's end, whatever the chunking, so chunk
///   size, swapping and recomputation never change a result.
/// exact_prefill: queries of one prefill chunk read each other's exact rows (as the papers do); depends on the chunking.
enum class read_rule : std::uint8_t { causal_seal, exact_prefill };

/// What may be done with a layout's runs.
struct layout_traits {
  bool shareable = true;     ///< sealed tiles may be held by several sequences
  bool rewindable = true;    ///< `truncate` to a tile boundary needs no dropped token
  bool prefix_pure = true;   ///< bytes depend on prefix tokens, codec and params only: may enter a prefix index
};

/// The tokens a query may see besides causality: the first `sinks` and the `window` newest before and including itself.
struct visibility {
  static constexpr std::uint32_t everything = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t sinks = 0;
  std::uint32_t window = everything;
  std::uint32_t share = 0;    ///< not 0: the window is never less than one part in `share` of all tokens
  bool by_tile = false;       ///< all queries of a tile see what its first one sees, and from a tile's first token on
  std::uint32_t whole_until = 0;  ///< queries before it see everything: a prompt read as if nothing were dropped. A sequence's, not a layout's

  QUIRE_HD constexpr bool limited() const noexcept { return window != everything; }
  /// Tokens in the window of a query at `query`.
  QUIRE_HD constexpr std::uint32_t window_of(std::uint32_t query) const noexcept {
    const std::uint32_t part = share != 0 ? (query + 1) / share : 0;
    return part > window ? part : window;
  }
  /// First position of the window for a query at `query`; never falls as `query` rises.
  QUIRE_HD constexpr std::uint32_t window_begin(std::uint32_t query) const noexcept {
    if (!limited()) return 0;
    const std::uint32_t q = by_tile ? query / tile_tokens * tile_tokens : query, w = window_of(q);
    if (q < whole_until) return 0;
    const std::uint32_t begin = q + 1 > w ? q + 1 - w : 0;
    return by_tile ? begin / tile_tokens * tile_tokens : begin;
  }
  QUIRE_HD constexpr bool sees(std::uint32_t query, std::uint32_t key) const noexcept {
    return key <= query && (key < sinks || key >= window_begin(query));
  }
  /// Whether no query at or after `query` sees any token of tile `tile`.
  QUIRE_HD constexpr bool drops(std::uint32_t query, std::uint32_t tile) const noexcept {
    return tile * tile_tokens >= sinks && (tile + 1) * tile_tokens <= window_begin(query);
  }
  /// Tiles between the sinks and the window of a query in tile `tile`.
  QUIRE_HD constexpr std::uint32_t dropped_tiles(std::uint32_t tile) const noexcept {
    const std::uint32_t begin = window_begin(tile * tile_tokens) / tile_tokens, first = tiles_touched(sinks);
    return limited() && begin > first ? begin - first : 0;
  }
  /// The least query whose window begins at or after `position`.
  QUIRE_HD constexpr std::uint32_t first_query_from(std::uint32_t position) const noexcept {
    std::uint32_t low = position, high = everything - 1;
    while (low < high) {
      const std::uint32_t middle = low + (high - low) / 2;
      if (window_begin(middle) >= position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
  /// The same for a sequence that reads its first `tokens` tokens whole.
  QUIRE_HD constexpr visibility whole_to(std::uint32_t tokens) const noexcept {
    visibility v = *this;
    v.whole_until = limited() ? tokens : 0;
    return v;
  }
  friend bool operator==(const visibility&, const visibility&) = default;
};

/// A stretch of tokens of one (sequence, layer, head) that is kept one way. Kernel-visible; owns nothing.
/// Token j of the run stands in tile j / 64 at column j % 64, has position `position + j` (unless positions are given one by one), and its tile
/// lies at base + pages[j / 64]·page_stride. `form` says which of the layout's codec pairs reads it.
struct run {
  std::uint64_t id = 0;                       ///< equal ids hold equal bytes: a plan may fold them once. 0: not shared
  const std::byte* base = nullptr;            ///< this (layer, head) in page 0
  const std::uint32_t* pages = nullptr;       ///< [tiles]; null: tile i is page i
  std::size_t page_stride = 0;                ///< bytes
  std::uint32_t value_offset = 0;             ///< bytes from a key tile to its value tile
  std::uint32_t tokens = 0;                   ///< held tokens; the last tile may be partial
  std::uint32_t slot = 0;                     ///< place of the first tile among all tiles, runs laid end to end
  std::int32_t position = 0;                  ///< position of token 0
  const std::int32_t* positions = nullptr;    ///< [tokens], overrides `position`
  std::int32_t rotation = 0;                  ///< Δ: keys were rotated at position − Δ; the fold rotates the query by −Δ
  std::uint32_t position_offset = 0;          ///< bytes from a tile to the positions [64] of its tokens, which override `position` too; 0: none
  const std::uint64_t* live = nullptr;        ///< [tiles] one bit a token; null: all live
  float bias = 0;                             ///< added to every logit (compensation tokens)
  std::uint8_t form = 0;                      ///< index of the codec pair: 0 raw, 1 sealed
  bool exempt = false;                        ///< seen whatever the head's visibility says: overlays, compensation tokens

  QUIRE_HD constexpr std::uint32_t tiles() const noexcept { return tiles_touched(tokens); }
  QUIRE_HD constexpr const std::byte* tile(std::uint32_t i) const noexcept {
    return base + static_cast<std::size_t>(pages ? pages[i] : i) * page_stride;
  }
  QUIRE_HD constexpr std::int32_t position_of(std::uint32_t j) const noexcept {
    if (position_offset != 0) return reinterpret_cast<const std::int32_t*>(tile(j / tile_tokens) + position_offset)[j % tile_tokens];
    return positions ? positions[j] : position + static_cast<std::int32_t>(j);
  }
  /// Whether neighbouring tokens need not have neighbouring positions.
  QUIRE_HD constexpr bool scattered() const noexcept { return positions != nullptr || position_offset != 0; }
  /// Live bits of tile i, tokens past the end cleared.
  QUIRE_HD constexpr std::uint64_t live_bits(std::uint32_t i) const noexcept {
    const std::uint32_t left = tokens - i * tile_tokens;
    const std::uint64_t valid = left >= tile_tokens ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
    return live ? live[i] & valid : valid;
  }
};

/// Everything the fold reads of one (sequence, layer, head): runs in slot order, and what a query may see of them.
struct head_view {
  static constexpr std::uint32_t max_runs = 6;
  run runs[max_runs];
  std::uint32_t count = 0;
  visibility sees;

  /// Slots (tiles, gaps included) that the runs span.
  QUIRE_HD constexpr std::uint32_t slots() const noexcept {
    return count == 0 ? 0 : runs[count - 1].slot + runs[count - 1].tiles();
  }
};

}  // namespace quire::inline v0::kv
