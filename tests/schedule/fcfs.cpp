// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/fcfs.hpp"

#include "catch.hpp"
#include "order_laws.hpp"

using namespace quire::schedule;

TEST_CASE("fcfs orders are strict weak orders") {
  for (unsigned seed = 0; seed < 5; ++seed) REQUIRE(test::orders_lawful(fcfs{}, seed));
}

TEST_CASE("fcfs admits the oldest and evicts the newest whatever their progress") {
  const request old{.id = 9, .arrival = 1, .so_far = {5, 0, 3}},
      young{.id = 1, .arrival = 2, .priority = 7, .so_far = {0, 4, 0}};
  REQUIRE(fcfs{}.admit_before(old, young));
  REQUIRE_FALSE(fcfs{}.admit_before(young, old));
  REQUIRE(fcfs{}.evict_before(young, old));
  REQUIRE_FALSE(fcfs{}.evict_before(old, young));
  REQUIRE_FALSE(fcfs{}.yields(young, old));
}
