// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan_view.hpp"

namespace quire::inline v0::attention {

/// Which states of an item merge, and when, as its pieces are folded from left to right. Neighbours merge as soon as they are
/// siblings of the merge tree; pieces nobody folds are the identity and take part without storage or arithmetic. Nodes are not
/// kept: which of them hold something follows from the positions alone, so a walk is four numbers and fits in registers.
/// States are numbered 0, 1, … from left to right; merge(k) is asked to put state k + 1 into state k.
/// fails: never; test: tests/attention/subtree_walk.cpp
class subtree_walk {
 public:
  /// `live`: what somebody folds; `begin`: where this walk starts (0, or the first piece of a worker's share).
  QUIRE_HD constexpr subtree_walk(std::uint32_t begin, live_pieces live) noexcept : live_(live), begin_(begin), next_(begin) {}

  /// States that hold something; the next one is number `filled()`, *after* `skip_to`.
  QUIRE_HD constexpr std::uint32_t filled() const noexcept { return filled_; }
  QUIRE_HD constexpr std::uint32_t next() const noexcept { return next_; }

  /// Goes on to `piece`; nobody folds what lies between.
  template <class Merge>
  QUIRE_HD constexpr void skip_to(std::uint32_t piece, Merge&& merge) noexcept {
    while (next_ < piece) {
      const tree_node n = first_subtree({next_, piece});
      next_ = static_cast<std::uint32_t>(n.pieces().end);
      climb(n.level, merge);
    }
  }
  /// Takes state number `filled()`: node `n`, which begins where the walk stands.
  template <class Merge>
  QUIRE_HD constexpr void push(tree_node n, Merge&& merge) noexcept {
    next_ = static_cast<std::uint32_t>(n.pieces().end);
    ++filled_;
    climb(n.level, merge);
  }
  /// Merges what is left as the tree does when all pieces past the end are the identity.
  template <class Merge>
  QUIRE_HD constexpr void finish(Merge&& merge) noexcept {
    for (; filled_ > 1; --filled_) merge(filled_ - 2);
  }

  /// f(node) for each state of a finished share of [begin, end), in order: what `push` of the walk that joins shares is given.
  template <class F>
  QUIRE_HD static constexpr void for_each_node(std::uint32_t begin, std::uint32_t end, live_pieces live, F&& f) noexcept {
    for (range left{begin, end}; !left.empty();) {
      const tree_node n = first_subtree(left);
      left.begin = n.pieces().end;
      if (holds(live, n)) f(n);
    }
  }
  /// States that a walk over `pieces` neighbouring pieces, wherever they stand, holds at most, the one being folded included.
  QUIRE_HD static constexpr std::uint32_t depth(std::uint64_t pieces) noexcept {
    return pieces == 0 ? 0 : 2 * static_cast<std::uint32_t>(std::bit_width(pieces)) - 1;
  }

 private:
  QUIRE_HD static constexpr bool holds(live_pieces live, tree_node n) noexcept {
    const range p = n.pieces();
    return p.begin < live.sinks || (p.begin < live.end && p.end > live.recent);
  }
  /// Merges the last node, which ends at `next_`, with left siblings while there are any.
  template <class Merge>
  QUIRE_HD constexpr void climb(std::uint32_t level, Merge&& merge) noexcept {
    for (;; ++level) {
      const std::uint32_t index = (next_ >> level) - 1;
      if (index % 2 == 0 || ((index - 1) << level) < begin_) return;
      if (holds(live_, {level, index - 1}) && holds(live_, {level, index})) merge(filled_ - 2), --filled_;
    }
  }
  live_pieces live_;
  std::uint32_t begin_, next_, filled_ = 0;
};

}  // namespace quire::inline v0::attention
