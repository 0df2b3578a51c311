// SPDX-License-Identifier: Apache-2.0
#pragma once

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
  std::uint32_t tail = absent, state = absent;
  std::uint32_t copied = 0;         ///< sealed tiles that are the same elsewhere
  std::uint32_t raw_tile = absent;  ///< tile whose exact rows the tail holds
  std::uint64_t steps = 0;
  bool live = false;

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
    for (std::uint32_t t = 0; t < tiles_filled(length); ++t)
      if (pages[pool][t] == absent && !layout.group_sees(pool).drops(length, t)) return false;
    return true;
  }
};

}  // namespace quire::inline v0::kv::detail
