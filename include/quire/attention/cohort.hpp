// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "plan.hpp"

namespace quire::inline v0::attention {

/// How the states of a shared prefix are kept: units of 2^level pieces, at most `wanted` whole ones, then the aligned subtrees
/// of what is left. They are nodes of the one merge tree, so neither their number nor who folds which changes a bit.
struct prefix_units {
  std::uint32_t pieces = 0, level = 0;

  static constexpr std::uint32_t most = 8;
  /// `wanted`: 1 to `most`.
  QUIRE_HD constexpr prefix_units(std::uint32_t n, std::uint32_t wanted) noexcept : pieces(n) {
    while (pieces >> level > wanted) ++level;
  }
  /// Enough of them for every worker to get some of `prefixes`, and no more: each costs a merge.
  QUIRE_HD static constexpr std::uint32_t wanted(std::uint64_t prefixes, std::uint32_t workers) noexcept {
    const std::uint64_t n = prefixes == 0 ? 1 : (std::uint64_t{4} * workers + prefixes - 1) / prefixes;
    return n < 1 ? 1 : n < most ? static_cast<std::uint32_t>(n) : most;
  }
  QUIRE_HD constexpr std::uint32_t whole() const noexcept { return pieces >> level; }
  QUIRE_HD constexpr std::uint32_t count() const noexcept { return whole() + ((pieces & ((1u << level) - 1)) != 0); }
  QUIRE_HD constexpr range unit(std::uint32_t u) const noexcept {
    return intersect({std::uint64_t{u} << level, (std::uint64_t{u} + 1) << level}, {0, pieces});
  }
  /// f(slot, node) over all nodes, left to right. Slot u is the first of unit u.
  template <class F>
  QUIRE_HD constexpr void for_each_node(F&& f) const noexcept {
    std::uint32_t slot = 0;
    for (std::uint32_t u = 0; u < count(); ++u)
      for (range r = unit(u); !r.empty(); ++slot) {
        const tree_node n = first_subtree(r);
        f(slot, n);
        r.begin = n.pieces().end;
      }
  }
  /// Slots that prefixes of up to `n` pieces need.
  QUIRE_HD static constexpr std::uint32_t slots(std::uint32_t n) noexcept { return most + static_cast<std::uint32_t>(std::bit_width(n)); }
};

/// Sequences of a step whose first pieces are the same sealed pages.
struct cohort {
  std::uint32_t first = 0, count = 0;  ///< its members among `cohort_plan::members()`
  std::uint32_t pieces = 0;            ///< shared from token 0 on
};

/// Pieces that a prefix must have for reading it once to pay. What it saves is the tiles of a piece for all members but one; what it
/// costs is handing states over, for each member. Measured by bench_cascade, bf16 and int4, 2 to 32 members: 2 pieces are 8-12 % slower
/// shared for 8 members and more, 8 pieces break even there and give 1.1-1.5x for two, 32 pieces give 1.05-1.8x.
inline constexpr std::uint32_t shortest_prefix = 8;

/// Which decodes of a step read a prefix together: its tiles are folded once for the query rows of all. Found on page tables,
/// so it serves forks, prefix caches and planned groups alike, and a wrong group is impossible. Cohorts have one level; where
/// prefixes nest, a subtree joins its parent's cohort if that saves more piece folds. One thread; allocates in the
/// constructor only.
/// Layouts: groups that keep all tokens; limited ones fold as ever. cost: find O(n log n · shared tiles).
/// from: BatchLLM (arXiv:2412.03594), the prefix-shared kernel; test: tests/attention/cohort.cpp
class cohort_plan {
 public:
  explicit cohort_plan(std::uint32_t sequences) : spans_(sequences) {
    for (auto* v : {&members_, &shared_, &labels_}) v->reserve(sequences);
    cohorts_.reserve(sequences / 2 + 1), places_.reserve(sequences), gains_.reserve(sequences);
  }

  /// Spans of one row are candidates. `block`: members of one cohort at most (block_tokens). `least`: pieces that are worth sharing,
  /// at least 1. Finds nothing where there are more spans than `sequences`.
  template <kv::Layout L>
  void find(const kv::store_view<L>& view, std::span<const query_span> spans, std::uint32_t block, std::uint32_t least = shortest_prefix) noexcept {
    clear();
    if (L::stepwise || spans.size() > spans_) return;
    shared_.assign(spans.size(), 0), places_.assign(spans.size(), {});
    labels_.assign(spans.size(), none), gains_.assign(spans.size(), 0);
    for (std::uint32_t s = 0; s < spans.size(); ++s)
      if (spans[s].count == 1 && spans[s].first / piece_tokens >= least) members_.push_back(s);
    const auto same = [&](std::uint32_t a, std::uint32_t b) {
      const std::uint32_t pieces = common(view, spans[a], spans[b]) / piece_tiles;
      return pieces < least ? 0 : pieces;
    };
    std::sort(members_.begin(), members_.end(), [&](std::uint32_t a, std::uint32_t b) {
      const std::span<const std::uint32_t> x = table(view, spans[a]), y = table(view, spans[b]);
      const auto [i, j] = std::mismatch(x.begin(), x.end(), y.begin(), y.end());
      if (j == y.end()) return i == x.end() && a < b;
      return i == x.end() || *i < *j;
    });
    label_count_ = 0;
    group(0, static_cast<std::uint32_t>(members_.size()), same);
    const auto ungrouped = std::partition(members_.begin(), members_.end(), [&](std::uint32_t m) { return labels_[m] != none; });
    std::sort(members_.begin(), ungrouped, [&](std::uint32_t x, std::uint32_t y) { return labels_[x] != labels_[y] ? labels_[x] < labels_[y] : x < y; });
    const auto grouped = static_cast<std::uint32_t>(ungrouped - members_.begin());
    for (std::uint32_t i = 0, end = 0; i < grouped; i = end) {
      for (end = i + 1; end < grouped && end - i < block && labels_[members_[end]] == labels_[members_[i]];) ++end;
      if (end - i > 1) cohorts_.push_back({i, end - i, shared_[members_[i]]});
      else shared_[members_[i]] = 0;
    }
    for (std::uint32_t c = 0; c < cohorts_.size(); ++c)
      for (std::uint32_t i = 0; i < cohorts_[c].count; ++i) {
        const std::uint32_t s = members_[cohorts_[c].first + i];
        places_[s] = {c, i};
      }
  }
  void clear() noexcept { members_.clear(), cohorts_.clear(), shared_.clear(), places_.clear(); }

  std::span<const cohort> cohorts() const noexcept { return cohorts_; }
  /// Span indices of a cohort's members.
  std::span<const std::uint32_t> members(const cohort& c) const noexcept { return std::span(members_).subspan(c.first, c.count); }
  /// Pieces of a span that its cohort folds; 0 when it has none.
  std::uint32_t pieces(std::uint32_t span) const noexcept { return span < shared_.size() ? shared_[span] : 0; }
  /// Its cohort and its number there. precondition: pieces(span) != 0.
  struct place {
    std::uint32_t cohort = 0, ordinal = 0;
  };
  place of(std::uint32_t span) const noexcept { return places_[span]; }

 private:
  template <kv::Layout L>
  static bool counts(const L& layout, std::uint32_t g) noexcept { return layout.group_heads(g) != 0 && !layout.group_sees(g).limited(); }

  /// Leading tiles that both hold as the same pages and both have behind them.
  template <kv::Layout L>
  static std::uint32_t common(const kv::store_view<L>& v, const query_span& a, const query_span& b) noexcept {
    std::uint32_t t = std::min(a.first, b.first) / tile_tokens;
    bool any = false;
    for (std::uint32_t g = 0; g < v.layout.groups(); ++g) {
      if (!counts(v.layout, g)) continue;
      any = true;
      const std::uint32_t *x = v.sequences[a.sequence].pages[g], *y = v.sequences[b.sequence].pages[g];
      t = static_cast<std::uint32_t>(std::mismatch(x, x + t, y).first - x);
    }
    return any ? t : 0;
  }
  /// Pages of the sealed tiles behind a span, in the first group that keeps all tokens.
  template <kv::Layout L>
  static std::span<const std::uint32_t> table(const kv::store_view<L>& v, const query_span& s) noexcept {
    for (std::uint32_t g = 0; g < v.layout.groups(); ++g)
      if (counts(v.layout, g)) return {v.sequences[s.sequence].pages[g], s.first / tile_tokens};
    return {};
  }

  /// f(lo, hi) over the parts of sorted members [lo, hi) between which no more than `least` pieces are shared.
  template <class Same, class F>
  void parts(std::uint32_t lo, std::uint32_t hi, std::uint32_t least, const Same& same, F&& f) const noexcept {
    for (std::uint32_t i = lo + 1, from = lo; i <= hi; ++i)
      if (i == hi || same(members_[i - 1], members_[i]) == least) f(from, i), from = i;
  }
  /// Groups members [lo, hi), deepest prefixes first; returns the piece folds saved.
  template <class Same>
  std::uint64_t group(std::uint32_t lo, std::uint32_t hi, const Same& same) noexcept {
    if (hi - lo < 2) return 0;
    std::uint32_t least = same(members_[lo], members_[lo + 1]);
    for (std::uint32_t i = lo + 2; i < hi; ++i) least = std::min(least, same(members_[i - 1], members_[i]));
    std::uint64_t apart = 0, joined = 0;
    parts(lo, hi, least, same, [&](std::uint32_t a, std::uint32_t b) {
      const std::uint64_t own = gains_[a] = group(a, b, same), here = std::uint64_t{b - a} * least;
      apart += own, joined += std::max(own, here);
    });
    if (joined <= apart + least) return apart;  // the first to read the prefix saves nothing
    const std::uint32_t label = label_count_++;
    parts(lo, hi, least, same, [&](std::uint32_t a, std::uint32_t b) {
      if (gains_[a] >= std::uint64_t{b - a} * least) return;
      for (std::uint32_t i = a; i < b; ++i) labels_[members_[i]] = label, shared_[members_[i]] = least;
    });
    return joined - least;
  }

  static constexpr std::uint32_t none = ~std::uint32_t{0};
  std::size_t spans_;
  std::uint32_t label_count_ = 0;
  std::vector<std::uint32_t> members_, shared_, labels_;
  std::vector<std::uint64_t> gains_;
  std::vector<cohort> cohorts_;
  std::vector<place> places_;
};

}  // namespace quire::inline v0::attention
