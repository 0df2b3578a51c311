// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/victim/least_lost_work.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/order_laws.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;

TEST_CASE("who computed least goes first, rows that were found do not count") {
  for (unsigned seed = 0; seed < 5; ++seed) REQUIRE(test::victim_lawful(victim::least_lost_work{}, seed));
  const victim::least_lost_work v;
  request found{.arrival = 1}, worked{.arrival = 2};
  found.so_far = {.computed = 100, .resident = 90};
  worked.so_far = {.computed = 50};
  REQUIRE(v.evict_before(found, worked));
  found.so_far.resident = 50;
  REQUIRE(v.evict_before(worked, found));
}

TEST_CASE("it loses fewer rows than the newest when a long prompt came last") {
  const auto recomputed = [](auto rules) {
    test::fake_memory memory{.pages = 60};
    scheduler sched(memory, rules, {.max_running = 2});
    REQUIRE(sched.submit({.id = 0, .arrival = 0, .prompt_tokens = 5, .max_new_tokens = 20}));
    REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 45, .max_new_tokens = 12}));
    while (sched.live() > 0) test::run_one(sched);
    REQUIRE(sched.counters().preempted > 0);
    return sched.counters().recomputed;
  };
  REQUIRE(recomputed(policy<order::fcfs, batching::chunked, admission::when_it_fits, victim::least_lost_work>{}) <
          recomputed(policy<>{}) / 3);
}
