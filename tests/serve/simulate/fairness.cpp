// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/fairness.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire::serve::simulate;

TEST_CASE("Jain's index is 1 for equals and 1/n for a monopoly") {
  REQUIRE(jain_index(std::vector<double>{3, 3, 3}) == Approx(1));
  REQUIRE(jain_index(std::vector<double>{8, 0, 0, 0}) == Approx(0.25));
  REQUIRE(jain_index(std::vector<double>{1, 2, 3}) == Approx(36.0 / 42));
  REQUIRE(jain_index({}) == 1);
}

TEST_CASE("the service gap counts only while both tenants wait") {
  service_gap g(2);
  g.served(0, 100);  // nobody waits
  g.note();
  REQUIRE(g.largest() == 0);
  g.arrived(0), g.arrived(1);
  g.note();
  g.served(0, 30);
  g.note();
  REQUIRE(g.largest() == 30);
  g.served(1, 50);  // the difference went from 100 to 130 to 80: 50 in the stretch from 130 to 80
  g.note();
  REQUIRE(g.largest() == 50);
  g.admitted(1);  // from here on a new stretch
  g.served(0, 1000);
  g.note();
  g.arrived(1);
  g.note();
  g.served(1, 20);
  g.note();
  REQUIRE(g.largest() == 50);
}
