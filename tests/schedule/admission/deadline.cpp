// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/admission/deadline.hpp"

#include <string>

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/run_one.hpp"

using namespace quire;
using namespace quire::schedule;
using timely = policy<order::fcfs, batching::chunked, admission::deadline>;
using ids = std::vector<request_id>;

TEST_CASE("a hopeless request is rejected with the time it has and the time it needs") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, timely{.admission = {.seconds_per_prompt_token = 0.1, .seconds_per_new_token = 0.5}},
                  {.max_running = 1});
  const auto add = [&](request_id id, double deadline) {
    REQUIRE(sched.submit({.id = id,
                          .arrival = static_cast<double>(id),
                          .prompt_tokens = 10,
                          .max_new_tokens = 2,
                          .deadline = deadline}));
  };
  add(0, 100), add(1, 11.5), add(2, 12.1), add(3, std::numeric_limits<double>::infinity());
  REQUIRE(test::ids(sched, 10) == ids{0});
  REQUIRE(test::ids(sched, 10) == ids{0});  // 1 needs 2 seconds and has 1.5 when it is its turn
  REQUIRE(test::ids(sched, 10) == ids{2});
  const auto f = sched.take_failure();
  REQUIRE(f);
  REQUIRE(f->id == 1);
  REQUIRE(describe(f->why).find("out_of_range: milliseconds to the deadline is 1500, allowed 2000 to") == 0);
  REQUIRE_FALSE(sched.take_failure());
  REQUIRE(sched.counters().failed == 1);
  REQUIRE(sched.submit({.id = 9, .prompt_tokens = 1, .deadline = std::nan("")}).code == errc::not_finite);
}

TEST_CASE("or it is served behind all others") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, timely{.admission = {.seconds_per_prompt_token = 1, .relegate = true}}, {.max_running = 1});
  const auto add = [&](request_id id, double deadline) {
    REQUIRE(sched.submit({.id = id, .arrival = static_cast<double>(id), .prompt_tokens = 5, .deadline = deadline}));
  };
  add(0, 3), add(1, 4), add(2, 20);
  REQUIRE(test::ids(sched, 0) == ids{2});
  add(3, 100);
  REQUIRE(test::ids(sched, 1) == ids{3});
  REQUIRE(test::ids(sched, 2) == ids{0});
  REQUIRE(test::ids(sched, 3) == ids{1});
  REQUIRE(sched.counters().relegated == 2);
  REQUIRE(sched.counters().failed == 0);
  REQUIRE_FALSE(admission::deadline{.seconds_per_new_token = -1}.valid());
}
