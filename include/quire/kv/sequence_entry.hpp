// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "layout.hpp"
#include "pool.hpp"

namespace quire::inline v0::kv::detail {

/// What a store knows of one sequence. Pools are numbered as by the store: groups, then tails, overlays and state blocks.
template <std::uint32_t Groups>
struct sequence_entry {
  static constexpr std::uint32_t absent = page_pool::none;
  static constexpr std::uint32_t tails = Groups, overlays = Groups + 1, states = Groups + 2;

  std::array<std::vector<std::uint32_t>, Groups> pages;  ///< [tile] page or `absent`
  std::vector<std::uint32_t> overlay;
  std::array<std::uint32_t, Groups> kept_from{};
  std::uint32_t length = 0;
  std::uint32_t whole_until = 0;    ///< queries before it see everything
  std::uint32_t tail = absent, state = absent;
  std::uint32_t copied = 0;         ///< sealed tiles that are the same elsewhere
  std::uint32_t raw_tile = absent;  ///< tile whose exact rows the tail holds
  std::uint64_t steps = 0;
  bool live = false;

  template <Layout L>
  visibility sees(const L& layout, std::uint32_t group) const noexcept { return layout.group_sees(group).whole_to(whole_until); }

  /// Whether every tile that a query at or after `at` sees is held.
  template <Layout L>
  bool holds(const L& layout, std::uint32_t at) const noexcept {
    for (std::uint32_t g = 0; g < layout.groups(); ++g)
      for (std::uint32_t t = 0; t < tiles_filled(at); ++t)
        if (pages[g][t] == absent && !sees(layout, g).drops(at, t)) return false;
    return true;
  }
  /// Whether tiles after the sinks are gone.
  template <Layout L>
  bool dropped(const L& layout) const noexcept {
    for (std::uint32_t g = 0; g < layout.groups(); ++g)
      if (const visibility v = layout.group_sees(g); v.limited() && kept_from[g] > tiles_touched(v.sinks)) return true;
    return false;
  }
  /// From here on no query sees a dropped tile, and the newest one's exact rows are there.
  template <Layout L>
  std::uint32_t least_length(const L& layout) const noexcept {
    std::uint32_t low = raw_tile == absent ? length : raw_tile * tile_tokens;
    for (std::uint32_t g = 0; g < layout.groups(); ++g)
      if (const visibility v = sees(layout, g); v.limited() && kept_from[g] > tiles_touched(v.sinks))
        low = std::max(low, v.first_query_from(kept_from[g] * tile_tokens));
    return low;
  }
  /// Tokens that its pages have room for.
  template <Layout L>
  std::uint32_t reserved(const L& layout, std::uint32_t max_tokens) const noexcept {
    if (tail == absent) return 0;
    std::size_t tiles = max_tokens / tile_tokens;
    for (std::uint32_t g = 0; g < layout.groups(); ++g) tiles = std::min(tiles, pages[g].size());
    return std::min(max_tokens, static_cast<std::uint32_t>(tiles) * tile_tokens + tile_tokens - 1);
  }

  /// Adds its references to the pages of a pool; false when it is not what its length says.
  template <Layout L>
  bool count(const L& layout, std::uint32_t pool, std::vector<std::uint32_t>& held) const {
    if (pool == states) return live == (state != absent) && (!live || ++held[state] != 0);
    if (pool == tails) return tail == absent || ++held[tail] != 0;
    if (pool == overlays) {
      for (const std::uint32_t page : overlay) ++held[page];
      return overlay.size() >= layout.overlay_tiles(length) && (live || overlay.empty());
    }
    for (const std::uint32_t page : pages[pool])
      if (page != absent) ++held[page];
    if (!live && (!pages[pool].empty() || length != 0)) return false;
    if (pool >= layout.groups()) return true;
    if (pages[pool].size() < tiles_filled(length)) return false;
    return holds(layout, length);
  }
};

}  // namespace quire::inline v0::kv::detail
