// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/batching/memory_centric.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/run_one.hpp"
#include "schedule/tiered_memory.hpp"

using namespace quire::schedule;
using counts = std::vector<std::uint32_t>;
using by_memory = policy<order::fcfs, batching::memory_centric>;

TEST_CASE("memory and not the number of requests limits a batch") {
  test::tiered_memory memory;
  memory.pages = 100;
  scheduler sched(memory, by_memory{.batching = {.theta = 0.9, .steps = 4}});
  for (request_id id = 0; id < 20; ++id)
    REQUIRE(sched.submit({.id = id, .arrival = static_cast<double>(id), .prompt_tokens = 5, .max_new_tokens = 20}));
  // each holds 5 rows and may hold 9 within four steps: 10 of them make 90
  REQUIRE(test::counts(sched) == counts(10, 5));
  // 9 more decodes each and a row fewer to come every time: never more than 90 in use while nobody is admitted
  while (sched.running() == 10 && sched.counters().steps < 18) {
    test::run_one(sched);
    REQUIRE(memory.used <= 100);
  }
}

TEST_CASE("the guard bounds a step but never leaves a decode out and a request alone is overruled") {
  test::tiered_memory memory;
  memory.pages = 100;
  scheduler sched(memory, by_memory{.batching = {.theta = 0.5, .steps = 0, .guard = 2}});
  for (request_id id = 0; id < 4; ++id)
    REQUIRE(sched.submit({.id = id, .arrival = static_cast<double>(id), .prompt_tokens = 1, .max_new_tokens = 9}));
  REQUIRE(test::counts(sched) == counts{1, 1});
  REQUIRE(test::counts(sched) == counts{1, 1});
  sched.policy().batching.guard = 4;
  REQUIRE(test::counts(sched) == counts{1, 1, 1, 1});
  sched.policy().batching.guard = 2;
  REQUIRE(test::counts(sched) == counts{1, 1, 1, 1});
  test::tiered_memory other;
  other.pages = 100;
  scheduler large(other, by_memory{.batching = {.theta = 0.5}});
  REQUIRE(large.submit({.id = 0, .prompt_tokens = 90}));
  REQUIRE(test::counts(large) == counts{90});
  REQUIRE_FALSE(batching::memory_centric{.guard = 0}.valid());
  REQUIRE_FALSE(batching::memory_centric{.theta = 1.5}.valid());
}
