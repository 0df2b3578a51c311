// SPDX-License-Identifier: Apache-2.0
#include "quire/evaluate/summary.hpp"

#include <random>

#include "catch.hpp"

using namespace quire::evaluate;

TEST_CASE("quantiles are nearest ranks") {
  const std::vector<double> x{5, 1, 4, 2, 3};
  REQUIRE(quantile(x, 0) == 1);
  REQUIRE(quantile(x, 0.2) == 1);
  REQUIRE(quantile(x, 0.21) == 2);
  REQUIRE(quantile(x, 0.5) == 3);
  REQUIRE(quantile(x, 0.99) == 5);
  REQUIRE(quantile(x, 1) == 5);
  REQUIRE(std::isnan(quantile({}, 0.5)));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  REQUIRE(quantile(std::vector<double>{nan, 2, nan, 1}, 0.5) == 2);
  REQUIRE(std::isnan(quantile(std::vector<double>{nan, 2, nan, 1}, 0.9)));
  const distribution d = summarize(x);
  REQUIRE((d.count == 5 && d.mean == 3 && d.p50 == 3 && d.p90 == 5 && d.p99 == 5));
  REQUIRE(std::isnan(mean({})));
}

TEST_CASE("drift: means by position over repeats of the period") {
  std::vector<double> x;
  for (int repeat = 0; repeat < 3; ++repeat)
    for (int i = 0; i < 10; ++i) x.push_back(i + 100 * repeat);
  REQUIRE(mean_by_position(x, 10, 2) == std::vector<double>{102, 107});
  REQUIRE(mean_by_position(x, 10, 10)[9] == 109);
  const auto uneven = mean_by_position(x, 10, 3);  // 4, 3 and 3 positions
  REQUIRE(uneven[0] == 101.5);
  REQUIRE(uneven[1] == 105);
  REQUIRE(uneven[2] == 108);
}

TEST_CASE("the normal quantile is the one of the tables") {
  REQUIRE(normal_quantile_two_sided(0.95) == Approx(1.959963985).epsilon(1e-8));
  REQUIRE(normal_quantile_two_sided(0.99) == Approx(2.575829304).epsilon(1e-8));
  REQUIRE(normal_quantile_two_sided(0.5) == Approx(0.6744897502).epsilon(1e-8));
}

TEST_CASE("Wilson's interval: published values, the ends, and coverage") {
  REQUIRE(wilson(81, 263).low == Approx(0.2553).margin(5e-5));  // Newcombe 1998, method 3
  REQUIRE(wilson(81, 263).high == Approx(0.3662).margin(5e-5));
  REQUIRE(wilson(15, 148).low == Approx(0.0624).margin(5e-5));
  REQUIRE(wilson(15, 148).high == Approx(0.1605).margin(5e-5));
  REQUIRE(wilson(0, 20).low == 0);
  REQUIRE(wilson(0, 20).high == Approx(0.1611).margin(5e-5));
  REQUIRE(wilson(20, 20).high == 1);
  REQUIRE((wilson(0, 0).low == 0 && wilson(0, 0).high == 1));
  quire::splitmix64 d(4);
  int inside = 0;
  for (int i = 0; i < 2000; ++i) {
    std::size_t hits = 0;
    for (int k = 0; k < 50; ++k) hits += d.unit() < 0.8;
    const interval w = wilson(hits, 50);
    inside += w.low <= 0.8 && 0.8 <= w.high;
  }
  REQUIRE(inside > 2000 * 0.92);
  REQUIRE(inside < 2000 * 0.98);
}

TEST_CASE("bootstrap: the same for the same seed, close to the normal interval where that holds") {
  std::mt19937 random(2);
  std::vector<double> x;
  for (int i = 0; i < 400; ++i) x.push_back(static_cast<double>(random() % 1000) / 1000);
  const interval a = bootstrap_mean(x), b = bootstrap_mean(x), c = bootstrap_mean(x, {}, {.seed = 2});
  REQUIRE((a.low == b.low && a.high == b.high));
  REQUIRE((a.low != c.low || a.high != c.high));
  const double m = mean(x), sigma = 1 / std::sqrt(12.0 * 400);
  REQUIRE(a.low == Approx(m - 1.96 * sigma).margin(0.004));
  REQUIRE(a.high == Approx(m + 1.96 * sigma).margin(0.004));
  const std::vector<double> constant(20, 3.0);
  REQUIRE((bootstrap_mean(constant).low == 3 && bootstrap_mean(constant).high == 3));
  REQUIRE(std::isnan(bootstrap_mean({}).low));
}

TEST_CASE("bootstrap with clusters: repeating every trial adds nothing, which without clusters it seems to") {
  std::mt19937 random(5);
  std::vector<double> once, ten;
  std::vector<std::uint32_t> cluster;
  for (std::uint32_t i = 0; i < 60; ++i) {
    once.push_back(static_cast<double>(random() % 100));
    for (int k = 0; k < 10; ++k) ten.push_back(once.back()), cluster.push_back(1000 - 7 * i);  // names are any numbers
  }
  const interval single = bootstrap_mean(once), clustered = bootstrap_mean(ten, cluster), naive = bootstrap_mean(ten);
  REQUIRE(clustered.high - clustered.low == Approx(single.high - single.low).epsilon(0.1));
  REQUIRE(naive.high - naive.low < 0.45 * (single.high - single.low));
  const std::vector<double> skewed{0, 0, 0, 0, 9};  // clusters of unequal size weigh by their trials
  const std::vector<std::uint32_t> sizes{0, 0, 0, 0, 1};
  REQUIRE(bootstrap_mean(skewed, sizes).low == 0);
  REQUIRE(bootstrap_mean(skewed, sizes).high == 9);
}

TEST_CASE("a paired difference sees what two intervals side by side hide") {
  std::mt19937 random(6);
  std::vector<double> a, b;
  for (int i = 0; i < 50; ++i) {
    const double hard = static_cast<double>(random() % 1000);  // trials differ far more than the arms do
    b.push_back(hard);
    a.push_back(hard + 2 + static_cast<double>(random() % 100) / 100);
  }
  const paired_difference d = compare_paired(a, b);
  REQUIRE(d.mean == Approx(2.5).margin(0.2));
  REQUIRE((d.within.low > 2.2 && d.within.high < 2.8));
  REQUIRE(bootstrap_mean(a).low < bootstrap_mean(b).high);
  const paired_difference same = compare_paired(a, a);
  REQUIRE((same.mean == 0 && same.within.low == 0 && same.within.high == 0));
}
