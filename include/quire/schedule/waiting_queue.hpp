// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "id_table.hpp"

namespace quire::inline v0::schedule {

/// Waiting requests by slot, best first. A leftist heap (one per tenant when `ByTenant`) threaded through preallocated
/// nodes: insert and erase cost O(log n) in the worst case and never allocate. `before(a, b)` compares two slots; it
/// may be any function without a crash following, but only a strict weak order gives the best one first.
template <bool ByTenant>
class waiting_queue {
 public:
  static constexpr std::uint32_t none = id_table::none;

  explicit waiting_queue(std::uint32_t capacity) : nodes_(capacity), flow_of_(ByTenant ? capacity : 0) {
    flows_.reserve(ByTenant ? capacity : 1);
    if constexpr (!ByTenant) flows_.push_back({});
  }

  std::uint32_t size() const noexcept { return size_; }
  bool contains(std::uint32_t slot) const noexcept { return nodes_[slot].queued; }

  template <class Before>
  void insert(std::uint32_t slot, std::uint32_t tenant, Before before) {
    nodes_[slot] = {none, none, none, 1, tenant, true};
    flow& f = flows_[open_flow(tenant)];
    f.root = meld(f.root, slot, before);
    nodes_[f.root].parent = none;
    ++size_;
  }

  /// Precondition: `slot` is queued.
  template <class Before>
  void erase(std::uint32_t slot, Before before) {
    node& x = nodes_[slot];
    const std::uint32_t rest = meld(x.left, x.right, before), parent = x.parent;
    if (rest != none) nodes_[rest].parent = parent;
    if (parent == none) {
      set_root(x.tenant, rest);
    } else {
      (nodes_[parent].left == slot ? nodes_[parent].left : nodes_[parent].right) = rest;
      for (std::uint32_t p = parent; p != none; p = nodes_[p].parent) {
        const std::uint32_t old = nodes_[p].rank;
        if (balance(p) == old) break;
      }
    }
    x.queued = false;
    --size_;
  }

  /// The best slot, or `none`.
  template <class Before>
  std::uint32_t front(Before before) const {
    std::uint32_t best = none;
    for (const flow& f : flows_)
      if (f.root != none && (best == none || before(f.root, best))) best = f.root;
    return best;
  }

  /// Restore the order after `before` changed its mind.
  template <class Before>
  void rebuild(Before before) {
    for (flow& f : flows_) f.root = none;  // flows stay open: each gets its slots back
    size_ = 0;
    for (std::uint32_t slot = 0; slot < nodes_.size(); ++slot)
      if (nodes_[slot].queued) insert(slot, nodes_[slot].tenant, before);
  }

 private:
  struct node {
    std::uint32_t left = none, right = none, parent = none;
    std::uint32_t rank = 0;  ///< length of the right spine
    std::uint32_t tenant = 0;
    bool queued = false;
  };
  struct flow {
    std::uint32_t tenant = 0, root = none;
  };

  std::uint32_t rank(std::uint32_t n) const noexcept { return n == none ? 0 : nodes_[n].rank; }
  std::uint32_t balance(std::uint32_t n) noexcept {
    node& x = nodes_[n];
    if (rank(x.left) < rank(x.right)) std::swap(x.left, x.right);
    return x.rank = rank(x.right) + 1;
  }
  template <class Before>
  std::uint32_t meld(std::uint32_t a, std::uint32_t b, Before& before) {  // recursion no deeper than two right spines
    if (a == none) return b;
    if (b == none) return a;
    if (before(b, a)) std::swap(a, b);
    const std::uint32_t r = meld(nodes_[a].right, b, before);
    nodes_[a].right = r;
    nodes_[r].parent = a;
    balance(a);
    return a;
  }

  std::uint32_t open_flow(std::uint32_t tenant) {
    if constexpr (!ByTenant) return 0;
    std::uint32_t f = flow_of_.find(tenant);
    if (f == none) {
      f = static_cast<std::uint32_t>(flows_.size());
      flows_.push_back({tenant, none});
      flow_of_.insert(tenant, f);
    }
    return f;
  }
  void set_root(std::uint32_t tenant, std::uint32_t root) {
    if constexpr (!ByTenant) {
      flows_[0].root = root;
    } else {
      const std::uint32_t f = flow_of_.find(tenant);
      flows_[f].root = root;
      if (root != none) return;
      flow_of_.erase(tenant);
      if (f + 1 != flows_.size()) {
        flows_[f] = flows_.back();
        flow_of_.assign(flows_[f].tenant, f);
      }
      flows_.pop_back();
    }
  }

  std::vector<node> nodes_;
  std::vector<flow> flows_;
  id_table flow_of_;
  std::uint32_t size_ = 0;
};

}  // namespace quire::inline v0::schedule
