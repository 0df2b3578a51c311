// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fold.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// Finished subtrees of one item, left to right; neighbours that are siblings merge at once. Pieces nobody folded are the
/// identity: they take part in the tree without storage or arithmetic, so skipping them changes no bit.
class subtree_stack {
 public:
  struct entry {
    tree_node node;
    bool empty;
  };
  static constexpr std::uint32_t capacity = 96;   ///< four decompositions of a range of 2^24 pieces

  subtree_stack(std::uint64_t next, std::uint32_t rows, std::uint32_t dim) noexcept : next_(next), rows_(rows), dim_(dim) {}
  /// Subtrees with storage; the next one goes to states(filled()).
  std::uint32_t filled() const noexcept { return filled_; }

  /// Pieces before `piece` that nobody folded are the identity. What is pushed next lies at states(filled()) *after* this.
  template <class States>
  void skip_to(std::uint64_t piece, States&& states) noexcept {
    for (range gap{next_, piece}; !gap.empty(); gap.begin = next_) add({first_subtree(gap), true}, states);
  }
  /// Adds a subtree that lies at states(filled()). precondition: it starts where the stack ends.
  template <class States>
  void push(tree_node n, States&& states) noexcept {
    add({n, false}, states);
  }
  /// Copies the nodes with storage to `nodes`, in the order of states(0), states(1), …
  std::uint32_t list(tree_node* nodes) const noexcept {
    std::uint32_t n = 0;
    for (std::uint32_t i = 0; i < size_; ++i)
      if (!entries_[i].empty) nodes[n++] = entries_[i].node;
    return n;
  }
  /// Merges what is left as the tree does when all pieces past the end are the identity: right to left, into states(0).
  template <class States>
  void finish(States&& states) noexcept {
    for (; filled_ > 1; --filled_) merge_rows(states(filled_ - 2), states(filled_ - 1), rows_, dim_);
  }

 private:
  template <class States>
  void add(entry e, States&& states) noexcept {
    next_ = e.node.pieces().end;
    filled_ += !e.empty;
    entries_[size_++] = e;
    while (size_ >= 2) {
      const entry a = entries_[size_ - 2], b = entries_[size_ - 1];
      if (a.node.level != b.node.level || a.node.index % 2 != 0) break;
      if (!a.empty && !b.empty) merge_rows(states(filled_ - 2), states(filled_ - 1), rows_, dim_), --filled_;
      entries_[size_ - 2] = {{a.node.level + 1, a.node.index / 2}, a.empty && b.empty};
      --size_;
    }
  }
  entry entries_[capacity];
  std::uint64_t next_;
  std::uint32_t size_ = 0, filled_ = 0, rows_, dim_;
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
