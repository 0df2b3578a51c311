// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "selection.hpp"
#include "tree.hpp"

namespace quire::inline v0::schedule::prefix {

/// The selection that saves most with one level of groups. best(v, a), the most that the prompts below v can earn when
/// the deepest chosen node above them has depth a, is the larger of the sum of best(c, a) over children, with a for
/// each prompt at home in v, and the same with v chosen: depth(v) instead of a, less depth(v) for computing the prefix. The
/// first grows with a and the second does not, so a node is chosen up to some level of a and never beyond.
/// cost: O(nodes * levels) time; memory for one number for each level, times the ancestors that wait for more children,
/// which are few because a walk goes deep first where most prompts are. throws: std::bad_alloc.
/// test: tests/schedule/prefix/one_level_optimum.cpp
inline selection one_level_optimum(const tree& t) {
  const std::uint32_t root = t.root();
  std::vector<std::uint32_t> level(t.nodes.size());
  for (std::uint32_t v = root; v-- > 0;) level[v] = level[t.nodes[v].parent] + 1;
  std::vector<std::uint32_t> homes(t.nodes.size());
  for (const std::uint32_t v : t.home) ++homes[v];

  // sums[l][k]: earned so far below the open node of level l, if the deepest chosen node above has level k (0: none);
  // empty until its first child is done
  std::vector<std::vector<std::uint64_t>> sums(*std::max_element(level.begin(), level.end()) + 1);
  std::vector<std::uint32_t> worth(t.nodes.size());  // chosen while the level of a is below this
  for (std::uint32_t v = 0; v < root; ++v) {
    const std::uint32_t l = level[v];
    std::vector<std::uint64_t> best = std::move(sums[l]);
    sums[l].clear();
    best.resize(l + 1);
    const std::uint64_t depth = t.nodes[v].depth, chosen = best[l] + homes[v] * depth - depth;
    best.pop_back();
    std::uint32_t above = v;
    for (std::uint32_t k = l; k-- > 0;) {
      above = t.nodes[above].parent;
      const std::uint64_t skipped = best[k] + std::uint64_t{homes[v]} * t.nodes[above].depth;
      if (chosen > skipped && worth[v] == 0) worth[v] = k + 1;
      best[k] = std::max(chosen, skipped);
    }
    std::vector<std::uint64_t>& up = sums[l - 1];
    if (up.empty()) up = std::move(best);
    else
      for (std::uint32_t k = 0; k < l; ++k) up[k] += best[k];
  }

  selection out{std::vector<std::uint32_t>(t.nodes.size(), root), std::vector<std::uint32_t>(t.nodes.size())};
  for (std::uint32_t v = root; v-- > 0;) {
    out.head[v] = out.head[t.nodes[v].parent];
    if (level[out.head[v]] >= worth[v]) continue;
    out.head[v] = v;
    out.prefix[v] = t.nodes[v].depth;
  }
  return out;
}

}  // namespace quire::inline v0::schedule::prefix
