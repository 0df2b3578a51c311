// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "catch.hpp"
#include "driver.hpp"
#include "models.hpp"
#include "quire/schedule/order/fair.hpp"
#include "quire/schedule/order/priority.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"
#include "run_one.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {

/// Axes of the tests' own.
struct least_served {  // counters per tenant, moved by every row
  static constexpr bool by_tenant = true;
  std::vector<std::uint64_t> count = std::vector<std::uint64_t>(8);
  bool admit_before(const request& a, const request& b) const noexcept {
    if (count[a.tenant] != count[b.tenant]) return count[a.tenant] < count[b.tenant];
    return a.arrival < b.arrival;
  }
  bool yields(const request& a, const request& b) const noexcept { return count[a.tenant] > count[b.tenant] + 20; }
  void served(const request& r, std::uint32_t tokens) noexcept { count[r.tenant] += tokens; }
};
struct spiteful {  // changes its mind all the time, and everybody gives way to everybody
  std::uint64_t mood = 0;
  bool admit_before(const request& a, const request& b) const noexcept {
    return (a.id * 7 + mood) % 13 < (b.id * 7 + mood) % 13;
  }
  bool yields(const request&, const request&) const noexcept { return true; }
  std::uint64_t version() const noexcept { return mood; }
  void served(const request&, std::uint32_t) noexcept { ++mood; }
};
struct nearest_to_its_end {
  bool evict_before(const request& a, const request& b) const noexcept { return a.so_far.computed > b.so_far.computed; }
};
struct lawless {  // no order at all: nothing may break but the order
  bool admit_before(const request& a, const request& b) const noexcept { return (a.id ^ b.prompt_tokens) % 3 != 0; }
  bool evict_before(const request& a, const request& b) const noexcept { return (a.so_far.computed ^ b.id) % 2 != 0; }
  bool yields(const request& a, const request& b) const noexcept { return (a.id ^ b.id) % 3 == 0; }
};
struct stubborn {  // admits nobody: overruled when nothing runs
  verdict judge(const request&, std::uint64_t, const load&) const noexcept { return {answer::later}; }
};

const order::priority urgent_at_once{.ageing_seconds = std::numeric_limits<double>::infinity(), .preempts = true};
using by_priority = policy<order::priority, batching::chunked, admission::when_it_fits, victim::lowest_priority>;
template <class O = order::fcfs, class V = victim::newest, class A = admission::when_it_fits>
using with = policy<O, batching::chunked, A, V>;

}  // namespace

TEST_CASE("random workloads: budget kept and no decode left out and everything finishes") {
  scheduler_counters sum{};
  const auto run = [&](auto rules, bool order_holds = true) {
    for (unsigned seed = 0; seed < 120; ++seed) {
      INFO("seed " << seed);
      rules.batching = {.tau = 1 + seed * 7 % 64, .max_chunk = seed % 2 ? 1 + seed % 16 : 0xffffffffu};
      const auto log = test::random_workload(seed, rules, &sum, 150, !order_holds);
      REQUIRE(log == test::random_workload(seed, rules, nullptr, 150, !order_holds));  // deterministic
    }
    REQUIRE(sum.preempted > 100);  // memory was tight
    REQUIRE(sum.cancelled > 100);
    REQUIRE(sum.parked > 100);
  };
  SECTION("fcfs") { run(policy<>{}); }
  SECTION("priorities that preempt") {
    run(by_priority{.order = urgent_at_once}, false);
    REQUIRE(sum.yielded > 100);
  }
  SECTION("counters per tenant") { run(with<least_served>{}, false); }
  SECTION("a spiteful policy still makes progress") { run(with<spiteful, nearest_to_its_end>{}); }
  SECTION("a lawless policy breaks nothing") { run(with<lawless, lawless>{}, false); }
}

TEST_CASE("an admission rule that says no for ever is overruled when nothing runs") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    scheduler_counters sum{};
    test::random_workload(seed, with<order::fcfs, victim::newest, stubborn>{}, &sum);
    REQUIRE(sum.preempted == 0);  // one at a time
  }
}

TEST_CASE("a prompt fills what decodes leave and never pushes one out") {
  test::fake_memory memory{.pages = 1000, .page_tokens = 16};
  scheduler sched(memory, policy<>{.batching = {.tau = 8}}, {.max_running = 4});
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
  scheduler sched(memory, policy<>{.batching = {.tau = 5}}, {.max_running = 3});
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
  scheduler sched(memory, policy<>{.batching = {.tau = 16}}, {.max_running = 2});
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
    test::tiered_memory memory;
    memory.pages = 10, memory.page_tokens = 4;
    scheduler sched(memory, policy<>{.batching = {.tau = 16}}, {.max_sequence = 40, .headroom = 0xffffffffu});
    test::driver<policy<>> d(memory, sched, seed);
    for (request_id id = 0; id < 20; ++id) {
      const std::uint32_t prompt = 1 + d.draw(20);
      d.submit({.id = id, .prompt_tokens = prompt, .max_new_tokens = 1 + d.draw(40 - prompt)}, 100);
    }
    d.drain(0);
    REQUIRE(sched.counters().finished == 20);
    REQUIRE(sched.counters().preempted == 0);
    REQUIRE(sched.counters().recomputed == 0);
  }
}

TEST_CASE("idle and blocked and awaiting are told apart") {
  test::fake_memory memory{.pages = 4, .page_tokens = 4};
  scheduler sched(memory, policy<>{.batching = {.tau = 16}});
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
  scheduler sched(memory, policy<>{}, {.max_requests = 2, .max_sequence = 20});
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

  REQUIRE_THROWS_AS(scheduler(memory, policy<>{}, {.max_running = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(scheduler(memory, policy<>{}, {.max_requests = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(scheduler(memory, policy<>{}, {.max_sequence = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(scheduler(memory, policy<>{}, {.max_parked = 0}), std::invalid_argument);
  REQUIRE_THROWS_WITH(scheduler(memory, policy<>{.batching = {.tau = 0}}),
                      "schedule::policy: out_of_range: chunked.tau is 0, allowed 1 to 4294967295");
}

TEST_CASE("a request whose memory breaks ends alone") {
  test::fake_memory memory{.pages = 100, .page_tokens = 4, .broken = 2};
  scheduler sched(memory, policy<>{.batching = {.tau = 64}});
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
  memory.broken = 1;  // now in the middle of its decoding; 3, which stands behind it, still gets its turn
  s = sched.next();
  REQUIRE(s);
  REQUIRE(s->entries.size() == 1);
  REQUIRE(s->entries[0].id == 3);
  REQUIRE(sched.take_failure()->id == 1);
  REQUIRE(memory.rows.size() == 1);
  REQUIRE(sched.counters().failed == 2);
}

TEST_CASE("an id may be taken again while the step of its first owner is out") {
  test::fake_memory memory{.pages = 100, .page_tokens = 4};
  scheduler sched(memory, policy<>{.batching = {.tau = 64}});
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

struct flips {
  std::uint64_t turn = 0;
  std::uint64_t version() const noexcept { return turn; }
  bool admit_before(const request& a, const request& b) const noexcept { return turn % 2 ? b.id < a.id : a.id < b.id; }
};

using test::run_one;

}  // namespace

TEST_CASE("the victim is the policy's and nobody is admitted in a step that preempts") {
  test::fake_memory memory{.pages = 8, .page_tokens = 1};
  scheduler sched(memory, with<order::fcfs, victim::lowest_priority>{.batching = {.tau = 16}}, {.max_running = 2});
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
  scheduler sched(memory, with<flips>{}, {.max_running = 1});
  for (request_id id = 0; id < 9; ++id) REQUIRE(sched.submit({.id = id, .prompt_tokens = 2, .max_new_tokens = 1}));
  std::vector<request_id> order;
  for (int i = 0; i < 9; ++i) {
    order.push_back(run_one(sched).at(0).id);
    ++sched.policy().order.turn;
  }
  REQUIRE(order == std::vector<request_id>{0, 8, 1, 7, 2, 6, 3, 5, 4});
}

TEST_CASE("a chunk is capped only while there are others") {
  test::fake_memory memory{.pages = 100, .page_tokens = 1};
  scheduler sched(memory, policy<>{.batching = {.tau = 16, .max_chunk = 5}}, {.max_running = 4});
  REQUIRE(sched.submit({.id = 0, .arrival = 0, .prompt_tokens = 40, .max_new_tokens = 1}));
  REQUIRE(run_one(sched).at(0).count == 16);
  REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 8, .max_new_tokens = 1}));
  const auto both = run_one(sched);
  REQUIRE(both.size() == 2);
  REQUIRE(both[0].count == 5);
  REQUIRE(both[1].count == 5);
}

TEST_CASE("a request that loses its pages again and again is spared after a while") {
  const order::priority strict{.ageing_seconds = std::numeric_limits<double>::infinity()};  // urgent in, others out
  const auto steps_until_done = [&](std::uint32_t patience) {
    test::fake_memory memory{.pages = 12, .page_tokens = 1};
    scheduler sched(memory, by_priority{.order = strict, .batching = {.tau = 3, .max_chunk = 1}},
                    {.max_running = 3, .reserve_prompt = false, .patience = patience});
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
  scheduler sched(memory, by_priority{.order = urgent_at_once, .batching = {.tau = 8}}, {.max_running = 1});
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

TEST_CASE("a memory with another tier spares the recomputation") {
  using swapping = policy<order::fcfs, batching::chunked, admission::when_it_fits, victim::newest, preemption::swap>;
  scheduler_counters sum{};
  for (unsigned seed = 0; seed < 40; ++seed) {
    INFO("seed " << seed);
    test::tiered_memory memory;
    memory.pages = 12, memory.page_tokens = 4, memory.host_rows = 0xffffffff, memory.delay = seed % 3;
    scheduler sched(memory, swapping{.batching = {.tau = 16}}, {.max_running = 6, .max_sequence = 44});
    test::driver<swapping> d(memory, sched, seed);
    for (request_id id = 0; id < 20; ++id)
      d.submit({.id = id, .prompt_tokens = 1 + d.draw(24), .max_new_tokens = 1 + d.draw(20)}, 100);
    d.drain(0);
    const auto& c = sched.counters();
    REQUIRE(c.swapped == c.preempted);
    REQUIRE(c.recomputed == d.lost);
    REQUIRE(c.recomputed <= c.preempted * 3);  // at most the partial page of each
    sum.swapped += c.swapped;
  }
  REQUIRE(sum.swapped > 20);
}

TEST_CASE("rows on their way hold a seat and time and nothing else") {
  test::tiered_memory memory;
  memory.pages = 8, memory.page_tokens = 1, memory.host_rows = 100, memory.delay = 3;
  policy<order::fcfs, batching::chunked, admission::when_it_fits, victim::newest, preemption::swap> rules;
  scheduler sched(memory, rules, {.max_running = 2});
  REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 3, .max_new_tokens = 4}));
  REQUIRE(sched.submit({.id = 2, .arrival = 2, .prompt_tokens = 3, .max_new_tokens = 4}));
  const auto run = [&] {
    memory.pass_time();
    auto entries = run_one(sched);
    for (const entry& e : entries) memory.computed[e.id] = e.begin + e.count;
    return entries;
  };
  run(), run();            // 4 rows each: full
  REQUIRE(run().empty());  // 2 was swapped out, and its pages have not left yet: nobody else loses any for it
  REQUIRE(sched.last() == outcome::transferring);
  REQUIRE(sched.counters().swapped == 1);
  REQUIRE(run().empty());
  REQUIRE(run().empty());
  REQUIRE(run().size() == 1);  // the pages have left
  REQUIRE(sched.running() == 1);
  REQUIRE(run().size() == 1);  // 1 is done
  REQUIRE(sched.find(1) == nullptr);
  REQUIRE(run().empty());  // 2 is swapped in
  REQUIRE(sched.running() == 1);
  REQUIRE(sched.last() == outcome::transferring);
  run(), run();
  const auto back = run();
  REQUIRE(back.size() == 1);
  REQUIRE(back[0].begin == 4);  // nothing is computed again
  REQUIRE(sched.counters().recomputed == 0);
  REQUIRE(run().size() == 1);
  REQUIRE(sched.last() == outcome::step);
}

TEST_CASE("requests that are not ready are passed and asked again and keep their place") {
  test::tiered_memory memory;
  memory.pages = 100, memory.page_tokens = 1;
  memory.unready = {{1, 2}, {2, 2}, {3, 2}};
  scheduler sched(memory, policy<>{.batching = {.tau = 4}}, {.max_running = 9, .max_parked = 2});
  for (request_id id = 0; id < 5; ++id)
    REQUIRE(sched.submit({.id = id, .arrival = static_cast<double>(id), .prompt_tokens = 2, .max_new_tokens = 1}));
  const auto ids = [&] { return test::ids(sched); };
  REQUIRE(ids() == std::vector<request_id>{0});  // 1 and 2 are parked: as many as a step may set aside
  REQUIRE(sched.waiting() == 4);
  REQUIRE(sched.cancel(2));  // also while it is parked
  REQUIRE(ids() == std::vector<request_id>{});
  REQUIRE(sched.last() == outcome::transferring);
  REQUIRE(ids() == std::vector<request_id>{1, 4});  // 3 is parked for the second time
  REQUIRE(ids() == std::vector<request_id>{3});
  REQUIRE_FALSE(sched.next());
  REQUIRE(sched.last() == outcome::idle);
  REQUIRE(sched.counters().parked == 5);
}

TEST_CASE("a hint moves a waiting request") {
  test::fake_memory memory{.pages = 100, .page_tokens = 1};
  struct most_hits {
    bool admit_before(const request& a, const request& b) const noexcept { return a.hit_tokens > b.hit_tokens; }
  };
  scheduler sched(memory, with<most_hits>{}, {.max_running = 1});
  for (request_id id = 0; id < 3; ++id) REQUIRE(sched.submit({.id = id, .prompt_tokens = 9, .max_new_tokens = 1}));
  REQUIRE(sched.hint(2, 5));
  REQUIRE(sched.hint(1, 3));
  REQUIRE(sched.hint(9, 3).code == errc::unknown_sequence);
  for (const request_id id : {2, 1, 0}) REQUIRE(run_one(sched).at(0).id == id);
}

namespace {

/// Rows counted in arrays: a host tier, transfers that take time, prefixes that are there or not yet. It never allocates.
struct flat_memory {
  static constexpr std::size_t most = 64;
  std::uint32_t free = 240, host = 120, delay = 2, tick = 0, leaving = 0;
  std::uint32_t held[most]{}, computed[most]{}, kept[most]{}, shared[most]{}, unready[most]{}, arrives[most]{};

  void pass_time() { ++tick, free += std::exchange(leaving, 0); }
  status reserve(request_id id, std::uint32_t tokens) {
    if (tokens > free) return {errc::out_of_pages, "pages", tokens, 0, free};
    free -= tokens, held[id] += tokens;
    return {};
  }
  status admit(request_id id) {
    if (unready[id] > 0) return --unready[id], status{errc::not_ready, "prefix"};
    if (const status s = reserve(id, resident(id)); !s) return s;
    computed[id] = resident(id);
    arrives[id] = kept[id] != 0 ? tick + delay : 0;
    return {};
  }
  std::uint32_t resident(request_id id) { return std::max(kept[id], shared[id]); }
  bool ready(request_id id) { return arrives[id] <= tick; }
  preemption_kind preempt(request_id id, preemption_kind wanted) {
    const std::uint32_t more = std::max(computed[id], kept[id]) - kept[id];
    if (wanted == preemption_kind::swap && more > host) wanted = preemption_kind::recompute;
    if (wanted == preemption_kind::swap) host -= more, kept[id] += more, leaving += std::exchange(held[id], 0);
    else host += std::exchange(kept[id], 0), free += std::exchange(held[id], 0);
    return wanted;
  }
  void release(request_id id) { free += std::exchange(held[id], 0), host += std::exchange(kept[id], 0); }
  std::uint64_t capacity_tokens() const { return 240; }
  std::uint64_t free_tokens() const { return free; }
  std::uint64_t leaving_tokens() const { return leaving; }
};
static_assert(AdmittingMemory<flat_memory> && ResidentMemory<flat_memory> && ReadyMemory<flat_memory> &&
              PreemptingMemory<flat_memory> && CountedMemory<flat_memory> && LeavingMemory<flat_memory>);

/// 64 texts from submission to end; answers the allocations meanwhile.
template <class P>
std::size_t allocations_of(P rules, scheduler_counters& sum) {
  flat_memory memory;
  for (request_id id = 0; id < memory.most; ++id) memory.shared[id] = id % 5 == 0 ? id / 2 : 0, memory.unready[id] = id % 7 == 0;
  scheduler sched(memory, std::move(rules), {.max_running = 16, .max_requests = 64, .max_sequence = 300});
  const std::size_t before = test::allocations();
  for (request_id id = 0; id < memory.most; ++id) {
    const auto n = static_cast<std::uint32_t>(id);
    if (!sched.submit({.id = id, .arrival = n / 4.0, .prompt_tokens = 1 + n * 3, .max_new_tokens = 40,
                       .priority = static_cast<std::int32_t>(n % 3), .tenant = n % 8, .deadline = n % 9 == 0 ? 30.0 : 1e9,
                       .group = n % 4, .rank = n % 6, .hit_tokens = memory.shared[id]}))
      std::abort();
  }
  std::uint64_t failed = 0;
  for (int i = 0; sched.live() > 0; ++i) {
    if (i > 100000) std::abort();
    memory.pass_time();
    const auto s = sched.next(i);
    while (sched.take_failure()) ++failed;
    if (!s) continue;
    if (!sched.commit(*s)) std::abort();
    for (const entry& e : s->entries) {
      memory.computed[e.id] = e.begin + e.count;
      if (e.wants_logits && !sched.token(e.id)) std::abort();
    }
  }
  const std::size_t during = test::allocations() - before;
  const scheduler_counters& c = sched.counters();
  REQUIRE(c.finished + failed == memory.most);
  REQUIRE(memory.free + memory.leaving == 240);
  sum.preempted += c.preempted, sum.yielded += c.yielded, sum.swapped += c.swapped, sum.parked += c.parked;
  sum.relegated += c.relegated, sum.failed += failed;
  return during;
}

}  // namespace

TEST_CASE("no combination of models allocates in a step") {
  scheduler_counters sum{};
  unsigned seed = 0;
  std::size_t allocated = 0;
  for (std::size_t o = 0; o < test::orders::size; ++o)
    for (std::size_t b = 0; b < test::batchings::size; ++b)
      for (std::size_t a = 0; a < test::admissions::size; ++a)
        for (std::size_t v = 0; v < test::victims::size; ++v)
          for (std::size_t x = 0; x < test::preemptions::size; ++x) {
            ++seed;
            INFO("order " << o << " batching " << b << " admission " << a << " victim " << v << " preemption " << x);
            const std::size_t n = allocations_of(
                test::any_policy{test::orders::at(o, seed), test::batchings::at(b, seed), test::admissions::at(a, seed),
                                 test::victims::at(v, seed), test::preemptions::at(x, seed)},
                sum);
            if (n != 0) CHECK(n == 0);
            allocated += n;
          }
  REQUIRE(allocated == 0);
  REQUIRE(seed == 7 * 5 * 4 * 3 * 3);
  REQUIRE(sum.preempted > 1000);
  REQUIRE(sum.swapped > 300);
  REQUIRE(sum.yielded > 100);
  REQUIRE(sum.parked > 1000);
  REQUIRE(sum.relegated > 100);
  REQUIRE(sum.failed > 100);
  REQUIRE(allocations_of(with<least_served>{.batching = {.tau = 64}}, sum) == 0);
}
