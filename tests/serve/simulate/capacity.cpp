// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/capacity.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire::serve::simulate;

namespace {
const auto nobody = [](const capacity_result&, double, bool) {};

/// Mean wait of an M/D/1 queue with service time s: rho s / (2 (1 - rho)).
double md1_wait(double rate, double s) { return rate * s < 1 ? rate * s * s / (2 * (1 - rate * s)) : 1e9; }
}  // namespace

TEST_CASE("the search finds where the wait of an M/D/1 queue crosses the limit") {
  constexpr double service = 0.1, limit = 2;
  const double exact = 2 * limit / (service * (service + 2 * limit));  // solved for the rate
  for (const double start : {0.5, 2.0, 9.0, 40.0}) {
    const capacity_result r = find_capacity(
        {.delay_limit = limit, .start = start}, [&](double rate) { return trial_result{0.01, md1_wait(rate, service)}; }, nobody);
    CAPTURE(start, r.per_second, exact, r.trials);
    REQUIRE(r.per_second <= exact + 0.005);
    REQUIRE(r.per_second >= exact * 0.97);
    REQUIRE(r.refused > r.per_second);
    REQUIRE(r.trials <= 20);
  }
}

TEST_CASE("either limit binds, no rate is tried twice, and none past one that failed") {
  std::vector<double> tried;
  const capacity_result r = find_capacity(
      {.gap_limit = 0.1, .start = 1},
      [&](double rate) {
        tried.push_back(rate);
        return trial_result{rate > 3.3 ? 0.2 : 0.05, 0.0};
      },
      [&](const capacity_result& c, double rate, bool held) {
        REQUIRE(held == (rate <= 3.3));
        REQUIRE(c.per_second < c.refused);
      });
  REQUIRE(r.per_second <= 3.3);
  REQUIRE(r.per_second >= 3.3 * 0.97);
  double bad = 1e9;
  for (std::size_t i = 0; i < tried.size(); ++i) {
    REQUIRE(tried[i] < bad);
    for (std::size_t k = 0; k < i; ++k) REQUIRE(tried[i] != tried[k]);
    if (tried[i] > 3.3) bad = tried[i];
  }
}

TEST_CASE("a system that never holds has capacity 0, one that always holds stops by count") {
  REQUIRE(find_capacity({}, [](double) { return trial_result{1, 0}; }, nobody).per_second == 0);
  const capacity_result r = find_capacity({.most_trials = 6}, [](double) { return trial_result{0, 0}; }, nobody);
  REQUIRE(r.trials == 6);
  REQUIRE(r.per_second > 1);
}
