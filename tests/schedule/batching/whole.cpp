// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/batching/whole.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/driver.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;
using counts = std::vector<std::uint32_t>;
using orca = policy<order::fcfs, batching::whole>;

TEST_CASE("whole prompts run beside decodes") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, orca{});
  REQUIRE(sched.submit({.id = 0, .prompt_tokens = 2, .max_new_tokens = 50}));
  REQUIRE(test::counts(sched) == counts{2});
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 700}));
  REQUIRE(test::counts(sched) == counts{1, 700});
}

TEST_CASE("a prompt that finds too little room in the step waits whole and one longer than a step comes in pieces") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, orca{.batching = {.max_tokens = 10}});
  REQUIRE(sched.submit({.id = 0, .arrival = 0, .prompt_tokens = 6, .max_new_tokens = 3}));
  REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 5}));
  REQUIRE(sched.submit({.id = 2, .arrival = 2, .prompt_tokens = 1}));
  REQUIRE(test::counts(sched) == counts{6});  // 5 more would be 11; 2 does not pass it
  REQUIRE(test::counts(sched) == counts{1, 5, 1});
  REQUIRE(sched.submit({.id = 3, .arrival = 3, .prompt_tokens = 23}));
  REQUIRE(test::counts(sched) == counts{1, 9});
  REQUIRE(test::counts(sched) == counts{10});
  REQUIRE(test::counts(sched) == counts{4});
  REQUIRE_FALSE(batching::whole{.max_tokens = 0}.valid());
}

TEST_CASE("room to the end is reserved at admission so nothing is preempted for want of it") {
  test::fake_memory memory{.pages = 10};
  scheduler sched(memory, orca{});
  REQUIRE(sched.submit({.id = 0, .prompt_tokens = 2, .max_new_tokens = 5}));
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 2, .max_new_tokens = 4}));
  REQUIRE(test::counts(sched) == counts{2});  // 6 of 10 rows are promised, 1 needs 5
  REQUIRE(memory.used == 6);
  scheduler_counters sum{};
  for (unsigned seed = 0; seed < 40; ++seed) test::random_workload(seed, orca{}, &sum);
  REQUIRE(sum.preempted == 0);
  REQUIRE(sum.recomputed == 0);
}
