// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "draft.hpp"
#include "holdings.hpp"
#include "roster.hpp"

namespace quire::inline v0::schedule::detail {

/// Puts steps together: asks the five axes, finds room, decides nothing itself.
template <Memory M, Policy P>
class planner {
 public:
  planner(M& memory, P p, const scheduler_options& o)
      : policy(checked_policy(std::move(p))), options(checked(o)), who(policy, o), hold(memory), work(o.max_running) {
    failures.reserve(o.max_requests);
  }
  planner(const planner&) = delete;
  planner& operator=(const planner&) = delete;

  P policy;
  const scheduler_options options;
  roster<P> who;
  holdings<M> hold;
  draft work;
  scheduler_counters counters{};
  std::vector<refusal> failures;
  refusal refused{};

  /// Reserve and draft a step. Answers why it is empty, or `outcome::step`.
  outcome plan(double now) {
    prompts_last_ = work.prompts() > 0;
    work.begin();
    refused = {};
    short_ = stuck_ = false;
    who.unpark();
    who.sort();
    measure(now);
    // Room that a decode waited for in vain is its own before prompts come in and take it again.
    decodes_first_ = std::exchange(starved_, false) || !shape_.prompts_first;
    if constexpr (YieldingOrder<decltype(policy.order)>)
      if (give_way()) who.sort(), measure(now);
    if (decodes_first_) decodes();
    if (shape_.mixed || work.empty()) prompts();
    if (work.empty() || (!decodes_first_ && shape_.mixed)) decodes();  // also what was swapped in just now
    if (work.empty() && short_ && !stuck_) admissions();  // pages were taken from all that could have run
    return work.empty() ? idleness() : outcome::step;
  }

  void retire(std::uint32_t s, std::uint64_t& counter) {
    who.remove(s);
    hold.close(who[s]);
    ++counter;
  }

 private:
  using order_type = decltype(P::order);
  using batching_type = decltype(P::batching);
  using admission_type = decltype(P::admission);
  enum class found : std::uint8_t { room, gone, skip };

  outcome idleness() {
    if (who.running().empty() && who.waiting() == 0) return outcome::idle;
    bool arriving = !who.parked().empty() || hold.leaving() > 0;
    for (const std::uint32_t s : who.running()) {
      if (who[s].awaiting) return outcome::awaiting;
      arriving |= who[s].arriving;
    }
    return arriving ? outcome::transferring : outcome::blocked;
  }

  void measure(double now) {
    load_ = {.now = now,
             .running = static_cast<std::uint32_t>(who.running().size()),
             .waiting = who.waiting(),
             .capacity = hold.capacity(),
             .prompts_last = prompts_last_};
    decode_cost_ = 0;
    for (const std::uint32_t s : who.running()) {
      slot& x = who[s];
      hold.poll(x);
      if (!x.runnable()) continue;
      if (!x.decoding()) {
        ++load_.prefills;
        continue;
      }
      ++load_.decodes;
      load_.decode_context += x.r.so_far.computed;
      decode_cost_ += cost(x.r.so_far.computed, 1);
    }
    load_.free = hold.free();
    shape_ = policy.batching.shape(load_);
  }
  template <class Axis>
  std::uint64_t growth(const Axis& axis) const {
    if constexpr (!ForesightedAxis<Axis>) return 0;
    else {
      std::uint64_t rows = 0;
      const std::uint32_t horizon = axis.horizon();
      for (const std::uint32_t s : who.running()) {
        const std::uint64_t most = who[s].r.rows_within(horizon);
        rows += most - std::min<std::uint64_t>(most, who[s].reserved);
      }
      return rows;
    }
  }
  verdict judge(const slot& x) {
    const std::uint64_t rows = rows_at_admission(x), cached = x.r.known_tokens() - x.r.uncached();
    const std::uint64_t need = rows - std::min(rows, cached);
    load_.running = static_cast<std::uint32_t>(who.running().size());
    load_.waiting = who.waiting();
    load_.free = hold.free();
    load_.growth = growth(policy.admission);
    verdict v = policy.admission.judge(x.r, need, load_);
    if constexpr (Admission<batching_type>)
      if (v.answer == answer::now) {
        load_.growth = growth(policy.batching);
        v = policy.batching.judge(x.r, need, load_);
      }
    return v;
  }

  /// What `count` tokens from position `begin` on take of the budget.
  std::uint64_t cost(std::uint32_t begin, std::uint32_t count) const noexcept {
    if constexpr (CostingBatching<batching_type>) return policy.batching.cost(begin, count);
    else return count;
  }
  /// Of the budget, what prompts may still take.
  std::uint32_t room() const noexcept {
    const std::uint64_t taken = work.cost() + (!decodes_first_ && shape_.mixed ? decode_cost_ : 0);
    return taken < shape_.tokens ? shape_.tokens - static_cast<std::uint32_t>(taken) : 0;
  }
  /// How many of `left` tokens from position `begin` on the rest of the budget pays for. One where it pays for a part of
  /// one only, so that a prompt goes on however deep it is.
  std::uint32_t affordable(std::uint32_t begin, std::uint32_t left) const noexcept {
    const std::uint32_t budget = room(), most = std::min(budget, left);
    if (cost(begin, most) <= budget) return most;
    std::uint32_t least = 1, beyond = most;  // least <= answer < beyond, but for an answer of one
    while (beyond - least > 1) {
      const std::uint32_t middle = least + (beyond - least) / 2;
      (cost(begin, middle) <= budget ? least : beyond) = middle;
    }
    return least;
  }
  /// How much of `left` prompt tokens to compute in this step; 0: the prompt waits.
  std::uint32_t portion(const request& r, std::uint32_t left) const noexcept {
    const std::uint32_t most = affordable(r.so_far.computed, left);
    if (shape_.whole) return most == left || (left > shape_.tokens && work.prompts() == 0) ? most : 0;
    const std::uint32_t cut = std::min(most, shape_.per_prompt);
    if constexpr (ChunkingBatching<batching_type>)
      if (cut > 0) return std::clamp(policy.batching.chunk(r, cut, work.tokens()), 1u, cut);
    return cut;
  }
  std::uint64_t rows_at_admission(const slot& x) const noexcept {
    const std::uint64_t known = x.r.known_tokens(), most = x.r.most_rows();
    if (shape_.reserve_all) return most;
    if (options.reserve_prompt) return std::min(known + options.headroom, most);
    return x.r.so_far.computed + std::uint64_t{std::max(portion(x.r, x.left()), 1u)};
  }

  void fail(std::uint32_t s, const status& why) {
    failures.push_back({who[s].r.id, why});
    retire(s, counters.failed);
  }
  void preempt(std::uint32_t s, std::uint64_t& counter) {
    slot& x = who[s];
    work.drop(s, x);
    ++counter;
    counters.swapped += hold.preempt(x, policy.preemption.kind(x.r)) == preemption_kind::swap;
    who.stop(s);
  }
  /// Room for `rows` rows of running `s`, at the cost of those who stand behind it.
  found obtain(std::uint32_t s, std::uint64_t rows) {
    for (;;) {
      slot& x = who[s];
      const status r = hold.secure(x, rows);
      if (r) return found::room;
      if (r.code != errc::out_of_pages) return fail(s, r), found::gone;
      short_ = true;
      if (hold.leaving() >= rows - x.reserved) return found::skip;
      const std::uint32_t victim = who.running().back();
      if (who.running().size() == 1) return stuck_ = true, refused = {x.r.id, r}, found::skip;
      if (victim == s && !x.decoding()) return found::skip;
      preempt(victim, counters.preempted);
      if (victim == s) return found::gone;
    }
  }
  /// Move waiting `s` into the batch. `gone`: somebody else is first in line now; `skip`: nobody is admitted any more.
  found admit(std::uint32_t s) {
    slot& x = who[s];
    const verdict v = judge(x);
    if (v.answer == answer::never) return fail(s, v.why), found::gone;
    if (v.answer == answer::later && !who.running().empty()) return found::skip;
    if (v.answer == answer::behind && !x.r.so_far.relegated) {
      who.rekey(s, [](request& r) { r.so_far.relegated = true; });
      ++counters.relegated;
      return found::gone;
    }
    status r = hold.open(x);
    if (r.code == errc::not_ready) return park(s);
    if (r) {
      r = hold.secure(x, rows_at_admission(x));
      if (r.code == errc::out_of_pages) hold.preempt(x, x.kept);
    }
    if (r) return who.start(s), hold.poll(x), found::room;
    if (r.code == errc::out_of_pages) return refused = {x.r.id, r}, found::skip;
    return fail(s, r), found::gone;
  }
  found park(std::uint32_t s) {
    who.park(s);
    ++counters.parked;
    return who.parked().size() < options.max_parked ? found::gone : found::skip;
  }

  /// Waiting requests to which the order says a running one must give way. Answers whether anything changed.
  bool give_way() {
    bool changed = false;
    while (who.parked().size() < options.max_parked) {
      const std::uint32_t head = who.front();
      if (head == who.none) break;
      const auto& running = who.running();
      const auto v = std::find_if(running.rbegin(), running.rend(), [&](std::uint32_t s) {
        return who[s].fed && !who[s].awaiting && policy.order.yields(who[s].r, who[head].r);
      });
      if (v == running.rend()) break;
      changed = true;
      const std::uint32_t victim = *v;
      if (running.size() < options.max_running && admit(head) != found::skip) continue;
      preempt(victim, counters.yielded);
    }
    refused = {};
    return changed;
  }
  void decodes() {
    for (std::size_t i = 0; i < who.running().size();) {
      const std::uint32_t s = who.running()[i];
      slot& x = who[s];
      if (x.runnable() && x.decoding()) {
        const found f = obtain(s, std::uint64_t{x.r.so_far.computed} + 1);
        if (f == found::gone) continue;  // the next one stands at i now
        if (f == found::room) add(s, x, 1);
        else starved_ = true;
      }
      ++i;
    }
  }
  void prompts() {
    for (std::size_t i = 0; i < who.running().size() && room() > 0;) {
      const std::uint32_t s = who.running()[i];
      slot& x = who[s];
      if (x.runnable() && !x.decoding()) {
        const std::uint32_t count = portion(x.r, x.left());
        if (count == 0) return;  // a whole prompt that waits for its turn is not passed
        const found f = obtain(s, std::uint64_t{x.r.so_far.computed} + count);
        if (f == found::gone) continue;
        if (f == found::room) add(s, x, count);
      }
      ++i;
    }
    if (!short_) admissions();
  }
  void admissions() {
    while (room() > 0 && who.running().size() < options.max_running) {
      const std::uint32_t s = who.front();
      if (s == who.none) return;
      slot& x = who[s];
      if (shape_.whole && portion(x.r, x.r.uncached()) == 0) return;
      const found f = admit(s);
      if (f == found::skip) return;
      if (f == found::gone || x.arriving || (x.decoding() && !shape_.mixed)) continue;
      const std::uint32_t count = portion(x.r, x.left());
      if (count == 0) return;  // the hint promised more than there was
      add(s, x, count);
    }
  }
  void add(std::uint32_t s, slot& x, std::uint32_t count) { work.add(s, x, count, cost(x.r.so_far.computed, count)); }

  load load_{};
  shape shape_{};
  std::uint64_t decode_cost_ = 0;  ///< of all decodes that memory permits
  bool prompts_last_ = false;
  bool decodes_first_ = true, starved_ = false;  ///< starved: a decode found no room, but some is on its way
  bool short_ = false, stuck_ = false;  ///< some memory was missing; and there is nobody left to take it from
};

}  // namespace quire::inline v0::schedule::detail
