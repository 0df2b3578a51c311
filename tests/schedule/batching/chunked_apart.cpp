// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/batching/chunked_apart.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;
using counts = std::vector<std::uint32_t>;

TEST_CASE("chunks and decodes take turns and never share a step") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, policy<order::fcfs, batching::chunked_apart>{.batching = {.tau = 8}});
  REQUIRE(sched.submit({.id = 0, .prompt_tokens = 2, .max_new_tokens = 50}));
  REQUIRE(sched.submit({.id = 1, .prompt_tokens = 2, .max_new_tokens = 50}));
  REQUIRE(test::counts(sched) == counts{2, 2});
  REQUIRE(sched.submit({.id = 2, .arrival = 1, .prompt_tokens = 17}));
  REQUIRE(test::counts(sched) == counts{1, 1});
  REQUIRE(test::counts(sched) == counts{8});
  REQUIRE(test::counts(sched) == counts{1, 1});
  REQUIRE(test::counts(sched) == counts{8});
  REQUIRE(test::counts(sched) == counts{1, 1});
  REQUIRE(test::counts(sched) == counts{1});
  REQUIRE(test::counts(sched) == counts{1, 1});
  REQUIRE(test::counts(sched) == counts{1, 1});
  REQUIRE_FALSE(batching::chunked_apart{.tau = 0}.valid());
}
