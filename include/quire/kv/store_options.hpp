// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>

#include "../tier/memory.hpp"
#include "layout.hpp"

namespace quire::inline v0::kv {

/// Pages by pool: one pool per head group, then the pool of open tails, then that of overlays.
template <std::uint32_t Groups>
struct page_demand {
  std::array<std::uint32_t, Groups + 2> pages{};
  friend bool operator==(const page_demand&, const page_demand&) = default;
};

/// The page that holds a tile, by group.
template <std::uint32_t Groups>
struct tile_pages {
  std::array<std::uint32_t, Groups> page{};
  friend bool operator==(const tile_pages&, const tile_pages&) = default;
};

/// Size of a store. `max_tokens` bounds one sequence; `pages[g]` bounds group g over all sequences (use `pages_for`).
template <Layout L>
struct store_options {
  std::uint32_t sequences = 1;
  std::uint32_t max_tokens = 4096;
  std::array<std::uint32_t, L::max_groups> pages{};
  std::uint32_t overlay_pages = 0;   ///< over all sequences
  std::uint32_t group_pages = 8;     ///< pages that a sequence's new block group starts with (kv/free_runs.hpp); 1: no groups
  std::uint64_t seed = 0;
  const std::byte* params = nullptr;
  tier::memory* memory = nullptr;    ///< where pages, tails, overlays and state blocks lie, outliving the store; null: the host's
};

/// Pages that let `sequences` sequences of `tokens` tokens live at once, taken in steps of at most `chunk` tokens.
template <Layout L>
constexpr store_options<L> pages_for(const L& l, std::uint32_t sequences, std::uint32_t tokens, std::uint32_t chunk = 512) noexcept {
  store_options<L> o{.sequences = sequences, .max_tokens = tokens};
  for (std::uint32_t g = 0; g < l.groups(); ++g) {
    const visibility sees = l.group_sees(g);
    const std::uint32_t most =
        sees.limited() ? tiles_touched(sees.sinks) + tiles_touched(sees.window_of(tokens)) + tiles_touched(chunk) + 2 + sees.by_tile : tiles_filled(tokens);
    o.pages[g] = sequences * std::min(tiles_filled(tokens), most);
  }
  o.overlay_pages = sequences * l.overlay_tiles(tokens);
  return o;
}

}  // namespace quire::inline v0::kv
