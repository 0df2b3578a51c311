// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/decode_estimate.hpp"

#include "catch.hpp"

using namespace quire::schedule::prefix;

TEST_CASE("decode estimate: max_new_tokens at first, then the task's mean, never above max_new_tokens") {
  decode_estimate expected(2);
  REQUIRE(expected(7, 500) == 500);
  expected.observe(7, 10);
  expected.observe(7, 40);
  expected.observe(7, 100);
  REQUIRE(expected(7, 500) == Approx(50));
  REQUIRE(expected(7, 20) == 20);
  REQUIRE(expected(8, 500) == 500);  // another task
  expected.observe(8, 3);
  expected.observe(9, 3);  // no room for a third
  REQUIRE(expected(8, 500) == 3);
  REQUIRE(expected(9, 500) == 500);
}
