// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/admission/watermark.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/run_one.hpp"
#include "schedule/tiered_memory.hpp"

using namespace quire::schedule;

TEST_CASE("so much of memory stays free, unless nothing else runs") {
  const admission::watermark w{.fraction = 0.25};
  REQUIRE(w.judge({}, 55, {.capacity = 100, .free = 80}).answer == answer::now);
  REQUIRE(w.judge({}, 56, {.capacity = 100, .free = 80}).answer == answer::later);
  REQUIRE(w.judge({}, 90, {.capacity = 100, .free = 80}).answer == answer::later);
  REQUIRE_FALSE(admission::watermark{.fraction = 1}.valid());
  REQUIRE_FALSE(admission::watermark{.fraction = -0.1}.valid());
  test::tiered_memory memory;
  memory.pages = 100;
  scheduler sched(memory, policy<order::fcfs, batching::chunked, admission::watermark>{.admission = w});
  for (request_id id = 0; id < 9; ++id)
    REQUIRE(sched.submit({.id = id,
                          .arrival = static_cast<double>(id),
                          .prompt_tokens = id == 8 ? 90u : 20u,
                          .max_new_tokens = 2,
                          .hit_tokens = 0}));
  REQUIRE(test::ids(sched) == std::vector<request_id>{0, 1, 2});  // a fourth would leave 20
  while (sched.find(7) != nullptr) test::run_one(sched);
  REQUIRE(test::ids(sched) == std::vector<request_id>{8});
}
