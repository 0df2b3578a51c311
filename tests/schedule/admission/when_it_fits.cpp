// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/admission/when_it_fits.hpp"

#include "catch.hpp"

using namespace quire::schedule;

TEST_CASE("when it fits leaves everything to memory") {
  REQUIRE(admission::when_it_fits{}.judge({}, 1000, {.capacity = 10, .free = 0}).answer == answer::now);
}
