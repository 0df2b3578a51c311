// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "id_table.hpp"
#include "policy.hpp"
#include "slot.hpp"
#include "step.hpp"
#include "waiting_queue.hpp"

namespace quire::inline v0::schedule::detail {

/// Who is live and where: waiting in the policy's order, parked (waiting, but not asked in this step), or running in
/// the order in which they keep their pages. Tells the order who comes and goes. Allocates in its constructor alone.
template <Policy P>
class roster {
 public:
  static constexpr std::uint32_t none = id_table::none;
  using order_type = decltype(P::order);

  roster(P& policy, const scheduler_options& options)
      : policy_(&policy),
        patience_(options.patience),
        slots_(options.max_requests),
        index_(options.max_requests),
        waiting_(options.max_requests) {
    free_.reserve(options.max_requests);
    for (std::uint32_t s = options.max_requests; s-- > 0;) free_.push_back(s);
    running_.reserve(options.max_running);
    parked_.reserve(options.max_parked);
    if constexpr (PreparedOrder<order_type>) policy.order.prepare(options.max_requests);
  }

  slot& operator[](std::uint32_t s) noexcept { return slots_[s]; }
  const slot& operator[](std::uint32_t s) const noexcept { return slots_[s]; }
  std::uint32_t find(request_id id) const noexcept { return index_.find(id); }
  bool full() const noexcept { return free_.empty(); }
  const std::vector<std::uint32_t>& running() const noexcept { return running_; }
  const std::vector<std::uint32_t>& parked() const noexcept { return parked_; }
  std::uint32_t waiting() const noexcept { return waiting_.size() + static_cast<std::uint32_t>(parked_.size()); }
  /// The first of the waiting that are not parked, or `none`.
  std::uint32_t front() const { return waiting_.front(before()); }

  /// Precondition: not full, and the id is not live.
  void add(const request& r) {
    const std::uint32_t s = free_.back();
    free_.pop_back();
    slot& x = slots_[s] = {};
    x.r = r;
    x.r.so_far = {};
    x.ticket = ++tickets_;
    index_.insert(r.id, s);
    if constexpr (ArrivalOrder<order_type>) x.r.so_far.mark = policy_->order.arrived(x.r);
    enqueue(s);
  }
  void start(std::uint32_t s) {
    slot& x = slots_[s];
    waiting_.erase(s, before());
    running_.push_back(s);
    x.r.so_far.running = true;
    x.fed = false;
    if constexpr (WatchingOrder<order_type>) policy_->order.admitted(x.r);
  }
  void stop(std::uint32_t s) {
    slot& x = slots_[s];
    take(running_, s);
    x.r.so_far.running = false;
    x.fed = false;
    ++x.fruitless;
    ++x.r.so_far.preemptions;
    if constexpr (WatchingOrder<order_type>) policy_->order.preempted(x.r);
    enqueue(s);
  }
  void park(std::uint32_t s) {
    waiting_.erase(s, before());
    parked_.push_back(s);
  }
  void unpark() {
    for (const std::uint32_t s : parked_) enqueue(s);
    parked_.clear();
  }
  /// Change what the order may look at while `s` waits.
  template <class Change>
  void rekey(std::uint32_t s, Change change) {
    const bool queued = waiting_.contains(s);
    if (queued) waiting_.erase(s, before());
    change(slots_[s].r);
    if (queued) enqueue(s);
  }
  void remove(std::uint32_t s) {
    slot& x = slots_[s];
    if (x.r.so_far.running) take(running_, s);
    else if (waiting_.contains(s)) waiting_.erase(s, before());
    else take(parked_, s);
    if constexpr (WatchingOrder<order_type>) policy_->order.left(x.r);
    index_.erase(x.r.id);
    x.ticket = 0;
    free_.push_back(s);
  }

  /// Follow orders that changed their mind since the last call.
  void sort() {
    if constexpr (VersionedOrder<order_type>)
      if (const std::uint64_t v = policy_->order.version(); v != version_) waiting_.rebuild(before()), version_ = v;
    const auto keeps = [this](std::uint32_t a, std::uint32_t b) { return keeps_before(a, b); };
    if (std::is_sorted(running_.begin(), running_.end(), keeps)) return;
    std::make_heap(running_.begin(), running_.end(), keeps);  // heap sort stays in bounds even if the order is none
    std::sort_heap(running_.begin(), running_.end(), keeps);
  }

 private:
  static void take(std::vector<std::uint32_t>& from, std::uint32_t s) {
    from.erase(std::find(from.begin(), from.end(), s));
  }
  void enqueue(std::uint32_t s) { waiting_.insert(s, slots_[s].r.tenant, before()); }
  auto before() const noexcept {
    return [this](std::uint32_t a, std::uint32_t b) {
      const slot &x = slots_[a], &y = slots_[b];
      if (x.r.so_far.relegated != y.r.so_far.relegated) return y.r.so_far.relegated;
      if (policy_->order.admit_before(x.r, y.r)) return true;
      return !policy_->order.admit_before(y.r, x.r) && x.ticket < y.ticket;
    };
  }
  /// Requests that were preempted in vain too often stand before the policy's order, in order of submission: the first
  /// of them can't lose its pages before it has a token, so there is progress.
  bool keeps_before(std::uint32_t a, std::uint32_t b) const noexcept {
    const slot &x = slots_[a], &y = slots_[b];
    if (x.awaiting != y.awaiting) return x.awaiting;
    const bool p = x.fruitless >= patience_, q = y.fruitless >= patience_;
    if (p != q) return p;
    if (!p) {
      if (policy_->victim.evict_before(y.r, x.r)) return true;
      if (policy_->victim.evict_before(x.r, y.r)) return false;
    }
    return x.ticket < y.ticket;
  }

  P* policy_;
  std::uint32_t patience_;
  std::vector<slot> slots_;
  std::vector<std::uint32_t> free_, running_, parked_;
  id_table index_;
  waiting_queue<TenantOrder<order_type>> waiting_;
  std::uint64_t tickets_ = 0, version_ = 0;
};

}  // namespace quire::inline v0::schedule::detail
