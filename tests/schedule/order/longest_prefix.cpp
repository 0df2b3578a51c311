// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/longest_prefix.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/order_laws.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;

TEST_CASE("longest prefix is a strict weak order of hits, equal hits by arrival") {
  for (unsigned seed = 0; seed < 5; ++seed)
    for (const double s : {0.0, 0.1, 10.0})
      REQUIRE(test::order_lawful(order::longest_prefix{.seconds_per_row = s}, seed));
  const order::longest_prefix o{.seconds_per_row = 1};
  const request cold{.arrival = 0, .prompt_tokens = 100}, warm{.arrival = 5, .prompt_tokens = 100, .hit_tokens = 64};
  REQUIRE(o.admit_before(warm, cold));
  REQUIRE(o.admit_before(cold, request{.arrival = 65, .prompt_tokens = 100, .hit_tokens = 64}));  // ageing
  REQUIRE(o.admit_before(cold, request{.arrival = 1, .prompt_tokens = 100}));
  REQUIRE_FALSE(order::longest_prefix{.seconds_per_row = -1}.valid());
}

TEST_CASE("a cold request among hits is served when they are worth less than its wait") {
  const auto steps = [](double seconds) {
    test::fake_memory memory{.pages = 100};
    scheduler sched(memory, policy<order::longest_prefix>{.order = {.seconds_per_row = seconds}}, {.max_running = 1});
    return test::steps_until_served(sched, {.arrival = 1, .prompt_tokens = 50}, [](int i) {
      return request{.id = static_cast<request_id>(i),
                     .arrival = 1.0 * i,
                     .prompt_tokens = 50,
                     .max_new_tokens = 2,
                     .hit_tokens = 40};
    });
  };
  REQUIRE(steps(1e6) == 2000);
  REQUIRE(steps(0.5) < 2 * 35);
}
