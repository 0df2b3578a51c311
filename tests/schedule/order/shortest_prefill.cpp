// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/shortest_prefill.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/order_laws.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;

TEST_CASE("shortest prefill is a strict weak order of what is left to compute") {
  for (unsigned seed = 0; seed < 5; ++seed)
    for (const double s : {0.0, 0.1, 10.0})
      REQUIRE(test::order_lawful(order::shortest_prefill{.seconds_per_token = s}, seed));
  const order::shortest_prefill o{.seconds_per_token = 0.1};
  const request lengthy{.arrival = 0, .prompt_tokens = 100}, brief{.arrival = 5, .prompt_tokens = 10};
  REQUIRE(o.admit_before(brief, lengthy));
  request cached = lengthy;
  cached.hit_tokens = 95;
  REQUIRE(o.admit_before(cached, brief));
  REQUIRE_FALSE(o.admit_before(request{.arrival = 9.1, .prompt_tokens = 10}, lengthy));  // it came too late
  REQUIRE_FALSE(order::shortest_prefill{.seconds_per_token = -1}.valid());
}

TEST_CASE("a long prompt among short ones is served when its length has been waited for") {
  const auto steps = [](double seconds) {
    test::fake_memory memory{.pages = 100};
    scheduler sched(memory, policy<order::shortest_prefill>{.order = {.seconds_per_token = seconds}},
                    {.max_running = 1});
    return test::steps_until_served(sched, {.arrival = 1, .prompt_tokens = 50}, [](int i) {
      return request{.id = static_cast<request_id>(i), .arrival = 1.0 * i, .prompt_tokens = 1, .max_new_tokens = 2};
    });
  };
  REQUIRE(steps(1e6) == 2000);
  REQUIRE(steps(0.5) < 2 * 35);
}
