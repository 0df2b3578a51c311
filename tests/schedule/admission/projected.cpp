// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/admission/projected.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/run_one.hpp"
#include "schedule/tiered_memory.hpp"

using namespace quire::schedule;

TEST_CASE("rows in use, to come and wanted stay under a share of memory") {
  const admission::projected p{.theta = 0.5, .steps = 10};
  const request r{.prompt_tokens = 5, .max_new_tokens = 100};  // 15 rows within ten steps
  REQUIRE(p.judge(r, 5, {.capacity = 100, .free = 75, .growth = 10}).answer == answer::now);
  REQUIRE(p.judge(r, 5, {.capacity = 100, .free = 75, .growth = 11}).answer == answer::later);
  request cached = r;
  cached.hit_tokens = 4;  // those rows are in use already
  REQUIRE(p.judge(cached, 1, {.capacity = 100, .free = 75, .growth = 14}).answer == answer::now);
  REQUIRE(p.judge({.prompt_tokens = 5, .max_new_tokens = 1}, 5, {.capacity = 100, .free = 75, .growth = 20}).answer ==
          answer::now);
  REQUIRE_FALSE(admission::projected{.theta = 0}.valid());
  REQUIRE_FALSE(admission::projected{.theta = 1.1}.valid());
}

TEST_CASE("with a horizon to the end nothing is preempted") {
  test::tiered_memory memory;
  memory.pages = 60;
  scheduler sched(
      memory, policy<order::fcfs, batching::chunked, admission::projected>{.admission = {.theta = 1, .steps = 100}});
  for (request_id id = 0; id < 30; ++id)
    REQUIRE(sched.submit({.id = id,
                          .prompt_tokens = static_cast<std::uint32_t>(1 + id % 7),
                          .max_new_tokens = static_cast<std::uint32_t>(1 + id % 20)}));
  std::uint32_t most = 0;
  while (sched.live() > 0) {
    test::run_one(sched);
    most = std::max(most, sched.running());
  }
  REQUIRE(sched.counters().preempted == 0);
  REQUIRE(most > 3);
}
