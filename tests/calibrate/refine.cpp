// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/refine.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "catch.hpp"
#include "quire/core/random.hpp"
#include "quire/calibrate/rate_schedule.hpp"

using namespace quire;
using namespace quire::calibrate;

namespace {

refined_profile refined(const std::vector<double>& norms, refine_options o = {}) {
  refined_profile out;
  REQUIRE(refine(norms, o, out));
  return out;
}
/// The algorithm as written down, without filter, floor or resampling.
std::vector<double> plain(const std::vector<double>& g, double q) {
  std::vector<double> w(g.size()), eta(g.size());
  double most = 0;
  for (std::size_t t = 0; t < g.size(); ++t) w[t] = std::pow(g[t], -q);
  for (std::size_t t = 0; t < g.size(); ++t) {
    for (std::size_t p = t + 1; p < g.size(); ++p) eta[t] += w[p];
    eta[t] *= w[t];
    most = std::max(most, eta[t]);
  }
  for (double& x : eta) x /= most;
  return eta;
}
double largest_gap(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::fabs(a[i] - b[i]));
  return worst;
}
std::vector<double> wavy(std::size_t n) {
  std::vector<double> g(n);
  for (std::size_t t = 0; t < n; ++t) g[t] = 1 + 0.5 * std::sin(0.05 * static_cast<double>(t)) + 2 * std::exp(-0.03 * static_cast<double>(t));
  return g;
}

}  // namespace

TEST_CASE("constant norms give linear decay exactly") {
  for (std::uint32_t q : {1u, 2u})
    for (std::size_t n : {2u, 3u, 10u, 101u, 10000u, 25000u}) {
      const auto r = refined(std::vector<double>(n, 3.7), {.exponent = q});
      CHECK(r.outcome == refinement::refined);
      CHECK(r.spread == 1);
      CHECK(r.peak_at == 0);
      const auto& p = r.profile.points();
      REQUIRE(p.size() == std::min<std::size_t>(n, 10000));
      for (std::size_t t = 0; t < p.size(); ++t)
        if (std::fabs(p[t] - static_cast<double>(p.size() - 1 - t) / static_cast<double>(p.size() - 1)) > 1e-12) FAIL(n << " norms, point " << t);
    }
  // and so the rates are 1 − t / T for every budget
  const rate_schedule<profile::table> s{.profile = refined(std::vector<double>(50, 1.0)).profile, .steps = 333};
  for (std::uint64_t t = 0; t < 333; ++t)
    if (std::fabs(s.value(t) - (1 - static_cast<double>(t) / 333)) > 1e-12) FAIL("step " << t);
}

TEST_CASE("the profile is the formula, on smoothed norms") {
  const auto g = wavy(400);
  for (std::uint32_t q : {1u, 2u}) {
    CHECK(largest_gap(refined(g, {.exponent = q, .tau = 0}).profile.points(), plain(g, q)) < 1e-12);
    std::vector<double> smooth(g.size());
    REQUIRE(median_filter(g, 41, smooth));  // 2·⌊⌊0.1·400⌋ / 2⌋ + 1
    CHECK(largest_gap(refined(g, {.exponent = q}).profile.points(), plain(smooth, q)) < 1e-12);
  }
  CHECK(largest_gap(refined(g, {.exponent = 1}).profile.points(), refined(g, {.exponent = 2}).profile.points()) > 0.05);
}

TEST_CASE("every profile has largest value 1, ends at 0, and does not know the norms' unit") {
  auto g = wavy(300);
  const auto r = refined(g);
  const auto& p = r.profile.points();
  CHECK(*std::max_element(p.begin(), p.end()) == 1);
  CHECK(p.back() == 0);
  for (std::size_t t = 0; t + 1 < p.size(); ++t) REQUIRE(p[t] > 0);
  for (double unit : {1e-120, 1e-9, 1024.0, 1e120}) {
    auto scaled = g;
    for (double& x : scaled) x *= unit;
    CHECK(largest_gap(refined(scaled).profile.points(), p) < 1e-12);
  }
}

TEST_CASE("norms that fall early give a warm-up, norms that rise at the end a faster anneal") {
  std::vector<double> early(1000, 1.0), late(1000, 1.0);
  for (std::size_t t = 0; t < 200; ++t) early[t] = 3 - 2 * static_cast<double>(t) / 200;
  for (std::size_t t = 800; t < 1000; ++t) late[t] = 1 + 2 * static_cast<double>(t - 800) / 200;
  const auto warm = refined(early), fast = refined(late);
  CHECK(warm.peak_at == Approx(0.2).margin(0.06));
  CHECK(warm.profile(0) < 0.2);
  CHECK(fast.peak_at == 0);
  CHECK(fast.profile(0.95) < 0.3 * 0.05);
}

TEST_CASE("one wild sample does not move the profile") {
  std::vector<double> g(1000);
  for (std::size_t t = 0; t < 1000; ++t) g[t] = 1 + 2 * std::exp(-0.01 * static_cast<double>(t));
  const auto before = refined(g).profile.points();
  g[500] *= 10;
  CHECK(largest_gap(refined(g).profile.points(), before) < 0.005);  // a window of 101 on a slope: half a rank
  auto bare = refined(g, {.tau = 0}).profile.points();
  CHECK(bare[500] < 0.02 * bare[499]);  // without the filter it does: the test above can fail
}

TEST_CASE("norms that are not numbers are dropped and progress is kept") {
  auto g = wavy(1000);
  const auto before = refined(g);
  for (std::size_t t : {0u, 1u, 300u, 301u, 302u, 998u, 999u}) g[t] = t % 2 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  g[700] = -1;
  const auto after = refined(g);
  CHECK(after.outcome == refinement::refined);
  CHECK(after.dropped == 8);
  CHECK(largest_gap(after.profile.points(), before.profile.points()) < 0.01);
}

TEST_CASE("long recordings are resampled, and the shape stays") {
  std::vector<double> g(50000);
  for (std::size_t t = 0; t < g.size(); ++t) g[t] = 1 + std::exp(-10 * static_cast<double>(t) / 50000);
  const auto whole = refined(g), coarse = refined(g, {.points = 100});
  CHECK(whole.profile.points().size() == 10000);
  CHECK(coarse.profile.points().size() == 100);
  for (int i = 0; i <= 100; ++i)
    if (std::fabs(whole.profile(i / 100.0) - coarse.profile(i / 100.0)) > 0.03) FAIL("at " << i);
}

TEST_CASE("norms that vanish, as without label noise, fall back to linear decay and say so") {
  splitmix64 random(3);
  std::vector<double> falling(2000), noisy(2000);
  for (std::size_t t = 0; t < falling.size(); ++t) {
    const double noise = 0.5 + random.unit();
    falling[t] = noise * std::exp(-8 * static_cast<double>(t) / 2000);   // interpolation: the norms go to 0
    noisy[t] = noise * (0.4 + std::exp(-8 * static_cast<double>(t) / 2000));  // label noise: they go to a level
  }
  for (std::uint32_t q : {1u, 2u}) {
    const auto r = refined(falling, {.exponent = q});
    CHECK(r.outcome == refinement::vanishing);
    CHECK(r.spread > 20);
    CHECK(r.profile == profile::table({1, 0}));
    CHECK(refined(noisy, {.exponent = q}).outcome == refinement::refined);
  }
  // what the guard keeps away: the peak would stand far from the start
  const auto forced = refined(falling, {.floor = 0, .most_spread = std::numeric_limits<double>::infinity()});
  CHECK(forced.outcome == refinement::refined);
  CHECK(forced.peak_at > 0.5);
  const auto zeros = refined(std::vector<double>(100, 0.0), {.most_spread = std::numeric_limits<double>::infinity()});
  CHECK(zeros.outcome == refinement::vanishing);
  CHECK(std::isinf(zeros.spread));
}

TEST_CASE("the floor raises what lies under a share of the median") {
  std::vector<double> g(1000, 1.0);
  for (std::size_t t = 800; t < 1000; ++t) g[t] = 0.1;
  const auto r = refined(g, {.tau = 0, .floor = 0.5});
  CHECK(r.floored == 200);
  CHECK(r.spread == Approx(10));
  std::vector<double> raised(1000, 1.0);
  for (std::size_t t = 800; t < 1000; ++t) raised[t] = 0.5;
  CHECK(largest_gap(r.profile.points(), plain(raised, 2)) < 1e-12);
}

TEST_CASE("too few norms give linear decay, bad options are named and change nothing") {
  for (const std::vector<double>& g : {std::vector<double>{}, std::vector<double>{1}, std::vector<double>{1, std::nan(""), std::nan("")}}) {
    const auto r = refined(g);
    CHECK(r.outcome == refinement::too_few);
    CHECK(r.profile(0.25) == 0.75);
  }
  refined_profile out;
  out.peak_at = 7;
  const std::vector<double> g(10, 1.0);
  CHECK(describe(refine(g, {.exponent = 3}, out)) == "out_of_range: exponent is 3, allowed 1 to 2");
  CHECK(describe(refine(g, {.tau = 1.5}, out)) == "out_of_range: tau, in millionths is 1500000, allowed 0 to 1000000");
  CHECK(describe(refine(g, {.points = 1}, out)) == "out_of_range: points is 1, allowed 2 to 10000");
  CHECK(describe(refine(g, {.floor = -1}, out)) == "out_of_range: floor, in millionths is -1000000, allowed 0 to 1000000");
  CHECK(refine(g, {.most_spread = 0.5}, out).code == errc::out_of_range);
  CHECK(refine(g, {.most_spread = std::nan("")}, out).code == errc::out_of_range);
  CHECK(out.peak_at == 7);
}
