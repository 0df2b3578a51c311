// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "fcfs.hpp"
#include "id_table.hpp"
#include "memory.hpp"
#include "policy.hpp"
#include "slot.hpp"
#include "step.hpp"
#include "waiting_queue.hpp"

namespace quire::inline v0::schedule {

/// Iteration-level scheduler: every running decode is in every step, prompts fill what the token budget leaves, in
/// chunks; pages are reserved before a step is handed out. When a decode finds none, the policy's victim loses its
/// pages and is computed again later, generated tokens included. Any request that memory can hold alone finishes,
/// whatever the policy. Waiting requests are admitted strictly in the policy's order: one that finds no room holds up
/// those behind it. One thread at a time. Nothing allocates after construction. cost: next() O(running) comparisons and
/// O(log waiting) per admission, O(waiting) when the order changed. throws: std::invalid_argument (constructor) for a
/// limit of zero, std::bad_alloc (constructor). from: Orca (OSDI 2022), Sarathi-Serve (arXiv:2403.02310); test:
/// tests/schedule/scheduler.cpp
template <Memory M, SchedulerPolicy P = fcfs>
class scheduler {
  static_assert(detail::hooks_well_formed<P>(),
                "quire::schedule::scheduler: a policy hook has the wrong signature, see policy.hpp");
  static_assert(detail::memory_hooks_well_formed<M>(),
                "quire::schedule::scheduler: a memory hook has the wrong signature, see memory.hpp");

 public:
  explicit scheduler(M& memory, P policy = {}, scheduler_options options = {})
      : memory_(&memory),
        policy_(std::move(policy)),
        options_(detail::checked(options)),
        seats_(std::min(options.max_running, options.max_tokens)),
        slots_(options.max_requests),
        index_(options.max_requests),
        waiting_(options.max_requests) {
    free_.reserve(options.max_requests);
    for (std::uint32_t s = options.max_requests; s-- > 0;) free_.push_back(s);
    running_.reserve(seats_);
    entries_.reserve(seats_);
    planned_.reserve(seats_);
    failures_.reserve(options.max_requests);
  }
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;

  /// Queue a request. fails: out_of_range (prompt_tokens, max_new_tokens, their sum, an id that is live, max_requests),
  /// not_finite (arrival), or what memory's `fits` says.
  status submit(const request& r) {
    const std::int64_t limit = options_.max_sequence;
    if (r.prompt_tokens == 0 || r.prompt_tokens > limit)
      return {errc::out_of_range, "prompt_tokens", r.prompt_tokens, 1, limit};
    const std::int64_t most = limit - r.prompt_tokens + 1;
    if (r.max_new_tokens == 0 || r.max_new_tokens > most)
      return {errc::out_of_range, "max_new_tokens", r.max_new_tokens, 1, most};
    if (!std::isfinite(r.arrival)) return {errc::not_finite, "arrival"};
    if (index_.find(r.id) != none)
      return {errc::out_of_range, "id (one that is not live)", static_cast<std::int64_t>(r.id)};
    if (free_.empty())
      return {errc::out_of_range, "live requests", std::int64_t{options_.max_requests} + 1, 0, options_.max_requests};
    if constexpr (BoundedMemory<M>)
      if (const status fit = memory_->fits(static_cast<std::uint32_t>(r.most_rows())); !fit) return fit;
    const std::uint32_t s = free_.back();
    free_.pop_back();
    slots_[s] = {};
    slots_[s].r = r;
    slots_[s].r.so_far = {};
    slots_[s].ticket = ++tickets_;
    index_.insert(r.id, s);
    if constexpr (WatchingPolicy<P>) policy_.arrived(slots_[s].r);
    enqueue(s);
    return {};
  }

  /// The next step, or nothing; `last()` says why. The pages of a step are reserved when it is returned.
  [[nodiscard]] std::optional<step> next() {
    if (in_flight_) return last_ = outcome::awaiting, std::nullopt;
    entries_.clear();
    planned_.clear();
    refused_ = {};
    ++number_;
    if constexpr (VersionedPolicy<P>)
      if (const auto v = policy_.version(); v != version_) waiting_.rebuild(admission()), version_ = v;
    sort_running();
    give_way();
    std::uint32_t room = options_.max_tokens;
    bool shortage = plan_running(true, room);
    room = prompt_room();
    shortage |= plan_running(false, room);
    if (refused_.why && (!shortage || entries_.empty())) plan_admissions(room);
    if (entries_.empty()) {
      const bool owed = !running_.empty() && slots_[running_.front()].awaiting;
      last_ = live() == 0 ? outcome::idle : owed ? outcome::awaiting : outcome::blocked;
      return std::nullopt;
    }
    in_flight_ = true;
    last_ = outcome::step;
    std::uint32_t tokens = 0;
    for (const entry& e : entries_) tokens += e.count;
    return step{entries_, number_, tokens};
  }

  /// The rows of a step are in memory. Entries of requests that were cancelled meanwhile count for nothing.
  /// fails: out_of_range when `done` is not the step that is out.
  status commit(const step& done) {
    const auto n = static_cast<std::int64_t>(number_);
    if (!in_flight_ || done.number != number_)
      return {errc::out_of_range, "step", static_cast<std::int64_t>(done.number), n, n};
    in_flight_ = false;
    ++counters_.steps;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      slot& x = slots_[planned_[i].slot];
      const entry& e = entries_[i];
      if (x.ticket != planned_[i].ticket) continue;
      policy_.served(x.r, e.count);
      const std::uint32_t end = e.begin + e.count;
      counters_.computed += e.count;
      counters_.recomputed += std::min(end, std::max(x.highest, e.begin)) - e.begin;
      x.highest = std::max(x.highest, end);
      x.r.so_far.computed = end;
      x.awaiting = e.wants_logits;
    }
    return {};
  }

  /// The request has its next token; with the last of max_new_tokens it finishes.
  /// fails: unknown_sequence, out_of_range when the request is not owed a token.
  status token(request_id id) {
    const std::uint32_t s = index_.find(id);
    if (s == none) return unknown(id);
    slot& x = slots_[s];
    if (!x.awaiting) return {errc::out_of_range, "token of a request that is owed none", static_cast<std::int64_t>(id)};
    x.awaiting = false;
    x.fed = true;
    x.fruitless = 0;
    ++counters_.generated;
    if (++x.r.so_far.generated == x.r.max_new_tokens) return finish(id);
    return {};
  }
  /// The request needs no more tokens. Its pages go back at once. fails: unknown_sequence.
  status finish(request_id id) { return retire(id, counters_.finished); }
  /// The same for a caller who lost interest; at any time, also while a step that holds it is out.
  status cancel(request_id id) { return retire(id, counters_.cancelled); }

  /// Requests that memory ended (any code but out_of_pages), oldest first; nothing when there are none.
  [[nodiscard]] std::optional<refusal> take_failure() {
    if (failures_.empty()) return std::nullopt;
    const refusal f = failures_.front();
    failures_.erase(failures_.begin());
    return f;
  }

  outcome last() const noexcept { return last_; }
  /// After `outcome::blocked`: who found no room, and what memory said.
  const refusal& refused() const noexcept { return refused_; }
  /// A live request with its progress, or null. Valid until the request ends.
  const request* find(request_id id) const noexcept {
    const std::uint32_t s = index_.find(id);
    return s == none ? nullptr : &slots_[s].r;
  }
  std::uint32_t running() const noexcept { return static_cast<std::uint32_t>(running_.size()); }
  std::uint32_t waiting() const noexcept { return waiting_.size(); }
  std::uint32_t live() const noexcept { return running() + waiting(); }
  std::uint32_t seats() const noexcept { return seats_; }  ///< running requests at most
  const scheduler_options& options() const noexcept { return options_; }
  const scheduler_counters& counters() const noexcept { return counters_; }
  P& policy() noexcept { return policy_; }
  const P& policy() const noexcept { return policy_; }

 private:
  static constexpr std::uint32_t none = id_table::none;
  static constexpr bool by_tenant = TenantPolicy<P>;

  using slot = detail::slot;
  using planned = detail::planned;
  enum class room_found : std::uint8_t { yes, gone, skip, stuck };

  static status unknown(request_id id) { return {errc::unknown_sequence, "id", static_cast<std::int64_t>(id)}; }

  auto admission() const noexcept {
    return [this](std::uint32_t a, std::uint32_t b) {
      const slot &x = slots_[a], &y = slots_[b];
      if (policy_.admit_before(x.r, y.r)) return true;
      return !policy_.admit_before(y.r, x.r) && x.ticket < y.ticket;
    };
  }
  /// Who keeps its pages before whom. Requests that were preempted in vain too often stand before the policy's order,
  /// in order of submission: the first of them can't lose its pages before it has a token, so there is progress.
  bool keeps_before(std::uint32_t a, std::uint32_t b) const noexcept {
    const slot &x = slots_[a], &y = slots_[b];
    if (x.awaiting != y.awaiting) return x.awaiting;
    const bool p = x.fruitless >= options_.patience, q = y.fruitless >= options_.patience;
    if (p != q) return p;
    if (!p) {
      if (policy_.evict_before(y.r, x.r)) return true;
      if (policy_.evict_before(x.r, y.r)) return false;
    }
    return x.ticket < y.ticket;
  }
  void sort_running() {
    const auto keeps = [this](std::uint32_t a, std::uint32_t b) { return keeps_before(a, b); };
    if (std::is_sorted(running_.begin(), running_.end(), keeps)) return;
    std::make_heap(running_.begin(), running_.end(), keeps);  // heap sort stays in bounds even if the order is none
    std::sort_heap(running_.begin(), running_.end(), keeps);
  }

  void enqueue(std::uint32_t s) { waiting_.insert(s, slots_[s].r.tenant, admission()); }

  void give_back(slot& x, bool returns) {
    if (!x.held) return;
    x.held = false;
    if constexpr (PreemptingMemory<M>) {
      x.held = returns;
      returns ? memory_->preempt(x.r.id) : memory_->release(x.r.id);
    } else {
      memory_->release(x.r.id);
    }
    x.reserved = 0;
    x.r.so_far.computed = 0;
  }
  void preempt(std::uint32_t s, std::uint64_t& counter) {
    slot& x = slots_[s];
    running_.erase(std::find(running_.begin(), running_.end(), s));
    give_back(x, true);
    x.fed = false;
    ++x.fruitless;
    ++x.r.so_far.preemptions;
    ++counter;
    enqueue(s);
  }
  status retire(request_id id, std::uint64_t& counter) {
    const std::uint32_t s = index_.find(id);
    if (s == none) return unknown(id);
    slot& x = slots_[s];
    if (waiting_.contains(s)) waiting_.erase(s, admission());
    else running_.erase(std::find(running_.begin(), running_.end(), s));
    if constexpr (WatchingPolicy<P>) policy_.left(x.r);
    give_back(x, false);  // a waiting request may have rows in another tier
    index_.erase(id);
    x.ticket = 0;
    free_.push_back(s);
    ++counter;
    return {};
  }
  void fail(std::uint32_t s, const status& why) {
    failures_.push_back({slots_[s].r.id, why});
    static_cast<void>(retire(slots_[s].r.id, counters_.failed));
  }

  status secure(slot& x, std::uint64_t rows) {
    if (rows <= x.reserved) return {};
    const status r = memory_->reserve(x.r.id, static_cast<std::uint32_t>(rows) - x.reserved);
    if (r) x.reserved = static_cast<std::uint32_t>(rows);
    return r;
  }
  /// Room for `rows` rows of running `s`, at the cost of those who stand behind it.
  room_found obtain(std::uint32_t s, std::uint64_t rows, bool& shortage) {
    for (;;) {
      slot& x = slots_[s];
      const status r = secure(x, rows);
      if (r) return room_found::yes;
      if (r.code != errc::out_of_pages) return fail(s, r), room_found::gone;
      shortage = true;
      const std::uint32_t victim = running_.back();
      if (running_.size() == 1) return refused_ = {x.r.id, r}, room_found::stuck;
      if (victim == s && !x.decoding()) return room_found::skip;
      unplan(victim);
      preempt(victim, counters_.preempted);
      if (victim == s) return room_found::gone;
    }
  }
  void plan(std::uint32_t s, std::uint32_t count) {
    slot& x = slots_[s];
    const bool decode = x.decoding();
    entries_.push_back(
        {x.r.id, x.r.so_far.computed, count, decode ? phase::decode : phase::prefill, count == x.left()});
    planned_.push_back({s, x.ticket});
    x.planned_in = number_;
  }
  void unplan(std::uint32_t s) {
    if (slots_[s].planned_in != number_) return;
    const auto i = std::find_if(planned_.begin(), planned_.end(), [s](const planned& p) { return p.slot == s; }) -
                   planned_.begin();
    planned_.erase(planned_.begin() + i);
    entries_.erase(entries_.begin() + i);
    slots_[s].planned_in = 0;
  }
  std::uint32_t chunk(const slot& x, std::uint32_t room) const noexcept {
    const bool alone = running_.size() + waiting_.size() == 1;
    room = std::min({room, x.left(), alone ? room : options_.max_chunk});
    if constexpr (ChunkingPolicy<P>) return std::clamp(policy_.chunk(x.r, room), 1u, room);
    return room;
  }

  /// Waiting requests to which the policy says a running one must give way.
  void give_way() {
    bool changed = false;
    while (waiting_.size() != 0) {
      const std::uint32_t head = waiting_.front(admission());
      const auto v = std::find_if(running_.rbegin(), running_.rend(), [&](std::uint32_t s) {
        return slots_[s].fed && !slots_[s].awaiting && policy_.yields(slots_[s].r, slots_[head].r);
      });
      if (v == running_.rend()) break;
      changed = true;
      if (running_.size() < seats_ && admit(head, 1) != room_found::skip) continue;
      preempt(*v, counters_.yielded);
    }
    refused_ = {};
    if (changed) sort_running();
  }
  /// Entries for the decodes, or for the other running sequences. Returns whether memory was short.
  bool plan_running(bool decodes, std::uint32_t& room) {
    bool shortage = false;
    for (std::size_t i = 0; i < running_.size() && room > 0;) {
      const std::uint32_t s = running_[i];
      const slot& x = slots_[s];
      if (!x.awaiting && x.decoding() == decodes) {
        const std::uint32_t count = decodes ? 1 : chunk(x, room);
        const room_found found = obtain(s, std::uint64_t{x.r.so_far.computed} + count, shortage);
        if (found == room_found::gone) continue;  // the next one stands at i now
        if (found == room_found::yes) plan(s, count), room -= count;
      }
      ++i;
    }
    return shortage;
  }
  std::uint32_t prompt_room() {
    const auto used = static_cast<std::uint32_t>(entries_.size());
    std::uint32_t limit = options_.max_tokens;
    if constexpr (PacingPolicy<P>) {
      load l{.waiting = waiting_.size()};
      for (const std::uint32_t s : running_) {
        const slot& x = slots_[s];
        if (x.planned_in == number_) ++l.decodes, l.decode_context += x.r.so_far.computed;
        else if (!x.awaiting) ++l.prefills;
      }
      limit = std::min(limit, policy_.budget(l));
    }
    return limit > used ? limit - used : used == 0 ? 1 : 0;
  }
  void plan_admissions(std::uint32_t room) {
    while (room > 0 && running_.size() < seats_ && waiting_.size() != 0) {
      const std::uint32_t s = waiting_.front(admission());
      const room_found found = admit(s, room);
      if (found == room_found::skip) break;
      if (found == room_found::gone) continue;
      const std::uint32_t count = chunk(slots_[s], room);
      plan(s, count);
      room -= count;
    }
  }
  /// Move waiting `s` into the batch if memory has room for its prompt, or its first chunk; `gone` if memory ended it.
  room_found admit(std::uint32_t s, std::uint32_t room) {
    slot& x = slots_[s];
    status r{};
    if constexpr (AdmittingMemory<M>) r = memory_->admit(x.r.id);
    if (r) {
      x.held = true;
      if constexpr (ResidentMemory<M>)
        x.reserved = x.r.so_far.computed = std::min(memory_->resident(x.r.id), x.r.known_tokens() - 1);
      const std::uint64_t known = x.r.known_tokens();
      r = secure(x, options_.reserve_prompt ? std::min(known + options_.headroom, x.r.most_rows())
                                            : x.r.so_far.computed + std::uint64_t{chunk(x, room)});
      if (r.code == errc::out_of_pages) give_back(x, true);
    }
    if (r.code == errc::out_of_pages) return refused_ = {x.r.id, r}, room_found::skip;
    if (!r) return fail(s, r), room_found::gone;
    waiting_.erase(s, admission());
    running_.push_back(s);
    x.fed = false;
    return room_found::yes;
  }

  M* memory_;
  P policy_;
  scheduler_options options_;
  std::uint32_t seats_;
  std::vector<slot> slots_;
  std::vector<std::uint32_t> free_, running_;  ///< running_: who keeps its pages longest first, as of the last next()
  id_table index_;
  waiting_queue<by_tenant> waiting_;
  std::vector<entry> entries_;
  std::vector<planned> planned_;
  std::vector<refusal> failures_;
  refusal refused_{};
  scheduler_counters counters_{};
  std::uint64_t tickets_ = 0, number_ = 0, version_ = 0;
  outcome last_ = outcome::idle;
  bool in_flight_ = false;
};

}  // namespace quire::inline v0::schedule
