// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/load.hpp"

#include "catch.hpp"

using namespace quire::schedule;

TEST_CASE("one request is alone wherever it is and two are not") {
  REQUIRE(load{.running = 1}.alone());
  REQUIRE(load{.waiting = 1}.alone());
  REQUIRE_FALSE(load{}.alone());
  REQUIRE_FALSE(load{.running = 1, .waiting = 1}.alone());
  REQUIRE(load{.capacity = 10, .free = 3}.used() == 7);
}
