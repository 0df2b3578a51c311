// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/victim/newest.hpp"

#include "catch.hpp"
#include "schedule/order_laws.hpp"

using namespace quire::schedule;

TEST_CASE("the newest goes first whatever else it is") {
  for (unsigned seed = 0; seed < 5; ++seed) REQUIRE(test::victim_lawful(victim::newest{}, seed));
  REQUIRE(victim::newest{}.evict_before({.arrival = 2, .priority = 9}, {.arrival = 1}));
  REQUIRE_FALSE(victim::newest{}.evict_before({.arrival = 1}, {.arrival = 2, .priority = 9}));
}
