// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/schedule_bound.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "quire/core/random.hpp"
#include "quire/calibrate/rate_schedule.hpp"

using namespace quire;
using namespace quire::calibrate;

namespace {

schedule_bound bound(const std::vector<double>& rates, const std::vector<double>& norms, double d) {
  schedule_bound b;
  REQUIRE(bound_of(rates, norms, d, b));
  return b;
}
/// Theorem 10 with its sums written out.
double quadratic_time(const std::vector<double>& eta, const std::vector<double>& g, double d) {
  const std::size_t n = eta.size();
  double s = 0, squares = 0, last = 0;
  for (std::size_t t = 0; t < n; ++t) s += eta[t], squares += eta[t] * eta[t] * g[t] * g[t];
  for (std::size_t k = 0; k + 1 < n; ++k) {
    double a = 0, b = 0, c = 0;
    for (std::size_t t = k; t < n; ++t) a += t > k ? eta[t] : 0, b += eta[t] * eta[t] * g[t] * g[t], c += eta[t];
    last += eta[k] / a * (b / c);
  }
  return d * d / (2 * s) + squares / (2 * s) + last / 2;
}

}  // namespace

TEST_CASE("constant rates meet the closed form with a harmonic number") {
  for (std::size_t n : {1u, 2u, 10u, 1000u}) {
    const double rate = 0.3, g = 2, d = 5;
    double harmonic = 0;
    for (std::size_t k = 1; k < n; ++k) harmonic += 1.0 / static_cast<double>(k);
    const auto b = bound(std::vector<double>(n, rate), std::vector<double>(n, g), d);
    CHECK(b.value() == Approx(d * d / (2 * rate * static_cast<double>(n)) + rate * g * g / 2 + rate * g * g / 2 * harmonic).epsilon(1e-12));
  }
}

TEST_CASE("the bound equals its sums, and zero rates at the end change nothing") {
  splitmix64 random(8);
  for (std::size_t n : {2u, 5u, 60u}) {
    std::vector<double> eta(n), g(n);
    for (std::size_t t = 0; t < n; ++t) eta[t] = 0.1 + random.unit(), g[t] = 0.1 + random.unit();
    CHECK(bound(eta, g, 3).value() == Approx(quadratic_time(eta, g, 3)).epsilon(1e-12));
    const double before = bound(eta, g, 3).value();
    eta.resize(n + 2, 0.0), g.resize(n + 2, 1.0);
    CHECK(bound(eta, g, 3).value() == Approx(before).epsilon(1e-12));
  }
}

TEST_CASE("the best scale is where the bound is least") {
  const auto b = bound({1, 0.5, 0.25, 0.1}, {1, 2, 1, 3}, 4);
  CHECK(b.value(b.best_scale()) == Approx(b.best_value()).epsilon(1e-14));
  for (double off : {0.5, 0.9, 0.99, 1.01, 1.1, 2.0}) CHECK(b.value(b.best_scale() * off) > b.best_value());
  // scaling the rates is scaling the bound's argument
  CHECK(bound({3, 1.5, 0.75, 0.3}, {1, 2, 1, 3}, 4).value() == Approx(b.value(3)).epsilon(1e-14));
}

TEST_CASE("linear decay is best for constant norms: its bound nears 2 D G over the root of T, a constant rate pays a logarithm") {
  const std::size_t n = 2000;
  const std::vector<double> g(n, 1.0);
  const auto of = [&](const auto& p) {
    std::vector<double> eta(n);
    for (std::size_t t = 0; t < n; ++t) eta[t] = rate_schedule<std::remove_cvref_t<decltype(p)>>{.profile = p, .steps = n}.value(t);
    return bound(eta, g, 1).best_value();
  };
  const double linear = of(profile::linear{});
  double harmonic = 0;
  for (std::size_t k = 1; k < n; ++k) harmonic += 1.0 / static_cast<double>(k);
  CHECK(linear == Approx(2 / std::sqrt(static_cast<double>(n))).epsilon(0.01));  // Σ to ∫: the parts are 1/T², T/3 and 2T/3
  CHECK(of(profile::constant{}) == Approx(std::sqrt((1 + harmonic) / static_cast<double>(n))));
  CHECK(of(profile::rex{}) > linear);
  CHECK(of(profile::cosine{}) > linear);
  CHECK(of(profile::step{}) > linear);
  CHECK(of(profile::wsd<>{}) > linear);
}

TEST_CASE("no weights beat the inverse squares of the norms") {
  splitmix64 random(2);
  const std::size_t n = 300;
  std::vector<double> g(n), w(n), uniform(n, 1.0);
  double inverse = 0, best = 0, x = 0;
  for (std::size_t t = 0; t < n; ++t) g[t] = 0.2 + random.unit(), w[t] = 1 / (g[t] * g[t]), inverse += w[t];
  REQUIRE(averaged_bound(w, g, 2, best));
  CHECK(best == Approx(2 / std::sqrt(inverse)).epsilon(1e-13));
  REQUIRE(averaged_bound(uniform, g, 2, x));
  CHECK(x > best * 1.01);
  for (int trial = 0; trial < 50; ++trial) {
    auto other = w;
    for (double& v : other) v *= 0.5 + random.unit();
    REQUIRE(averaged_bound(other, g, 2, x));
    REQUIRE(x > best);
  }
  // w constant on constant norms is D G / √T
  REQUIRE(averaged_bound(uniform, std::vector<double>(n, 3.0), 2, x));
  CHECK(x == Approx(6 / std::sqrt(300.0)).epsilon(1e-13));
}

TEST_CASE("bad rates and norms are named") {
  schedule_bound b{7, 7, 7};
  double x = 0;
  CHECK(describe(bound_of({}, {}, 1, b)).starts_with("out_of_range: rates (how many) is 0"));
  const std::vector<double> two{1, 1}, three{1, 1, 1}, zero{0, 0}, bad{1, -1};
  CHECK(describe(bound_of(two, three, 1, b)) == "out_of_range: norms (how many) is 3, allowed 2 to 2");
  CHECK(describe(bound_of(zero, two, 1, b)) == "out_of_range: rates above 0 (how many) is 0, allowed 1 to 2");
  CHECK(bound_of(bad, two, 1, b) == status{errc::not_finite, "rate (finite, at least 0) of step", 1});
  CHECK(bound_of(two, bad, 1, b) == status{errc::not_finite, "norm (finite, at least 0) of step", 1});
  CHECK(bound_of(two, two, std::nan(""), b).code == errc::not_finite);
  CHECK(averaged_bound(zero, two, 1, x).code == errc::out_of_range);
  CHECK(b.distance == 7);
}
