// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <vector>

#include "pile.hpp"

namespace quire::inline v0::schedule::prefix {

/// Symbols that `a` and `b` share from their beginning; the first `from` are known to be equal.
template <std::integral Symbol>
std::size_t common_length(std::span<const Symbol> a, std::span<const Symbol> b, std::size_t from = 0) noexcept {
  constexpr std::size_t line = 64 / sizeof(Symbol);  // a fixed size, so that the compiler compares vectors
  const std::size_t n = std::min(a.size(), b.size());
  if (from < n && a[from] != b[from]) return from;  // the usual case at a branch
  while (n - from >= line && std::memcmp(a.data() + from, b.data() + from, 64) == 0) from += line;
  while (from < n && a[from] == b[from]) ++from;
  return from;
}

/// Prompts in the order in which a walk through their radix tree meets them.
struct sorted_prompts {
  std::vector<std::uint32_t> order;   ///< [requests] indices of prompts
  std::vector<std::uint32_t> shared;  ///< [requests] symbols that order[i] shares with order[i - 1]; shared[0] is 0
};

/// Put prompts with equal beginnings side by side. In each range one prompt is the pivot: every other one says how far
/// it follows the pivot and with which symbol it leaves; those that leave alike form a range of their own, beginning
/// behind that symbol. So no symbol is read twice for a prompt, and no list of children is ever searched. A prompt
/// that ends where others go on comes after them. Precondition: check(p).
/// cost: O(symbols + requests log requests) for each branch that a prompt takes off its pivot; 24 bytes a request, 32
/// for 64-bit symbols. throws: std::bad_alloc. from: multikey quicksort (Bentley, Sedgewick 1997), with a whole prompt
/// for a pivot; test: tests/schedule/prefix/sort_prompts.cpp
template <std::integral Symbol>
sorted_prompts sort_prompts(const pile<Symbol>& p) {
  struct branch {
    std::uint32_t shared;
    std::uint32_t prompt;
    Symbol next;
    bool ended;
    bool beside(const branch& b) const noexcept { return shared == b.shared && ended == b.ended && next == b.next; }
    bool operator<(const branch& b) const noexcept {
      if (shared != b.shared) return shared > b.shared;
      if (ended != b.ended) return b.ended;
      return next != b.next ? next < b.next : prompt < b.prompt;
    }
  };
  struct range {
    std::uint32_t begin, end, depth;
  };
  const auto n = static_cast<std::uint32_t>(p.size());
  sorted_prompts out{std::vector<std::uint32_t>(n), std::vector<std::uint32_t>(n)};
  std::iota(out.order.begin(), out.order.end(), 0u);
  std::vector<branch> branches;
  branches.reserve(n);
  std::vector<range> ranges;
  if (n > 1) ranges.push_back({0, n, 0});
  while (!ranges.empty()) {
    const range r = ranges.back();
    ranges.pop_back();
    const auto pivot = p.prompts[out.order[r.begin + (r.end - r.begin) / 2]];
    branches.clear();
    for (std::uint32_t i = r.begin; i < r.end; ++i) {
      const std::uint32_t prompt = out.order[i];
      const auto mine = p.prompts[prompt];
      const std::size_t same = common_length(mine, pivot, r.depth);
      const bool ended = same == mine.size();
      branches.push_back({static_cast<std::uint32_t>(same), prompt, ended ? Symbol{} : mine[same], ended});
    }
    std::sort(branches.begin(), branches.end());
    std::uint32_t begin = 0;  // of the prompts that leave alike
    const auto count = static_cast<std::uint32_t>(branches.size());
    for (std::uint32_t i = 0; i < count; ++i) {
      const branch& b = branches[i];
      out.order[r.begin + i] = b.prompt;
      const bool opens = i == 0 || !b.beside(branches[i - 1]);
      if (opens) begin = i;
      if (i > 0 && (opens || b.ended)) out.shared[r.begin + i] = b.shared;  // the rest is for the inner range to say
      const bool closes = i + 1 == count || !b.beside(branches[i + 1]);
      if (closes && !b.ended && i > begin) ranges.push_back({r.begin + begin, r.begin + i + 1, b.shared + 1});
    }
  }
  return out;
}

}  // namespace quire::inline v0::schedule::prefix
