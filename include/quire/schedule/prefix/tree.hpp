// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <utility>
#include <vector>

#include "pile.hpp"
#include "sort_prompts.hpp"

namespace quire::inline v0::schedule::prefix {

/// What may be shared. Unit: tokens.
struct tree_options {
  std::uint32_t tile = 1;  ///< prefixes are cut to a multiple of it, as a cache can share only sealed tiles; 1 and more
  bool keep_last = false;  ///< the last token of a prompt stays its own, because that is where its logits come from
};

/// A beginning that at least two prompts share (the root: the empty one).
struct node {
  std::uint32_t depth = 0;  ///< tokens of that beginning
  std::uint32_t first = 0;  ///< the prompts that have it: order[first, first + leaves)
  std::uint32_t leaves = 0;
  std::uint32_t parent = 0;  ///< index of a node; the root is its own parent
};

/// Compact radix tree of a pile. Only shared beginnings are nodes; what a prompt has alone is its length less the depth
/// of its home. Nodes lie children before parents, the root last, so a loop upwards visits children first, a loop
/// downwards parents first.
struct tree {
  std::vector<node> nodes;           ///< at least the root; fewer than two for each request
  std::vector<std::uint32_t> order;  ///< [requests] prompts, those with equal beginnings side by side
  std::vector<std::uint32_t> home;   ///< [requests] deepest node of order[i]

  std::uint32_t root() const noexcept { return static_cast<std::uint32_t>(nodes.size()) - 1; }
  /// Tokens of the span between a node and its parent.
  std::uint32_t span(std::uint32_t v) const noexcept { return nodes[v].depth - nodes[nodes[v].parent].depth; }
};

/// Build the tree from sort_prompts(p). Precondition: check(p), options.tile >= 1.
/// cost: O(requests); 28 bytes a request at most. throws: std::bad_alloc.
/// from: BatchLLM (arXiv:2412.03594), tree of intervals of a sorted list; test: tests/schedule/prefix/tree.cpp
template <std::integral Symbol>
tree build_tree(const pile<Symbol>& p, sorted_prompts sorted, const tree_options& options) {
  struct open {
    std::uint32_t depth, first;
  };
  QUIRE_ASSERT(options.tile >= 1, "quire::schedule::prefix::build_tree: tile is 0, allowed 1 and more");
  const auto n = static_cast<std::uint32_t>(sorted.order.size());
  const auto cut = [&](std::uint32_t tokens) { return tokens - tokens % options.tile; };
  const auto sharable = [&](std::uint32_t i) {  // also where ids are wrong about partial blocks: never beyond a prompt
    const std::uint32_t length = p.length(sorted.order[i]);
    return cut(options.keep_last && length > 0 ? length - 1 : length);
  };

  tree out;
  out.home.resize(n);
  std::vector<open> path{{0, 0}};
  std::vector<std::uint32_t> homeless;  // positions whose deepest node is not closed yet
  const auto close = [&](std::uint32_t end) {
    const open x = path.back();
    for (; !homeless.empty() && homeless.back() >= x.first; homeless.pop_back())
      out.home[homeless.back()] = static_cast<std::uint32_t>(out.nodes.size());
    out.nodes.push_back({.depth = x.depth, .first = x.first, .leaves = end - x.first});
    path.pop_back();
    return x.first;
  };
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t depth =
        i == 0 ? 0 : std::min({cut(p.length(sorted.order[i], sorted.shared[i])), sharable(i - 1), sharable(i)});
    std::uint32_t first = i == 0 ? 0 : i - 1;
    while (path.back().depth > depth) first = close(i);
    if (path.back().depth < depth) path.push_back({depth, first});
    homeless.push_back(i);
  }
  while (!path.empty()) close(n);

  std::vector<std::uint32_t>& above = homeless;
  above.assign(1, out.root());
  out.nodes.back().parent = out.root();
  for (std::uint32_t v = out.root(); v-- > 0;) {
    while (out.nodes[above.back()].first > out.nodes[v].first) above.pop_back();
    out.nodes[v].parent = above.back();
    above.push_back(v);
  }
  out.order = std::move(sorted.order);
  return out;
}

template <std::integral Symbol>
tree build_tree(const pile<Symbol>& p, const tree_options& options = {}) {
  return build_tree(p, sort_prompts(p), options);
}

/// Tokens that need not be computed when every shared beginning is computed once: the most any plan can save.
inline std::uint64_t saved_multi_level(const tree& t) noexcept {
  std::uint64_t saved = 0;
  for (std::uint32_t v = 0; v < t.root(); ++v) saved += std::uint64_t{t.nodes[v].leaves - 1} * t.span(v);
  return saved;
}

}  // namespace quire::inline v0::schedule::prefix
