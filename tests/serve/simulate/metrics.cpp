// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/metrics.hpp"

#include "catch.hpp"

using namespace quire::serve::simulate;

TEST_CASE("quantiles are of nearest rank, and adding afterwards is allowed") {
  samples s;
  REQUIRE(std::isnan(s.quantile(0.5)));
  REQUIRE(std::isnan(s.mean()));
  for (int i = 100; i >= 1; --i) s.add(i);
  REQUIRE(s.quantile(0.5) == 50);
  REQUIRE(s.quantile(0.99) == 99);
  REQUIRE(s.quantile(0.999) == 100);
  REQUIRE(s.quantile(0) == 1);
  REQUIRE(s.mean() == Approx(50.5));
  REQUIRE(s.worst_tenth() == Approx(95.5));
  s.add(1000);
  REQUIRE(s.worst() == 1000);
}

TEST_CASE("moments of a stream are those of the list") {
  moments m;
  for (const double x : {2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0}) m.add(x);
  REQUIRE(m.mean() == Approx(5));
  REQUIRE(m.deviation() == Approx(2));
  REQUIRE(m.variation() == Approx(0.4));
  REQUIRE(moments{}.variation() == 0);
}

TEST_CASE("goodput counts requests that kept both promises") {
  report r;
  r.makespan = 10;
  r.lives = {{.arrived = 1, .first_token = 1.5, .finished = 3, .longest_gap = 0.1},
             {.arrived = 1, .first_token = 3.5, .finished = 5, .longest_gap = 0.1},
             {.arrived = 1, .first_token = 1.5, .finished = 3, .longest_gap = 0.4},
             {.arrived = 1}};
  REQUIRE(r.goodput({.first_token = 1, .gap = 0.2}) == Approx(0.1));
  REQUIRE(r.goodput({.gap = 0.2}) == Approx(0.2));
  REQUIRE(r.goodput({}) == Approx(0.3));
}
