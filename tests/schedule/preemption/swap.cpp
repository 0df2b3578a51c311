// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/preemption/swap.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/driver.hpp"

using namespace quire::schedule;

TEST_CASE("a host pool that is full turns swaps into recomputations and never into failures") {
  using swapping = policy<order::fcfs, batching::chunked, admission::when_it_fits, victim::newest, preemption::swap>;
  REQUIRE(preemption::swap{}.kind({}) == preemption_kind::swap);
  test::tiered_memory memory;
  memory.pages = 24, memory.host_rows = 25, memory.delay = 1;
  scheduler sched(memory, swapping{.batching = {.tau = 32}}, {.max_running = 8, .max_sequence = 24});
  test::driver<swapping> d(memory, sched, 5);
  for (request_id id = 0; id < 60; ++id)
    d.submit({.id = id, .prompt_tokens = 1 + d.draw(12), .max_new_tokens = 1 + d.draw(12)}, 100);
  d.drain(0);
  REQUIRE(d.finished == 60);
  REQUIRE(memory.refused_swaps > 0);
  REQUIRE(sched.counters().swapped > 5);
  REQUIRE(sched.counters().swapped + memory.refused_swaps >= sched.counters().preempted);
  REQUIRE(sched.counters().failed == 0);
}
