// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/victim/lowest_priority.hpp"

#include "catch.hpp"
#include "schedule/order_laws.hpp"

using namespace quire::schedule;

TEST_CASE("the least urgent goes first and among equals the newest") {
  for (unsigned seed = 0; seed < 5; ++seed) REQUIRE(test::victim_lawful(victim::lowest_priority{}, seed));
  const victim::lowest_priority v;
  REQUIRE(v.evict_before({.arrival = 1, .priority = 0}, {.arrival = 2, .priority = 1}));
  REQUIRE(v.evict_before({.arrival = 2, .priority = 1}, {.arrival = 1, .priority = 1}));
}
