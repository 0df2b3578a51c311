// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/scheduler.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "allocations.hpp"
#include "catch.hpp"
#include "fake_memory.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {

using trace = std::vector<std::string>;

/// Drives a scheduler with random arrivals, endings and cancellations, and checks what must hold in every step.
template <class Memory, class P>
struct driver {
  struct expectation {
    request r;
    std::uint32_t tokens = 0;    ///< generated so far
    std::uint32_t stop_at = 0;   ///< the model ends it here, at max_new_tokens at the latest
    std::uint32_t position = 0;  ///< rows computed since it last began at the start
    std::uint32_t preemptions = 0;
  };
  Memory& memory;
  scheduler<Memory, P>& sched;
  std::mt19937 random;
  std::map<request_id, expectation> live{};
  std::uint64_t finished = 0, cancelled = 0, computed = 0, needed = 0;
  trace log{};

  std::uint32_t draw(std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); }

  void submit(const request& r, std::uint32_t stop_at) {
    REQUIRE(sched.submit(r));
    live[r.id] = {.r = r, .stop_at = std::min(stop_at, r.max_new_tokens)};
  }
  void cancel_any() {
    if (live.empty()) return;
    auto at = std::next(live.begin(), draw(static_cast<std::uint32_t>(live.size())));
    REQUIRE(sched.cancel(at->first));
    REQUIRE(memory.rows.count(at->first) == 0);  // pages are back at once
    live.erase(at);
    ++cancelled;
  }
  /// One step, with up to `cancels` cancellations while it is out. False when there was none.
  bool step(std::uint32_t cancels = 0) {
    const auto before = sched.counters();
    const auto s = sched.next();
    REQUIRE_FALSE(memory.misused);
    REQUIRE(memory.used + memory.outside <= memory.pages);
    if (!s) {
      REQUIRE(sched.last() != outcome::step);
      REQUIRE((sched.last() == outcome::idle) == live.empty());
      return false;
    }
    REQUIRE(sched.last() == outcome::step);
    REQUIRE(sched.running() <= sched.seats());
    REQUIRE(sched.seats() <= sched.options().max_tokens);
    std::uint32_t tokens = 0;
    std::set<request_id> in_step;
    bool prompts_begun = false;
    std::string line;
    for (const entry& e : s->entries) {
      REQUIRE(in_step.insert(e.id).second);
      REQUIRE(e.count >= 1);
      auto at = live.find(e.id);
      REQUIRE(at != live.end());
      expectation& x = at->second;
      const request& now = *sched.find(e.id);
      if (now.so_far.preemptions != x.preemptions) {  // computed anew from the start
        x.preemptions = now.so_far.preemptions;
        x.position = 0;
      }
      const std::uint32_t known = x.r.prompt_tokens + x.tokens;
      REQUIRE(e.begin == x.position);  // no gap, nothing twice
      REQUIRE(e.begin + e.count <= known);
      REQUIRE(e.wants_logits == (e.begin + e.count == known));
      REQUIRE(memory.rows.at(e.id) >= e.begin + e.count);  // reserved before it is handed out
      REQUIRE((e.phase == phase::decode) == (x.tokens > 0 && e.count == 1 && e.wants_logits));
      if (e.phase == phase::prefill) prompts_begun = true;
      else REQUIRE_FALSE(prompts_begun);
      tokens += e.count;
      line += std::to_string(e.id) + ":" + std::to_string(e.begin) + "+" + std::to_string(e.count) + " ";
    }
    REQUIRE(tokens == s->tokens);
    REQUIRE(tokens <= sched.options().max_tokens);
    for (const auto& [id, x] : live) {  // no running decode is left out
      const request& now = *sched.find(id);
      const bool decoding = x.tokens > 0 && now.so_far.computed + 1 == now.known_tokens() && memory.rows.count(id);
      if (decoding && now.so_far.preemptions == x.preemptions) REQUIRE(in_step.count(id) == 1);
    }
    if (sched.counters().preempted != before.preempted && s->entries.size() > 1) line += "! ";
    log.push_back(line);

    REQUIRE_FALSE(sched.next());  // one step at a time
    REQUIRE(sched.last() == outcome::awaiting);
    const std::vector<entry> entries(s->entries.begin(), s->entries.end());
    for (; cancels > 0; --cancels) cancel_any();
    REQUIRE(sched.commit(*s));
    REQUIRE_FALSE(sched.commit(*s));
    for (const entry& e : entries) {
      auto at = live.find(e.id);
      if (at == live.end()) {
        REQUIRE(sched.token(e.id).code == errc::unknown_sequence);
        continue;
      }
      expectation& x = at->second;
      x.position += e.count;
      computed += e.count;
      if (!e.wants_logits) {
        REQUIRE(sched.token(e.id).code == errc::out_of_range);
        continue;
      }
      ++x.tokens;
      REQUIRE(sched.token(e.id));
      if (x.tokens == x.stop_at && x.tokens < x.r.max_new_tokens) REQUIRE(sched.finish(e.id));
      if (x.tokens == x.stop_at) {
        REQUIRE(sched.find(e.id) == nullptr);
        needed += x.r.prompt_tokens + x.tokens - 1;
        live.erase(at);
        ++finished;
      }
    }
    return true;
  }
  void drain(std::uint64_t limit) {
    for (std::uint64_t i = 0; step(); ++i) REQUIRE(i < limit);
    REQUIRE(live.empty());
    REQUIRE(sched.last() == outcome::idle);
    REQUIRE(sched.live() == 0);
    REQUIRE(memory.used == 0);
    REQUIRE(memory.rows.empty());
  }
};

struct by_priority : fcfs {  // urgent first, and at once
  bool admit_before(const request& a, const request& b) const noexcept { return a.priority > b.priority; }
  bool evict_before(const request& a, const request& b) const noexcept { return a.priority < b.priority; }
  bool yields(const request& a, const request& b) const noexcept { return a.priority < b.priority; }
};
struct least_served : fcfs {  // counters per tenant, as virtual token counters
  static constexpr bool by_tenant = true;
  std::vector<std::uint64_t> count = std::vector<std::uint64_t>(8);
  bool admit_before(const request& a, const request& b) const noexcept {
    if (count[a.tenant] != count[b.tenant]) return count[a.tenant] < count[b.tenant];
    return a.arrival < b.arrival;
  }
  bool evict_before(const request& a, const request& b) const noexcept { return admit_before(b, a); }
  bool yields(const request& a, const request& b) const noexcept { return count[a.tenant] > count[b.tenant] + 20; }
  void served(const request& r, std::uint32_t tokens) noexcept { count[r.tenant] += tokens; }
};
struct spiteful : fcfs {  // takes the pages of whoever is nearest to its end, and changes its mind all the time
  std::uint64_t mood = 0;
  bool admit_before(const request& a, const request& b) const noexcept {
    return (a.id * 7 + mood) % 13 < (b.id * 7 + mood) % 13;
  }
  bool evict_before(const request& a, const request& b) const noexcept { return a.so_far.computed > b.so_far.computed; }
  bool yields(const request&, const request&) const noexcept { return true; }
  std::uint64_t version() const noexcept { return mood; }
  void served(const request&, std::uint32_t) noexcept { ++mood; }
};
struct lawless : fcfs {  // no order at all: nothing may break but the order
  bool admit_before(const request& a, const request& b) const noexcept { return (a.id ^ b.prompt_tokens) % 3 != 0; }
  bool evict_before(const request& a, const request& b) const noexcept { return (a.so_far.computed ^ b.id) % 2 != 0; }
  bool yields(const request& a, const request& b) const noexcept { return (a.id ^ b.id) % 3 == 0; }
};
struct paced : fcfs {
  std::uint32_t budget(const load& l) noexcept { return l.decodes + l.prefills % 3 * 4; }
  std::uint32_t chunk(const request&, std::uint32_t room) const noexcept { return room / 4 * 4; }
};

template <class P>
trace random_workload(unsigned seed, P policy, scheduler_counters* sum = nullptr) {
  std::mt19937 random(seed);
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  const std::uint32_t page_tokens = 1u << draw(4), longest = 8 + draw(60);
  test::fake_memory memory{.pages = (longest + page_tokens - 1) / page_tokens + draw(12), .page_tokens = page_tokens};
  const scheduler_options options{.max_tokens = 1 + draw(64),
                                  .max_running = 1 + draw(12),
                                  .max_requests = 64,
                                  .max_sequence = longest,
                                  .max_chunk = draw(2) ? 1 + draw(16) : 0xffffffffu,
                                  .reserve_prompt = draw(2) == 0,
                                  .headroom = draw(3) * 5,
                                  .patience = 1 + draw(5)};
  scheduler sched(memory, std::move(policy), options);
  driver<test::fake_memory, P> d{.memory = memory, .sched = sched, .random = random};
  const bool cancels = draw(2) == 0;
  request_id id = 0;
  for (int i = 0; i < 150; ++i) {
    for (std::uint32_t n = draw(3); n > 0 && sched.live() < 40; --n) {
      const std::uint32_t prompt = 1 + draw(draw(2) ? longest : longest / 4);
      const std::uint32_t most = 1 + draw(longest - prompt + 1);
      d.submit({.id = id++,
                .arrival = draw(3) ? i : i / 4 * 4.0,
                .prompt_tokens = prompt,
                .max_new_tokens = most,
                .priority = static_cast<std::int32_t>(draw(3)),
                .tenant = draw(5)},
               1 + draw(most));
    }
    if (cancels && draw(8) == 0) d.cancel_any();
    d.step(cancels ? draw(2) * draw(3) : 0);
  }
  d.drain(200000);
  REQUIRE(d.finished + d.cancelled == id);
  const auto& c = sched.counters();
  REQUIRE(c.finished == d.finished);
  REQUIRE(c.cancelled == d.cancelled);
  REQUIRE(c.computed == d.computed);
  if (!cancels) REQUIRE(c.computed == d.needed + c.recomputed);  // every row once, and again only if it was lost
  if (sum != nullptr) {
    sum->preempted += c.preempted;
    sum->yielded += c.yielded;
    sum->cancelled += c.cancelled;
  }
  return d.log;
}

}  // namespace

TEST_CASE("random workloads: budget kept and no decode left out and everything finishes") {
  scheduler_counters sum{};
  const auto run = [&](auto policy) {
    for (unsigned seed = 0; seed < 120; ++seed) {
      INFO("seed " << seed);
      REQUIRE(random_workload(seed, policy, &sum) == random_workload(seed, policy));  // deterministic
    }
    REQUIRE(sum.preempted > 100);  // memory was tight
    REQUIRE(sum.cancelled > 100);
  };
  SECTION("fcfs") { run(fcfs{}); }
  SECTION("priorities that preempt") {
    run(by_priority{});
    REQUIRE(sum.yielded > 100);
  }
  SECTION("counters per tenant") { run(least_served{}); }
  SECTION("a spiteful policy still makes progress") { run(spiteful{}); }
  SECTION("a lawless policy breaks nothing") { run(lawless{}); }
  SECTION("a policy that paces") { run(paced{}); }
}

TEST_CASE("a prompt fills what decodes leave and never pushes one out") {
  test::fake_memory memory{.pages = 1000, .page_tokens = 16};
  scheduler sched(memory, fcfs{}, {.max_tokens = 8, .max_running = 4});
  for (request_id id = 0; id < 2; ++id)
    REQUIRE(sched.submit({.id = id, .arrival = 0, .prompt_tokens = 2, .max_new_tokens = 100}));
  auto s = sched.next();
  REQUIRE(s);
  REQUIRE(s->tokens == 4);
  REQUIRE(sched.commit(*s));
  REQUIRE(sched.token(0));
  REQUIRE(sched.token(1));
  REQUIRE(sched.submit({.id = 7, .arrival = 1, .prompt_tokens = 20, .max_new_tokens = 1}));
  std::vector<std::uint32_t> chunks;
  for (int i = 0; i < 4; ++i) {
    s = sched.next();
    REQUIRE(s);
    REQUIRE(s->entries[0].phase == phase::decode);
    REQUIRE(s->entries[1].phase == phase::decode);
    REQUIRE(s->entries.size() == 3);
    chunks.push_back(s->entries[2].count);
    REQUIRE(s->entries[2].wants_logits == (i == 3));
    REQUIRE(sched.commit(*s));
    for (request_id id : {0, 1}) REQUIRE(sched.token(id));
  }
  REQUIRE(chunks == std::vector<std::uint32_t>{6, 6, 6, 2});
  REQUIRE(sched.token(7));  // its only token: finished
  REQUIRE(sched.find(7) == nullptr);
}

TEST_CASE("first chunks come in order of arrival") {
  test::fake_memory memory{.pages = 64, .page_tokens = 4};
  scheduler sched(memory, fcfs{}, {.max_tokens = 5, .max_running = 3});
  const double arrival[] = {3, 1, 2, 1, 0};
  for (request_id id = 0; id < 5; ++id)
    REQUIRE(sched.submit({.id = id, .arrival = arrival[id], .prompt_tokens = 7, .max_new_tokens = 2}));
  std::vector<request_id> first;
  while (const auto s = sched.next()) {
    for (const entry& e : s->entries)
      if (e.begin == 0) first.push_back(e.id);
    const std::vector<entry> entries(s->entries.begin(), s->entries.end());
    REQUIRE(sched.commit(*s));
    for (const entry& e : entries)
      if (e.wants_logits) REQUIRE(sched.token(e.id));
  }
  REQUIRE(first == std::vector<request_id>{4, 1, 3, 2, 0});
}

TEST_CASE("a decode without a page takes the newest request's and nothing it generated is lost") {
  test::fake_memory memory{.pages = 8, .page_tokens = 1};
  scheduler sched(memory, fcfs{}, {.max_tokens = 16, .max_running = 2});
  REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 3, .max_new_tokens = 6}));
  REQUIRE(sched.submit({.id = 2, .arrival = 2, .prompt_tokens = 3, .max_new_tokens = 6}));
  const auto run = [&] {
    const auto s = sched.next();
    REQUIRE(s);
    std::vector<entry> entries(s->entries.begin(), s->entries.end());
    REQUIRE(sched.commit(*s));
    for (const entry& e : entries)
      if (e.wants_logits) REQUIRE(sched.token(e.id));
    return entries;
  };
  run();  // both prompts: 6 pages
  run();  // both decode: 8 pages
  const auto third = run();
  REQUIRE(third.size() == 1);
  REQUIRE(third[0].id == 1);
  REQUIRE(sched.counters().preempted == 1);
  REQUIRE(sched.find(2)->so_far.generated == 2);
  REQUIRE(sched.find(2)->so_far.computed == 0);
  while (sched.find(1)) run();
  const auto again = run();
  REQUIRE(again.size() == 1);
  REQUIRE(again[0].id == 2);
  REQUIRE(again[0].begin == 0);
  REQUIRE(again[0].count == 5);  // prompt and two generated tokens at once
  REQUIRE(again[0].phase == phase::prefill);
  REQUIRE(sched.counters().recomputed == 4);  // the last token had never been fed back
  while (sched.find(2)) run();
  REQUIRE(sched.counters().generated == 12);
  REQUIRE(memory.used == 0);
}

TEST_CASE("headroom for all new tokens means nothing is ever preempted") {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    test::fake_memory memory{.pages = 10, .page_tokens = 4};
    scheduler sched(memory, fcfs{}, {.max_tokens = 16, .max_sequence = 40, .headroom = 0xffffffffu});
    driver<test::fake_memory, fcfs> d{.memory = memory, .sched = sched, .random = random};
    for (request_id id = 0; id < 20; ++id) {
      const std::uint32_t prompt = 1 + d.draw(20);
      d.submit({.id = id, .prompt_tokens = prompt, .max_new_tokens = 1 + d.draw(40 - prompt)}, 100);
    }
    d.drain(10000);
    REQUIRE(sched.counters().preempted == 0);
    REQUIRE(sched.counters().recomputed == 0);
  }
}

TEST_CASE("idle and blocked and awaiting are told apart") {
  test::fake_memory memory{.pages = 4, .page_tokens = 4};
  scheduler sched(memory, fcfs{}, {.max_tokens = 16});
  REQUIRE_FALSE(sched.next());
  REQUIRE(sched.last() == outcome::idle);
  memory.outside = 3;
  REQUIRE(sched.submit({.id = 5, .prompt_tokens = 8, .max_new_tokens = 3}));
  REQUIRE_FALSE(sched.next());
  REQUIRE(sched.last() == outcome::blocked);
  REQUIRE(sched.refused().id == 5);
  REQUIRE(sched.refused().why.code == errc::out_of_pages);
  REQUIRE(memory.used == 0);
  memory.outside = 2;
  auto s = sched.next();
  REQUIRE(s);
  REQUIRE_FALSE(sched.next());
  REQUIRE(sched.last() == outcome::awaiting);
  REQUIRE(sched.commit(*s));
  REQUIRE_FALSE(sched.next());
  REQUIRE(sched.last() == outcome::awaiting);  // its token is owed
  REQUIRE(sched.token(5));
  REQUIRE_FALSE(sched.next());  // the ninth row needs a third page
  REQUIRE(sched.last() == outcome::blocked);
  REQUIRE(memory.rows.at(5) == 8);  // it keeps what it has
  memory.outside = 0;
  s = sched.next();
  REQUIRE(s);
  REQUIRE(s->entries[0].begin == 8);
  REQUIRE(sched.commit(*s));
  REQUIRE(sched.cancel(5));
  REQUIRE_FALSE(sched.next());
  REQUIRE(sched.last() == outcome::idle);
}

TEST_CASE("what can never run is refused at the door with a sentence") {
  test::bounded_memory memory;
  memory.pages = 4;
  memory.page_tokens = 4;
  scheduler sched(memory, fcfs{}, {.max_requests = 2, .max_sequence = 20});
  const auto says = [&](const request& r, const char* text) {
    const status s = sched.submit(r);
    REQUIRE_FALSE(s);
    REQUIRE(describe(s) == text);
  };
  says({.id = 1, .prompt_tokens = 0}, "out_of_range: prompt_tokens is 0, allowed 1 to 20");
  says({.id = 1, .prompt_tokens = 21}, "out_of_range: prompt_tokens is 21, allowed 1 to 20");
  says({.id = 1, .prompt_tokens = 0xffffffffu, .max_new_tokens = 0xffffffffu},
       "out_of_range: prompt_tokens is 4294967295, allowed 1 to 20");
  says({.id = 1, .prompt_tokens = 20, .max_new_tokens = 2}, "out_of_range: max_new_tokens is 2, allowed 1 to 1");
  says({.id = 1, .prompt_tokens = 2, .max_new_tokens = 0}, "out_of_range: max_new_tokens is 0, allowed 1 to 19");
  says({.id = 1, .prompt_tokens = 17}, "out_of_range: rows of a sequence is 17, allowed 1 to 16");
  REQUIRE(sched.submit({.id = 1, .arrival = std::nan(""), .prompt_tokens = 1}).code == errc::not_finite);
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 16}));
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 1}).code == errc::out_of_range);
  REQUIRE(sched.submit({.id = 2, .prompt_tokens = 1}));
  REQUIRE(sched.submit({.id = 3, .prompt_tokens = 1}).code == errc::out_of_range);
  REQUIRE(sched.live() == 2);
  REQUIRE(sched.token(3).code == errc::unknown_sequence);
  REQUIRE(sched.finish(3).code == errc::unknown_sequence);
  REQUIRE(sched.cancel(3).code == errc::unknown_sequence);
  REQUIRE(sched.commit(step{}).code == errc::out_of_range);

  REQUIRE_THROWS_AS(scheduler(memory, fcfs{}, {.max_tokens = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(scheduler(memory, fcfs{}, {.max_running = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(scheduler(memory, fcfs{}, {.max_requests = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(scheduler(memory, fcfs{}, {.max_sequence = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(scheduler(memory, fcfs{}, {.max_chunk = 0}), std::invalid_argument);
}

TEST_CASE("a request whose memory breaks ends alone") {
  test::fake_memory memory{.pages = 100, .page_tokens = 4, .broken = 2};
  scheduler sched(memory, fcfs{}, {.max_tokens = 64});
  for (request_id id = 1; id <= 3; ++id) REQUIRE(sched.submit({.id = id, .prompt_tokens = 5, .max_new_tokens = 9}));
  auto s = sched.next();
  REQUIRE(s);
  REQUIRE(s->entries.size() == 2);
  auto f = sched.take_failure();
  REQUIRE(f);
  REQUIRE(f->id == 2);
  REQUIRE(f->why.native == 700);
  REQUIRE_FALSE(sched.take_failure());
  REQUIRE(sched.commit(*s));
  REQUIRE(sched.token(1));
  REQUIRE(sched.token(3));
  memory.broken = 3;  // now in the middle of its decoding
  s = sched.next();
  REQUIRE(s);
  REQUIRE(s->entries.size() == 1);
  REQUIRE(sched.take_failure()->id == 3);
  REQUIRE(memory.rows.size() == 1);
  REQUIRE(sched.counters().failed == 2);
}

TEST_CASE("an id may be taken again while the step of its first owner is out") {
  test::fake_memory memory{.pages = 100, .page_tokens = 4};
  scheduler sched(memory, fcfs{}, {.max_tokens = 64});
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 5, .max_new_tokens = 9}));
  auto s = sched.next();
  REQUIRE(sched.cancel(1));
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 3, .max_new_tokens = 9}));
  REQUIRE(sched.commit(*s));
  REQUIRE(sched.find(1)->so_far.computed == 0);
  s = sched.next();
  REQUIRE(s);
  REQUIRE(s->entries[0].count == 3);
}

namespace {

struct cheap_first_out : fcfs {  // admission by arrival, eviction by priority
  bool evict_before(const request& a, const request& b) const noexcept { return a.priority < b.priority; }
};
struct flips : fcfs {
  std::uint64_t turn = 0;
  std::uint64_t version() const noexcept { return turn; }
  bool admit_before(const request& a, const request& b) const noexcept { return turn % 2 ? b.id < a.id : a.id < b.id; }
};
struct newest_in_and_out : fcfs {  // a stream of arrivals keeps an early request from its first token
  bool admit_before(const request& a, const request& b) const noexcept { return a.priority > b.priority; }
  bool evict_before(const request& a, const request& b) const noexcept { return a.priority < b.priority; }
};

/// One step with its tokens; the entries by value.
template <class S>
std::vector<entry> run_one(S& sched) {
  const auto s = sched.next();
  if (!s) return {};
  std::vector<entry> entries(s->entries.begin(), s->entries.end());
  REQUIRE(sched.commit(*s));
  for (const entry& e : entries)
    if (e.wants_logits) REQUIRE(sched.token(e.id));
  return entries;
}

}  // namespace

TEST_CASE("the victim is the policy's and nobody is admitted in a step that preempts") {
  test::fake_memory memory{.pages = 8, .page_tokens = 1};
  scheduler sched(memory, cheap_first_out{}, {.max_tokens = 16, .max_running = 2});
  REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 3, .max_new_tokens = 6, .priority = 0}));
  REQUIRE(sched.submit({.id = 2, .arrival = 2, .prompt_tokens = 3, .max_new_tokens = 6, .priority = 5}));
  REQUIRE(run_one(sched).size() == 2);
  REQUIRE(run_one(sched).size() == 2);
  REQUIRE(sched.submit({.id = 3, .arrival = 0, .prompt_tokens = 1, .max_new_tokens = 1}));
  const auto third = run_one(sched);
  REQUIRE(sched.counters().preempted == 1);
  REQUIRE(sched.find(1)->so_far.preemptions == 1);  // not 2, which was admitted last
  REQUIRE(third.size() == 1);
  REQUIRE(third[0].id == 2);
  REQUIRE(run_one(sched).size() == 2);  // now 3, which came first, has the seat
}

TEST_CASE("a new version of the order holds for those who wait already") {
  test::fake_memory memory{.pages = 100, .page_tokens = 1};
  scheduler sched(memory, flips{}, {.max_tokens = 16, .max_running = 1});
  for (request_id id = 0; id < 9; ++id) REQUIRE(sched.submit({.id = id, .prompt_tokens = 2, .max_new_tokens = 1}));
  std::vector<request_id> order;
  for (int i = 0; i < 9; ++i) {
    order.push_back(run_one(sched).at(0).id);
    ++sched.policy().turn;
  }
  REQUIRE(order == std::vector<request_id>{0, 8, 1, 7, 2, 6, 3, 5, 4});
}

TEST_CASE("a chunk is capped only while there are others") {
  test::fake_memory memory{.pages = 100, .page_tokens = 1};
  scheduler sched(memory, fcfs{}, {.max_tokens = 16, .max_running = 4, .max_chunk = 5});
  REQUIRE(sched.submit({.id = 0, .arrival = 0, .prompt_tokens = 40, .max_new_tokens = 1}));
  REQUIRE(run_one(sched).at(0).count == 16);
  REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 8, .max_new_tokens = 1}));
  const auto both = run_one(sched);
  REQUIRE(both.size() == 2);
  REQUIRE(both[0].count == 5);
  REQUIRE(both[1].count == 5);
}

TEST_CASE("a request that loses its pages again and again is spared after a while") {
  const auto steps_until_done = [](std::uint32_t patience) {
    test::fake_memory memory{.pages = 12, .page_tokens = 1};
    scheduler sched(memory, newest_in_and_out{},
                    {.max_tokens = 3, .max_running = 3, .max_chunk = 1, .reserve_prompt = false, .patience = patience});
    REQUIRE(sched.submit({.id = 0, .prompt_tokens = 10, .max_new_tokens = 1, .priority = 0}));
    request_id id = 1;
    for (int step = 0; step < 3000; ++step) {
      while (sched.live() < (sched.find(0) ? 3u : 2u))
        REQUIRE(sched.submit({.id = id++, .prompt_tokens = 3, .max_new_tokens = 4, .priority = 1}));
      run_one(sched);
      if (!sched.find(0)) return step;
    }
    return 3000;
  };
  REQUIRE(steps_until_done(0xffffffffu) == 3000);  // the policy alone starves it
  REQUIRE(steps_until_done(3) < 300);
}

TEST_CASE("an urgent request makes a running one give way once that has a token") {
  test::fake_memory memory{.pages = 100, .page_tokens = 4};
  scheduler sched(memory, by_priority{}, {.max_tokens = 8, .max_running = 1});
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 12, .max_new_tokens = 9, .priority = 0}));
  auto s = sched.next();
  REQUIRE(sched.commit(*s));
  REQUIRE(sched.submit({.id = 2, .prompt_tokens = 4, .max_new_tokens = 2, .priority = 5}));
  s = sched.next();
  REQUIRE(s->entries[0].id == 1);  // no token yet: it goes on
  REQUIRE(sched.commit(*s));
  REQUIRE(sched.token(1));
  s = sched.next();
  REQUIRE(s->entries.size() == 1);
  REQUIRE(s->entries[0].id == 2);
  REQUIRE(sched.counters().yielded == 1);
  REQUIRE(memory.rows.count(1) == 0);
}

namespace {
/// Keeps the rows of preempted sequences in another tier, whole pages only; some prompts are there from the start.
struct tiered_memory : test::fake_memory {
  std::map<request_id, std::uint32_t> kept{};
  std::uint32_t opened = 0, swaps = 0;
  status admit(request_id id) {
    const std::uint32_t have = resident(id);
    if (used + pages_for(have) > pages) return {errc::out_of_pages, "pages", pages_for(have), 0, pages - used};
    if (have > 0) {
      used += pages_for(have);
      rows[id] = have;
      ++swaps;
    }
    ++opened;
    return {};
  }
  std::uint32_t resident(request_id id) {
    const auto at = kept.find(id);
    return at == kept.end() ? 0 : at->second;
  }
  void preempt(request_id id) {
    const auto at = rows.find(id);
    if (at != rows.end()) kept[id] = std::max(kept[id], computed[id] / page_tokens * page_tokens);
    fake_memory::release(id);
  }
  void release(request_id id) {
    kept.erase(id);
    fake_memory::release(id);
  }
  std::map<request_id, std::uint32_t> computed{};  ///< told by the test after each step
};
static_assert(AdmittingMemory<tiered_memory> && ResidentMemory<tiered_memory> && PreemptingMemory<tiered_memory>);
}  // namespace

TEST_CASE("a memory with another tier spares the recomputation") {
  std::uint64_t swaps = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    tiered_memory memory;
    memory.pages = 12;
    memory.page_tokens = 4;
    scheduler sched(memory, fcfs{}, {.max_tokens = 16, .max_running = 6, .max_sequence = 44});
    std::map<request_id, request> wanted;
    for (request_id id = 0; id < 20; ++id) {
      const auto prompt = static_cast<std::uint32_t>(1 + random() % 24);
      wanted[id] = {.id = id, .prompt_tokens = prompt, .max_new_tokens = static_cast<std::uint32_t>(1 + random() % 20)};
      REQUIRE(sched.submit(wanted[id]));
    }
    std::uint64_t needed = 0;
    while (const auto s = sched.next()) {
      const std::vector<entry> entries(s->entries.begin(), s->entries.end());
      REQUIRE(sched.commit(*s));
      for (const entry& e : entries) {
        memory.computed[e.id] = e.begin + e.count;
        if (e.wants_logits) REQUIRE(sched.token(e.id));
      }
    }
    REQUIRE(sched.last() == outcome::idle);
    for (const auto& [id, r] : wanted) needed += r.most_rows();
    const auto& c = sched.counters();
    REQUIRE(c.computed == needed + c.recomputed);
    REQUIRE(c.recomputed <= (c.preempted + c.yielded) * 3);  // at most the partial page of each
    REQUIRE(memory.used == 0);
    REQUIRE(memory.kept.empty());
    swaps += memory.swaps;
  }
  REQUIRE(swaps > 0);
}

TEST_CASE("steps allocate nothing") {
  struct flat_memory {  // pages counted without a container
    std::uint32_t free = 240;
    std::uint32_t held[64] = {};
    status reserve(request_id id, std::uint32_t tokens) {
      if (tokens > free) return {errc::out_of_pages, "pages", tokens, 0, free};
      free -= tokens;
      held[id % 64] += tokens;
      return {};
    }
    void release(request_id id) { free += std::exchange(held[id % 64], 0); }
  } memory;
  scheduler sched(memory, least_served{},
                  {.max_tokens = 64, .max_running = 16, .max_requests = 64, .max_sequence = 300});
  const std::size_t before = test::allocations();
  for (request_id id = 0; id < 64; ++id)
    if (!sched.submit({.id = id,
                       .prompt_tokens = static_cast<std::uint32_t>(1 + id * 3),
                       .max_new_tokens = 40,
                       .tenant = static_cast<std::uint32_t>(id % 8)}))
      std::abort();
  while (const auto s = sched.next()) {
    if (!sched.commit(*s)) std::abort();
    for (const entry& e : s->entries)
      if (e.wants_logits && !sched.token(e.id)) std::abort();
  }
  const std::size_t after = test::allocations();
  REQUIRE(after == before);
  REQUIRE(sched.counters().finished == 64);
  REQUIRE(sched.counters().preempted + sched.counters().yielded > 0);
}
