// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "first_level.hpp"
#include "one_level_optimum.hpp"
#include "pile.hpp"
#include "tree.hpp"

namespace quire::inline v0::schedule::prefix {

struct plan_options {
  std::uint32_t tile = 64;  ///< tokens; a prefix is a multiple of it, so groups that share less are none
  bool optimum = false;     ///< one_level_optimum instead of first_level
};

/// Prompts that begin with the same `tokens` tokens: sequence[begin, begin + members) of the plan.
struct group {
  std::uint32_t tokens = 0;  ///< of the prefix
  std::uint32_t begin = 0, members = 0;
};

/// Where a request stands: what request::group and request::rank are set to.
struct placement {
  std::uint32_t group = 0;  ///< 0: none; else groups[group - 1]
  std::uint32_t rank = 0;   ///< place in the sequence
};

/// Who runs in which order, and who shares what. Outputs go back to the order of the input by index.
struct plan {
  std::vector<placement> places;        ///< [requests] in the order of the input
  std::vector<std::uint32_t> sequence;  ///< [requests] indices of requests, first to last; members of a group together
  std::vector<group> groups;            ///< as they come in the sequence; two members and more

  std::uint64_t saved() const noexcept {
    std::uint64_t total = 0;
    for (const group& g : groups) total += std::uint64_t{g.members - 1} * g.tokens;
    return total;
  }
};

/// Plan a pile: one level of groups, then those first that decode most for each token they prefill,
/// R = sum(decode) / (prefix + sum(tails)), the prefix counted once; so long prefills come late and carry the decodes
/// of earlier groups along. A request without a group stands for itself. Every member keeps at least its last token to
/// itself. Equal R: the lower index first.
/// shape: decode_tokens [requests] tokens each is expected to generate, not negative, or empty when nothing is known.
/// cost: build_tree, the selection, O(requests log requests); at most some 150 bytes a request. Deterministic.
/// Precondition: check(p), options.tile >= 1. throws: std::bad_alloc.
/// from: BatchLLM (arXiv:2412.03594); test: tests/schedule/prefix/plan.cpp
template <std::integral Symbol>
plan make_plan(const pile<Symbol>& p, std::span<const double> decode_tokens = {}, const plan_options& options = {}) {
  struct unit {  // a group, or a request without one
    double decode = 0;
    std::uint64_t prefill = 0;
    std::uint32_t tokens = 0, members = 0, lowest = 0xffffffffu, begin = 0;
    double ratio() const noexcept { return prefill == 0 ? 0 : decode / static_cast<double>(prefill); }
  };
  const tree t = build_tree(p, {.tile = options.tile, .keep_last = true});
  const auto n = static_cast<std::uint32_t>(t.order.size());
  std::vector<std::uint32_t> unit_of(n);  // by position in t.order
  std::vector<unit> units;
  {
    const selection chosen = options.optimum ? one_level_optimum(t) : first_level(t);
    const std::vector<std::uint32_t> count = members(t, chosen);
    std::vector<std::uint32_t> unit_at(t.nodes.size(), 0xffffffffu);
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::uint32_t head = chosen.head[t.home[i]];
      const bool shares = count[head] > 1 && chosen.prefix[head] > 0;
      if (!shares || unit_at[head] == 0xffffffffu) {
        if (shares) unit_at[head] = static_cast<std::uint32_t>(units.size());
        unit_of[i] = static_cast<std::uint32_t>(units.size());
        units.push_back({.prefill = chosen.prefix[head], .tokens = chosen.prefix[head]});
        if (!shares) units.back().prefill = units.back().tokens = 0;
      } else {
        unit_of[i] = unit_at[head];
      }
      unit& u = units[unit_of[i]];
      const std::uint32_t r = t.order[i];
      ++u.members;
      u.lowest = std::min(u.lowest, r);
      u.prefill += p.length(r) - u.tokens;
      if (!decode_tokens.empty()) u.decode += decode_tokens[r];
    }
  }
  std::vector<std::uint32_t> by_ratio(units.size());
  std::iota(by_ratio.begin(), by_ratio.end(), 0u);
  std::sort(by_ratio.begin(), by_ratio.end(), [&](std::uint32_t a, std::uint32_t b) {
    const double x = units[a].ratio(), y = units[b].ratio();
    return x != y ? x > y : units[a].lowest < units[b].lowest;
  });

  plan out{std::vector<placement>(n), std::vector<std::uint32_t>(n), {}};
  std::uint32_t begin = 0;
  for (const std::uint32_t k : by_ratio) {
    unit& u = units[k];
    u.begin = begin;
    begin += u.members;
    if (u.tokens == 0) continue;
    out.groups.push_back({.tokens = u.tokens, .begin = u.begin, .members = u.members});
    u.tokens = static_cast<std::uint32_t>(out.groups.size());  // from here on: the group's number
  }
  for (std::uint32_t i = 0; i < n; ++i) {
    unit& u = units[unit_of[i]];
    out.places[t.order[i]] = {.group = u.tokens, .rank = u.begin};
    out.sequence[u.begin++] = t.order[i];
  }
  return out;
}

}  // namespace quire::inline v0::schedule::prefix
