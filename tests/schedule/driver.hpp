// SPDX-License-Identifier: Apache-2.0
// Drives a scheduler with random arrivals, endings and cancellations, and checks in every step what holds for every
// policy and what its batching promises. A breach throws.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "quire/schedule/scheduler.hpp"
#include "tiered_memory.hpp"

namespace test {

inline void expect(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

template <class P>
class driver {
 public:
  using request_id = quire::schedule::request_id;
  using request = quire::schedule::request;
  using outcome = quire::schedule::outcome;

  driver(tiered_memory& memory, quire::schedule::scheduler<tiered_memory, P>& sched, unsigned seed)
      : memory_(memory), sched_(sched), random_(seed) {}

  std::uint64_t finished = 0, cancelled = 0, rejected = 0, needed = 0, lost = 0, computed = 0, first = 0;
  std::vector<std::string> log{};

  std::uint32_t draw(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }
  std::size_t live() const { return live_.size(); }

  void submit(const request& r, std::uint32_t stop_at) {
    expect(static_cast<bool>(sched_.submit(r)), "submit");
    live_[r.id] = {.r = r, .stop_at = std::min(stop_at, r.max_new_tokens)};
  }
  void cancel_any() {
    if (live_.empty()) return;
    const auto at = std::next(live_.begin(), draw(static_cast<std::uint32_t>(live_.size())));
    expect(static_cast<bool>(sched_.cancel(at->first)), "cancel");
    expect(memory_.rows.count(at->first) == 0 && memory_.kept.count(at->first) == 0, "pages are back at once");
    live_.erase(at);
    ++cancelled;
  }
  /// One step, with up to `cancels` cancellations while it is out. False when there was none.
  bool step(double now, std::uint32_t cancels = 0) {
    memory_.pass_time();
    std::set<request_id> waited;
    ran_before_.clear();
    std::map<request_id, std::uint32_t> parked_before = memory_.unready;
    for (const auto& [id, x] : live_) (sched_.find(id)->so_far.running ? ran_before_ : waited).insert(id);
    const auto before = sched_.counters();
    const auto s = sched_.next(now);
    take_failures();
    expect(!memory_.misused, "memory is used as it says");
    expect(memory_.used + memory_.outside <= memory_.pages, "memory is not overdrawn");
    expect(sched_.running() <= sched_.options().max_running, "max_running");
    if (!s) {
      expect(sched_.last() != outcome::step, "no step, another outcome");
      expect((sched_.last() == outcome::idle) == live_.empty(), "idle exactly when nobody is live");
      return false;
    }
    check_step(*s);
    const bool memory_pending = !memory_.leaving.empty() || !memory_.arrives.empty();
    check_decodes(memory_pending);
    if (before.relegated == sched_.counters().relegated) check_order(waited, parked_before);
    if (sched_.counters().preempted != before.preempted) log.back() += "! ";
    play(*s, cancels);
    return true;
  }
  /// Steps until nothing is live.
  void drain(double now) {
    for (std::uint64_t i = 0; !live_.empty(); ++i) {
      expect(i < 200000, "everything finishes");
      if (step(now += 0.25)) continue;
      expect(live_.empty() || sched_.last() == outcome::transferring, "only a transfer holds up everything");
    }
    static_cast<void>(step(now));
    expect(sched_.last() == outcome::idle && sched_.live() == 0, "idle at the end");
    expect(memory_.used == 0 && memory_.rows.empty() && memory_.kept.empty(), "memory is empty at the end");
  }

 private:
  struct expectation {
    request r;
    std::uint32_t tokens = 0;    ///< generated so far
    std::uint32_t stop_at = 0;   ///< the model ends it here, at max_new_tokens at the latest
    std::uint32_t position = 0;  ///< rows in memory
    std::uint32_t preemptions = 0;
    bool begun = false;
    std::uint64_t computed = 0, lost = 0, found = 0;
  };

  void take_failures() {
    while (const auto f = sched_.take_failure()) {
      expect(live_.erase(f->id) == 1, "who fails was live");
      expect(f->why.code == quire::errc::out_of_range, "only the admission rule fails anybody here");
      ++rejected;
    }
  }
  void check_step(const quire::schedule::step& s) {
    using quire::schedule::phase;
    const auto shape = sched_.policy().batching.shape({});
    const auto cost = [&](const quire::schedule::entry& e) -> std::uint64_t {
      if constexpr (quire::schedule::CostingBatching<decltype(P::batching)>)
        return sched_.policy().batching.cost(e.begin, e.count);
      else return e.count;
    };
    std::uint32_t tokens = 0, decodes = 0;
    std::uint64_t spent = 0, last_spent = 0, spent_on_decodes = 0;
    std::set<request_id> seen;
    std::string line;
    bool prompts_begun = false;
    for (const auto& e : s.entries) {
      expect(seen.insert(e.id).second, "once in a step");
      expect(e.count >= 1, "no empty entry");
      expectation& x = live_.at(e.id);
      const request& now = *sched_.find(e.id);
      const bool stayed = ran_before_.count(e.id) != 0 && now.so_far.preemptions == x.preemptions;
      if (!x.begun || now.so_far.preemptions != x.preemptions) {
        if (x.begun) {
          expect(now.so_far.resident <= x.position, "nothing is found that was not computed");
          x.lost += x.position - now.so_far.resident;
        } else {
          x.found = now.so_far.resident;
        }
        x.begun = true;
        x.preemptions = now.so_far.preemptions;
        x.position = now.so_far.resident;
      }
      const std::uint32_t known = x.r.prompt_tokens + x.tokens;
      expect(e.begin == x.position, "no gap, nothing twice");
      expect(e.begin + e.count <= known, "no more than is known");
      expect(e.wants_logits == (e.begin + e.count == known), "logits of the last known token");
      expect(memory_.rows.at(e.id) >= e.begin + e.count, "reserved before it is handed out");
      expect(memory_.arrives.count(e.id) == 0, "in a step only when its rows have arrived");
      expect((e.phase == phase::decode) == (x.tokens > 0 && e.count == 1 && e.wants_logits), "phase");
      if (e.phase == phase::prefill) {
        prompts_begun = true;
        if (shape.whole && known - e.begin <= shape.tokens) expect(e.wants_logits, "a whole prompt");
      } else {
        expect(!prompts_begun || !stayed, "decodes stand first");
        ++decodes;
        spent_on_decodes += cost(e);
      }
      last_spent = spent;
      spent += cost(e);
      tokens += e.count;
      line += std::to_string(e.id) + ":" + std::to_string(e.begin) + "+" + std::to_string(e.count) + " ";
    }
    expect(tokens == s.tokens, "sum of counts");
    expect(tokens <= std::max(shape.tokens, decodes), "the budget, unless decodes alone pass it");
    expect(spent <= std::max<std::uint64_t>(shape.tokens, spent_on_decodes) ||
               (last_spent < shape.tokens && s.entries.back().count == 1),
           "the budget by cost, but for one token of which it pays a part");
    expect(shape.mixed || decodes == 0 || decodes == s.entries.size(), "decodes apart from prompts");
    log.push_back(line);
    in_step_ = seen;
    decode_step_ = shape.mixed || decodes > 0;
  }
  /// No decode that has its pages is left out of a step that holds decodes at all.
  void check_decodes(bool memory_pending) {
    if (!decode_step_ || memory_pending) return;
    for (const auto& [id, x] : live_) {
      const request& now = *sched_.find(id);
      const bool decoding = x.tokens > 0 && now.so_far.running && now.so_far.computed + 1 == now.known_tokens();
      if (decoding) expect(in_step_.count(id) == 1, "no running decode is left out");
    }
  }
  /// Nobody who waited and waits still stands before one that was admitted.
  void check_order(const std::set<request_id>& waited, const std::map<request_id, std::uint32_t>& parked_before) {
    if constexpr (quire::schedule::VersionedOrder<decltype(P::order)>) return;
    if (counters_move) return;
    for (const request_id in : waited) {
      const request* a = sched_.find(in);
      if (a == nullptr || !a->so_far.running) continue;
      for (const request_id out : waited) {
        const request* b = sched_.find(out);
        if (b == nullptr || b->so_far.running || memory_.unready != parked_before) continue;
        if (!memory_.leaving.empty() || a->so_far.relegated != b->so_far.relegated) continue;
        expect(!sched_.policy().order.admit_before(*b, *a), "admitted in order");
      }
    }
  }
  void play(const quire::schedule::step& s, std::uint32_t cancels) {
    expect(!sched_.next() && sched_.last() == outcome::awaiting, "one step at a time");
    const std::vector<quire::schedule::entry> entries(s.entries.begin(), s.entries.end());
    for (; cancels > 0; --cancels) cancel_any();
    expect(static_cast<bool>(sched_.commit(s)), "commit");
    expect(!sched_.commit(s), "no second commit");
    for (const auto& e : entries) {
      const auto at = live_.find(e.id);
      if (at == live_.end()) {
        expect(sched_.token(e.id).code == quire::errc::unknown_sequence, "a token for nobody");
        continue;
      }
      expectation& x = at->second;
      memory_.computed[e.id] = x.position += e.count;
      computed += e.count;
      x.computed += e.count;
      if (!e.wants_logits) {
        expect(sched_.token(e.id).code == quire::errc::out_of_range, "a token that is not owed");
        continue;
      }
      ++x.tokens;
      expect(static_cast<bool>(sched_.token(e.id)), "token");
      if (x.tokens != x.stop_at) continue;
      if (x.tokens < x.r.max_new_tokens) expect(static_cast<bool>(sched_.finish(e.id)), "finish");
      expect(sched_.find(e.id) == nullptr, "finished requests are gone");
      expect(x.computed == x.r.prompt_tokens + x.tokens - 1 - x.found + x.lost,
             "every row once, and once more if lost");
      lost += x.lost;
      live_.erase(at);
      ++finished;
    }
  }

  tiered_memory& memory_;
  quire::schedule::scheduler<tiered_memory, P>& sched_;
  std::mt19937 random_;
  std::map<request_id, expectation> live_{};
  std::set<request_id> in_step_{}, ran_before_{};
  bool decode_step_ = false;

 public:
  bool counters_move = false;  ///< the order changes while requests are admitted: not checked
};

/// A random load on a random memory. `tight`: so little memory that decodes preempt each other.
template <class P>
std::vector<std::string> random_workload(unsigned seed, P policy, quire::schedule::scheduler_counters* sum = nullptr,
                                         int rounds = 100, bool counters_move = false) {
  using namespace quire::schedule;
  std::mt19937 random(seed);
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  const std::uint32_t page_tokens = 1u << draw(4), longest = 8 + draw(60);
  tiered_memory memory;
  memory.pages = (longest + page_tokens - 1) / page_tokens + draw(12);
  memory.page_tokens = page_tokens;
  memory.host_rows = draw(3) * longest;
  memory.delay = draw(2) * draw(4);
  const scheduler_options options{.max_running = 1 + draw(12),
                                  .max_requests = 64,
                                  .max_sequence = longest,
                                  .reserve_prompt = draw(2) == 0,
                                  .headroom = draw(3) * 5,
                                  .patience = 1 + draw(5),
                                  .max_parked = 1 + draw(4)};
  scheduler<tiered_memory, P> sched(memory, std::move(policy), options);
  driver<P> d(memory, sched, seed + 1);
  d.counters_move = counters_move;
  const bool cancels = draw(2) == 0, shares = draw(2) == 0;
  request_id id = 0;
  for (int i = 0; i < rounds; ++i) {
    for (std::uint32_t n = draw(3); n > 0 && sched.live() < 40; --n) {
      const std::uint32_t prompt = 1 + draw(draw(2) ? longest : longest / 4), most = 1 + draw(longest - prompt + 1);
      request r{.id = id++,
                .arrival = draw(3) ? i : i / 4 * 4.0,
                .prompt_tokens = prompt,
                .max_new_tokens = most,
                .priority = static_cast<std::int32_t>(draw(3)) - 1,
                .tenant = draw(5),
                .deadline = draw(3) ? i + draw(60) : std::numeric_limits<double>::infinity(),
                .group = draw(4),
                .rank = draw(6),
                .hit_tokens = draw(2) * draw(2 * longest)};
      if (shares && draw(3) == 0) memory.hits[r.id] = (prompt - 1) / page_tokens * page_tokens;
      if (shares && draw(4) == 0) memory.unready[r.id] = draw(6);
      d.submit(r, 1 + draw(most));
    }
    if (cancels && draw(8) == 0) d.cancel_any();
    d.step(i, cancels ? draw(2) * draw(3) : 0);
  }
  d.drain(rounds);
  const auto& c = sched.counters();
  expect(d.finished + d.cancelled + d.rejected == id, "everybody is accounted for");
  expect(c.finished == d.finished && c.cancelled == d.cancelled && c.failed == d.rejected, "counters of ends");
  expect(c.computed == d.computed, "counter of computed rows");
  if (!cancels && d.rejected == 0) expect(c.recomputed == d.lost, "counter of rows computed again");
  if (sum != nullptr) {
    sum->preempted += c.preempted, sum->yielded += c.yielded, sum->swapped += c.swapped, sum->parked += c.parked;
    sum->cancelled += c.cancelled, sum->relegated += c.relegated, sum->failed += c.failed,
        sum->recomputed += c.recomputed;
  }
  return d.log;
}

}  // namespace test
