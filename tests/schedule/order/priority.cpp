// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/priority.hpp"

#include <limits>

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/order_laws.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;

namespace {
constexpr double never = std::numeric_limits<double>::infinity();
}

TEST_CASE("priority is a strict weak order with and without ageing") {
  for (unsigned seed = 0; seed < 5; ++seed)
    for (const double ageing : {0.0, 0.3, 1.0, never})
      for (const bool preempts : {false, true})
        REQUIRE(test::order_lawful(order::priority{.ageing_seconds = ageing, .preempts = preempts}, seed));
}

TEST_CASE("a level of priority is worth so many seconds of waiting") {
  const order::priority p{.ageing_seconds = 10};
  const request old{.arrival = 0, .priority = 0}, urgent{.arrival = 9, .priority = 1},
      late{.arrival = 11, .priority = 1};
  REQUIRE(p.admit_before(urgent, old));
  REQUIRE(p.admit_before(old, late));
  REQUIRE(order::priority{.ageing_seconds = never}.admit_before(late, old));
  REQUIRE_FALSE(p.yields(old, urgent));  // off unless asked for
  const order::priority q{.ageing_seconds = 10, .preempts = true};
  REQUIRE(q.yields(old, urgent));
  REQUIRE_FALSE(q.yields(old, late));                       // it has aged past it
  REQUIRE_FALSE(q.yields({.arrival = 5}, {.arrival = 1}));  // equals never give way
}

TEST_CASE("ageing lets nobody starve and its absence does") {
  const auto steps = [](double ageing) {
    test::fake_memory memory{.pages = 100};
    scheduler sched(memory, policy<order::priority>{.order = {.ageing_seconds = ageing}}, {.max_running = 1});
    return test::steps_until_served(sched, {.arrival = 1, .prompt_tokens = 1, .priority = 0}, [](int i) {
      return request{
          .id = static_cast<request_id>(i), .arrival = 1.0 * i, .prompt_tokens = 1, .max_new_tokens = 2, .priority = 3};
    });
  };
  REQUIRE(steps(never) == 2000);
  REQUIRE(steps(10) < 2 * 40);  // passed by those of its first 30 seconds, two steps each
}
