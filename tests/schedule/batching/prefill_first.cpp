// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/batching/prefill_first.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;
using counts = std::vector<std::uint32_t>;

TEST_CASE("decodes stall while there are prompts to compute") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, policy<order::fcfs, batching::prefill_first>{.batching = {.max_batched = 10}});
  REQUIRE(sched.submit({.id = 0, .arrival = 0, .prompt_tokens = 4, .max_new_tokens = 50}));
  REQUIRE(test::counts(sched) == counts{4});
  REQUIRE(test::counts(sched) == counts{1});
  REQUIRE(sched.submit({.id = 1, .arrival = 1, .prompt_tokens = 6}));
  REQUIRE(sched.submit({.id = 2, .arrival = 2, .prompt_tokens = 4}));
  REQUIRE(sched.submit({.id = 3, .arrival = 3, .prompt_tokens = 5}));
  REQUIRE(sched.submit({.id = 4, .arrival = 4, .prompt_tokens = 25}));
  REQUIRE(test::counts(sched) == counts{6, 4});
  REQUIRE(test::counts(sched) == counts{5});
  REQUIRE(test::counts(sched) == counts{10});  // longer than a step: in pieces of it
  REQUIRE(test::counts(sched) == counts{10});
  REQUIRE(test::counts(sched) == counts{5});
  REQUIRE(test::counts(sched) == counts{1});
}

TEST_CASE("prompts that find no room leave the step to decodes") {
  test::fake_memory memory{.pages = 10};
  scheduler sched(memory, policy<order::fcfs, batching::prefill_first>{});
  REQUIRE(sched.submit({.id = 0, .prompt_tokens = 6, .max_new_tokens = 3}));
  REQUIRE(test::counts(sched) == counts{6});
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 9}));
  REQUIRE(test::counts(sched) == counts{1});
  REQUIRE(test::counts(sched) == counts{1});
  REQUIRE(test::counts(sched) == counts{9});
  REQUIRE_FALSE(batching::prefill_first{.max_batched = 0}.valid());
}
