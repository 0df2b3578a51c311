// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/table_profile.hpp"

#include <cmath>

#include "catch.hpp"

using namespace quire::calibrate;

TEST_CASE("a table meets its points and is straight between them") {
  const profile::table t({1, 0.5, 0.75, 0});
  CHECK(t(0) == 1);
  CHECK(t(1.0 / 3) == Approx(0.5));
  CHECK(t(0.5) == Approx(0.625));
  CHECK(t(1) == 0);
  CHECK(t(-1) == 1);
  CHECK(t(2) == 0);
  CHECK(t(std::nan("")) == 1);
  CHECK(profile::table()(0.5) == 0);
  CHECK(profile::table({0.25})(0.5) == 0.25);
}

TEST_CASE("a table of a profile reads the same at any resolution") {
  for (std::uint32_t n : {2u, 3u, 17u, 256u, 10000u}) {
    const auto t = profile::tabulate(profile::linear{}, n);
    for (int i = 0; i <= 1000; ++i)
      if (std::fabs(t(i / 1000.0) - (1 - i / 1000.0)) > 1e-12) FAIL(n << " points at " << i);
  }
  const auto t = profile::tabulate(profile::rex{}, 256);
  double worst = 0;
  for (int i = 0; i <= 10000; ++i) worst = std::max(worst, std::fabs(t(i / 10000.0) - profile::rex{}(i / 10000.0)));
  CHECK(worst < 1e-4);
  CHECK(worst > 0);
}
