// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "planner.hpp"

namespace quire::inline v0::schedule {

/// Iteration-level scheduler. Pages are reserved before a step is handed out, all or nothing. What a step holds, who
/// enters, who loses its pages and what becomes of the rows is the policy's; the scheduler sees to what holds for every
/// policy: any request that memory can hold alone finishes; decodes are never left out for the budget; waiting requests
/// are admitted strictly in order, so one that finds no room holds up those behind it; a memory that fails ends the
/// request it fails for and no other. One thread at a time. Nothing allocates after construction. cost: next()
/// O(running) and O(log waiting) per admission (O(tenants) more for orders by tenant, O(running) more for admission
/// rules that look ahead), O(waiting) when the order changed. throws: std::invalid_argument (constructor) for a limit
/// or parameter out of range, std::bad_alloc (constructor). from: Orca (OSDI 2022), Sarathi-Serve (arXiv:2403.02310);
/// test: tests/schedule/scheduler.cpp
template <Memory M, Policy P = policy<>>
class scheduler {
  static_assert(detail::policy_hooks_well_formed<P>(),
                "quire::schedule::scheduler: a hook of the policy has the wrong signature, see axes.hpp");
  static_assert(detail::memory_hooks_well_formed<M>(),
                "quire::schedule::scheduler: a memory hook has the wrong signature, see memory.hpp");
  static_assert(CountedMemory<M> || !detail::counts_rows<P>(),
                "quire::schedule::scheduler: this admission or batching needs a memory with capacity_tokens() and "
                "free_tokens()");

 public:
  explicit scheduler(M& memory, P policy = {}, scheduler_options options = {})
      : plan_(memory, std::move(policy), options) {}

  /// Queue a request. fails: out_of_range (prompt_tokens, max_new_tokens, their sum, an id that is live, max_requests),
  /// not_finite (arrival; a deadline that is not a number), or what memory's `fits` says.
  status submit(const request& r) {
    const std::int64_t limit = options().max_sequence;
    if (r.prompt_tokens == 0 || r.prompt_tokens > limit)
      return {errc::out_of_range, "prompt_tokens", r.prompt_tokens, 1, limit};
    const std::int64_t most = limit - r.prompt_tokens + 1;
    if (r.max_new_tokens == 0 || r.max_new_tokens > most)
      return {errc::out_of_range, "max_new_tokens", r.max_new_tokens, 1, most};
    if (!std::isfinite(r.arrival)) return {errc::not_finite, "arrival"};
    if (std::isnan(r.deadline)) return {errc::not_finite, "deadline"};
    if (plan_.who.find(r.id) != none)
      return {errc::out_of_range, "id (one that is not live)", static_cast<std::int64_t>(r.id)};
    const std::int64_t live_most = options().max_requests;
    if (plan_.who.full()) return {errc::out_of_range, "live requests", live_most + 1, 0, live_most};
    if (const status fit = plan_.hold.fits(r.most_rows()); !fit) return fit;
    plan_.who.add(r);
    return {};
  }

  /// The next step, or nothing; `last()` says why. `now`: on the clock of request::arrival, for rules that look at it.
  [[nodiscard]] std::optional<step> next(double now = 0) {
    if (in_flight_) return last_ = outcome::awaiting, std::nullopt;
    last_ = plan_.plan(now);
    if (last_ != outcome::step) return std::nullopt;
    in_flight_ = true;
    return step{plan_.work.entries(), plan_.work.number(), plan_.work.tokens()};
  }

  /// The rows of a step are in memory. Entries of requests that were cancelled meanwhile count for nothing.
  /// fails: out_of_range when `done` is not the step that is out.
  status commit(const step& done) {
    const auto n = static_cast<std::int64_t>(plan_.work.number());
    if (!in_flight_ || done.number != plan_.work.number())
      return {errc::out_of_range, "step", static_cast<std::int64_t>(done.number), n, n};
    in_flight_ = false;
    scheduler_counters& c = plan_.counters;
    ++c.steps;
    for (std::size_t i = 0; i < plan_.work.entries().size(); ++i) {
      const detail::planned& owner = plan_.work.owners()[i];
      detail::slot& x = plan_.who[owner.slot];
      const entry& e = plan_.work.entries()[i];
      if (x.ticket != owner.ticket) continue;
      if constexpr (ServedOrder<decltype(P::order)>) plan_.policy.order.served(x.r, e.count);
      const std::uint32_t end = e.begin + e.count;
      c.computed += e.count;
      c.recomputed += std::min(end, std::max(x.highest, e.begin)) - e.begin;
      x.highest = std::max(x.highest, end);
      x.r.so_far.computed = end;
      x.awaiting = e.wants_logits;
    }
    return {};
  }

  /// The request has its next token; with the last of max_new_tokens it finishes.
  /// fails: unknown_sequence, out_of_range when the request is not owed a token.
  status token(request_id id) {
    const std::uint32_t s = plan_.who.find(id);
    if (s == none) return unknown(id);
    detail::slot& x = plan_.who[s];
    if (!x.awaiting) return {errc::out_of_range, "token of a request that is owed none", static_cast<std::int64_t>(id)};
    x.awaiting = false;
    x.fed = true;
    x.fruitless = 0;
    ++plan_.counters.generated;
    if (++x.r.so_far.generated == x.r.max_new_tokens) return finish(id);
    return {};
  }
  /// The request needs no more tokens. Its pages go back at once. fails: unknown_sequence.
  status finish(request_id id) { return retire(id, plan_.counters.finished); }
  /// The same for a caller who lost interest; at any time, also while a step that holds it is out.
  status cancel(request_id id) { return retire(id, plan_.counters.cancelled); }
  /// A prefix cache now holds `hit_tokens` rows of this prompt; its place among the waiting follows.
  /// fails: unknown_sequence.
  status hint(request_id id, std::uint32_t hit_tokens) {
    const std::uint32_t s = plan_.who.find(id);
    if (s == none) return unknown(id);
    plan_.who.rekey(s, [hit_tokens](request& r) { r.hit_tokens = hit_tokens; });
    return {};
  }

  /// Requests that memory (any code but out_of_pages and not_ready) or the admission rule ended, oldest first; nothing
  /// when there are none.
  [[nodiscard]] std::optional<refusal> take_failure() {
    std::vector<refusal>& all = plan_.failures;
    if (taken_ == all.size()) return all.clear(), taken_ = 0, std::nullopt;
    return all[taken_++];
  }

  outcome last() const noexcept { return last_; }
  /// After `outcome::blocked`: who found no room, and what memory said.
  const refusal& refused() const noexcept { return plan_.refused; }
  /// A live request with its progress, or null. Valid until the request ends.
  const request* find(request_id id) const noexcept {
    const std::uint32_t s = plan_.who.find(id);
    return s == none ? nullptr : &plan_.who[s].r;
  }
  std::uint32_t running() const noexcept { return static_cast<std::uint32_t>(plan_.who.running().size()); }
  std::uint32_t waiting() const noexcept { return plan_.who.waiting(); }
  std::uint32_t live() const noexcept { return running() + waiting(); }
  const scheduler_options& options() const noexcept { return plan_.options; }
  const scheduler_counters& counters() const noexcept { return plan_.counters; }
  P& policy() noexcept { return plan_.policy; }
  const P& policy() const noexcept { return plan_.policy; }

 private:
  static constexpr std::uint32_t none = id_table::none;

  static status unknown(request_id id) { return {errc::unknown_sequence, "id", static_cast<std::int64_t>(id)}; }
  status retire(request_id id, std::uint64_t& counter) {
    const std::uint32_t s = plan_.who.find(id);
    if (s == none) return unknown(id);
    plan_.retire(s, counter);
    return {};
  }

  detail::planner<M, P> plan_;
  std::size_t taken_ = 0;  ///< failures that were told
  outcome last_ = outcome::idle;
  bool in_flight_ = false;
};

}  // namespace quire::inline v0::schedule
