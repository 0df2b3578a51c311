// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/fcfs.hpp"

#include "catch.hpp"
#include "schedule/order_laws.hpp"

using namespace quire::schedule;

TEST_CASE("fcfs is a strict weak order that admits the oldest whatever else it is") {
  for (unsigned seed = 0; seed < 5; ++seed) REQUIRE(test::order_lawful(order::fcfs{}, seed));
  const request old{.id = 9, .arrival = 1}, young{.id = 1, .arrival = 2, .priority = 7, .hit_tokens = 50};
  REQUIRE(order::fcfs{}.admit_before(old, young));
  REQUIRE_FALSE(order::fcfs{}.admit_before(young, old));
}
