// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/generation.hpp"

#include <cmath>

#include "catch.hpp"

using namespace quire::serve;

TEST_CASE("greedy takes the first of the largest and never a NaN") {
  const float nan = std::nanf(""), inf = INFINITY;
  const auto of = [](std::vector<float> v) { return greedy(v); };
  REQUIRE(of({1, 3, 2, 3}) == 1);
  REQUIRE(of({nan, -2, nan, -1}) == 3);
  REQUIRE(of({-inf, -inf}) == 0);
  REQUIRE(of({nan, nan}) == -1);
  REQUIRE(of({}) == -1);
}
