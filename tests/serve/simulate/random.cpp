// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/random.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire::serve::simulate;

namespace {
struct spread {
  double mean = 0, cv = 0;
};
template <class Draw>
spread measure(Draw draw, int n = 200000) {
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double x = draw();
    REQUIRE(x >= 0);
    sum += x, squares += x * x;
  }
  const double mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean) / mean};
}
}  // namespace

TEST_CASE("simulated draws are the published sequence") {
  draws d(1234567);  // SplitMix64's first outputs for this seed
  for (const std::uint64_t x : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u}) REQUIRE(d.bits() == x);
}

TEST_CASE("times between arrivals have the mean and the spread that was asked for") {
  draws d(7);
  const spread e = measure([&] { return d.exponential(3); });
  REQUIRE(e.mean == Approx(3).epsilon(0.02));
  REQUIRE(e.cv == Approx(1).epsilon(0.02));
  for (const double cv : {0.25, 0.8, 1.0, 2.0, 4.0}) {
    const spread g = measure([&] { return d.gamma(5, cv); });
    CAPTURE(cv);
    REQUIRE(g.mean == Approx(5).epsilon(0.05));
    REQUIRE(g.cv == Approx(cv).epsilon(0.06));
  }
}

TEST_CASE("a gamma of spread one is exponential: the same share lies below each quantile") {
  draws d(11);
  for (const double q : {0.1, 0.5, 0.9}) {
    const double at = -std::log(1 - q);
    int below = 0;
    for (int i = 0; i < 100000; ++i) below += d.gamma(1, 1) < at;
    REQUIRE(below / 1e5 == Approx(q).margin(0.006));
  }
}

TEST_CASE("the number of further turns is geometric") {
  draws d(5);
  std::vector<double> count(40);
  double sum = 0;
  constexpr int n = 200000;
  for (int i = 0; i < n; ++i) {
    const std::uint32_t k = d.geometric(4.5);
    sum += k;
    if (k < count.size()) count[k] += 1;
  }
  REQUIRE(sum / n == Approx(4.5).epsilon(0.02));
  for (std::size_t k = 0; k < 8; ++k) REQUIRE(count[k + 1] / count[k] == Approx(4.5 / 5.5).epsilon(0.05));
  REQUIRE(d.geometric(0) == 0);
}
