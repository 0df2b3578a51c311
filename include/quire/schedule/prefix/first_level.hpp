// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "selection.hpp"
#include "tree.hpp"

namespace quire::inline v0::schedule::prefix {

/// Greedy first-level maximisation, children before parents: a child g of v moves up beside v when its prompts save
/// more by sharing all of g than the beginning of v costs once more, (members(g) - 1) * len(g) > len(v). A node that is
/// left with nothing but one child takes that child's place. What ends up below the root are the groups. They do not
/// depend on the order of children; the saving is at most the optimum's (one_level_optimum.hpp).
/// cost: O(nodes * levels), in practice O(nodes); 16 bytes a node. throws: std::bad_alloc.
/// from: BatchLLM (arXiv:2412.03594); test: tests/schedule/prefix/first_level.cpp
inline selection first_level(const tree& t) {
  constexpr std::uint32_t none = 0xffffffffu;
  const auto n = t.nodes.size();
  selection out{std::vector<std::uint32_t>(n), std::vector<std::uint32_t>(n)};
  std::vector<std::uint32_t>& above = out.head;    // the node that a node lies below now
  std::vector<std::uint32_t>& reach = out.prefix;  // tokens that all prompts left in a node share
  std::vector<std::uint32_t> members(n), child(n, none), sibling(n, none);
  for (std::uint32_t v = 0; v < n; ++v) reach[v] = t.nodes[v].depth, members[v] = t.nodes[v].leaves;

  const auto put = [&](std::uint32_t g, std::uint32_t under) {
    sibling[g] = child[under];
    child[under] = g;
    above[g] = under;
  };
  const auto only = [&](std::uint32_t v) {  // nothing left but one child
    const std::uint32_t c = child[v];
    return c != none && sibling[c] == none && members[c] == members[v];
  };
  for (std::uint32_t v = 0; v < t.root(); ++v) {
    const std::uint32_t up = t.nodes[v].parent, depth = t.nodes[v].depth;
    for (std::uint32_t* link = &child[v]; *link != none && !only(v);) {
      const std::uint32_t g = *link;
      if (std::uint64_t{members[g] - 1} * (reach[g] - depth) <= t.span(v)) {
        link = &sibling[g];
        continue;
      }
      *link = sibling[g];
      members[v] -= members[g];
      put(g, up);
    }
    if (only(v)) {
      reach[v] = reach[child[v]];
      child[v] = child[child[v]];
    }
    put(v, up);
  }
  above[t.root()] = t.root();
  for (std::uint32_t v = t.root(); v-- > 0;) {  // what a node lies below comes before it
    if (above[v] == t.root()) {
      above[v] = v;
    } else {
      above[v] = above[above[v]];
      reach[v] = 0;
    }
  }
  return out;
}

}  // namespace quire::inline v0::schedule::prefix
