// SPDX-License-Identifier: Apache-2.0
#include "quire/evaluate/divergence.hpp"

#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire::evaluate;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();

std::vector<float> logits(unsigned seed, std::size_t n, float spread) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-spread, spread);
  std::vector<float> x(n);
  for (float& v : x) v = value(random);
  return x;
}

/// softmax in long double, straight from the definition.
std::vector<long double> softmax(const std::vector<float>& x) {
  long double top = -1e30L, sum = 0;
  for (const float v : x) top = std::max(top, static_cast<long double>(v));
  std::vector<long double> p;
  for (const float v : x) p.push_back(std::exp(static_cast<long double>(v) - top)), sum += p.back();
  for (long double& v : p) v /= sum;
  return p;
}

}  // namespace

TEST_CASE("divergence and likelihood agree with the definition in long double") {
  for (unsigned seed = 0; seed < 20; ++seed)
    for (const float spread : {0.1f, 3.0f, 40.0f}) {
      const auto a = logits(seed, 501, spread), b = logits(seed + 100, 501, spread);
      const auto p = softmax(a), q = softmax(b);
      long double kl = 0;
      for (std::size_t i = 0; i < p.size(); ++i)
        if (p[i] > 0) kl += p[i] * (std::log(p[i]) - std::log(q[i]));
      REQUIRE(divergence(a, b) == Approx(static_cast<double>(kl)).epsilon(1e-11));
      REQUIRE(divergence(a, b) >= 0);
      for (const std::size_t t : {0u, 250u, 500u})
        REQUIRE(negative_log_likelihood(b, log_sum_exp(b), t) == Approx(static_cast<double>(-std::log(q[t]))).epsilon(1e-12));
    }
}

TEST_CASE("a known pair of distributions") {
  const std::vector<float> p{std::log(0.5f), std::log(0.5f)}, q{std::log(0.25f), std::log(0.75f)};
  REQUIRE(divergence(p, q) == Approx(0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3.0)).epsilon(1e-6));
  REQUIRE(divergence(q, p) == Approx(0.25 * std::log(0.5) + 0.75 * std::log(1.5)).epsilon(1e-6));
}

TEST_CASE("adding a constant to all logits changes nothing, however large they are") {
  auto a = logits(1, 300, 2);
  const auto b = logits(2, 300, 2);
  const double before = divergence(a, b);
  for (float& v : a) v += 1024;  // exact enough in f32 for 13 bits of fraction
  REQUIRE(divergence(a, b) == Approx(before).margin(1e-3));
  REQUIRE(log_sum_exp(a) > 1024);
  REQUIRE(std::isfinite(log_sum_exp(std::vector<float>{3e38f, 3e38f})));
}

TEST_CASE("a row against itself is exactly 0; against a nearby row it grows with the distance squared") {
  const auto a = logits(3, 49152, 5);
  REQUIRE(divergence(a, a) == 0);
  double last = 0;
  for (const float step : {1e-3f, 1e-2f, 1e-1f}) {
    const auto noise = logits(4, a.size(), step);
    auto b = a;
    for (std::size_t i = 0; i < b.size(); ++i) b[i] += noise[i];
    const double kl = divergence(a, b);
    REQUIRE(kl == Approx(step * step / 6).epsilon(0.1));  // half the variance of the noise
    REQUIRE(kl > last);
    last = kl;
  }
}

TEST_CASE("excluded tokens and damaged rows") {
  REQUIRE(divergence(std::vector<float>{0, -inf}, std::vector<float>{0, 0}) == Approx(std::log(2.0)));
  REQUIRE(divergence(std::vector<float>{0, 0}, std::vector<float>{0, -inf}) == std::numeric_limits<double>::infinity());
  REQUIRE(divergence(std::vector<float>{0, -inf}, std::vector<float>{0, -inf}) == 0);
  REQUIRE(log_sum_exp({}) == -std::numeric_limits<double>::infinity());
  REQUIRE(log_sum_exp(std::vector<float>{-inf, -inf}) == -std::numeric_limits<double>::infinity());
  REQUIRE(std::isnan(log_sum_exp(std::vector<float>{0, not_a_number})));
  REQUIRE(std::isnan(log_sum_exp(std::vector<float>{-inf, not_a_number})));
  REQUIRE(std::isnan(divergence(std::vector<float>{0, 0}, std::vector<float>{0, not_a_number})));
}

TEST_CASE("the first choice is the first of equals, and none of nothing") {
  REQUIRE(top1(std::vector<float>{1, 3, 3, 2}) == 1);
  REQUIRE(top1(std::vector<float>{not_a_number, -2, -1}) == 2);
  REQUIRE(top1(std::vector<float>{not_a_number, not_a_number}) == 2);
  REQUIRE(top1({}) == 0);
}

TEST_CASE("a row's score holds all three, and a row is exactly as itself") {
  const auto a = logits(5, 100, 3), b = logits(6, 100, 3);
  const row_score s = score_row(a, log_sum_exp(a), b, 42);
  REQUIRE(s.nll == negative_log_likelihood(b, log_sum_exp(b), 42));
  REQUIRE(s.kl == divergence(a, b));
  REQUIRE(s.agrees == (top1(a) == top1(b)));
  const row_score self = score_row(a, log_sum_exp(a), a, 7);
  REQUIRE((self.kl == 0 && self.agrees));
  const auto damaged = std::vector<float>(100, not_a_number);
  REQUIRE_FALSE(score_row(a, log_sum_exp(a), damaged, 7).agrees);
}
