// SPDX-License-Identifier: Apache-2.0
// The best one-level selection by trying them all.
#pragma once

#include <algorithm>
#include <cstdint>

#include "quire/schedule/prefix/selection.hpp"

/// The most that any set of chosen nodes saves, each prompt in the group of its deepest chosen node. Precondition: few nodes.
inline std::uint64_t best_saving(const quire::schedule::prefix::tree& t) {
  std::uint64_t best = 0;
  for (std::uint32_t set = 0; set < 1u << t.root(); ++set) {
    quire::schedule::prefix::selection s{std::vector<std::uint32_t>(t.nodes.size(), t.root()), std::vector<std::uint32_t>(t.nodes.size())};
    for (std::uint32_t v = t.root(); v-- > 0;) {
      const bool chosen = (set >> v & 1) != 0;
      s.head[v] = chosen ? v : s.head[t.nodes[v].parent];
      s.prefix[v] = chosen ? t.nodes[v].depth : 0;
    }
    best = std::max(best, saved(t, s));
  }
  return best;
}
