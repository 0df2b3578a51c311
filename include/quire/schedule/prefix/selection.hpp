// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "tree.hpp"

namespace quire::inline v0::schedule::prefix {

/// One level of sharing: some nodes of a tree are heads of groups, and all members of a group share its prefix.
struct selection {
  std::vector<std::uint32_t> head;    ///< [nodes] group of the prompts at home in a node; the root: none
  std::vector<std::uint32_t> prefix;  ///< [nodes] tokens of the prefix of the group that a node heads; 0: it heads none
};

/// [nodes] members of the group that each node heads; for the root, prompts without a group.
inline std::vector<std::uint32_t> members(const tree& t, const selection& s) {
  std::vector<std::uint32_t> count(t.nodes.size());
  for (const std::uint32_t v : t.home) ++count[s.head[v]];
  return count;
}

/// Tokens that need not be computed when each group computes its prefix once.
/// test: tests/schedule/prefix/selection.cpp
inline std::uint64_t saved(const tree& t, const selection& s) {
  const std::vector<std::uint32_t> count = members(t, s);
  std::uint64_t total = 0;
  for (std::uint32_t v = 0; v < t.root(); ++v)
    if (count[v] > 1) total += std::uint64_t{count[v] - 1} * s.prefix[v];
  return total;
}

}  // namespace quire::inline v0::schedule::prefix
