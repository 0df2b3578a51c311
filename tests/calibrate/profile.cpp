// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/profile.hpp"

#include <cmath>

#include "catch.hpp"

using namespace quire::calibrate;

namespace {

template <Profile P>
double mean(const P& p) {  // midpoint rule
  const int n = 200000;
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += p((i + 0.5) / n);
  return sum / n;
}
template <Profile P>
bool falls(const P& p, bool strictly) {
  for (int i = 0; i < 1000; ++i) {
    const double a = p(i / 1000.0), b = p((i + 1) / 1000.0);
    if (strictly ? !(b < a) : !(b <= a)) return false;
  }
  return true;
}

struct not_noexcept {
  double operator()(double s) const { return s; }
};
struct of_nothing {
  double operator()() const noexcept { return 1; }
};

}  // namespace

static_assert(!Profile<not_noexcept> && !Profile<of_nothing> && Profile<profile::warmup<profile::wsd<profile::cosine>>>);
static_assert(profile::linear{}(0.25) == 0.75 && profile::constant{}(0.9) == 1);
static_assert(profile::rex{}(0) == 1 && profile::rex{}(1) == 0 && profile::one_cycle{.start = 0, .up = 0.5, .end = 0}(0.25) == 0.5);
static_assert(profile::step{}(0.29) == 1 && profile::wsd<>{}(0.8) == 1 && profile::warmup<profile::linear>{.fraction = 0.5, .start = 0}(0.25) == 0.5);

TEST_CASE("the reflected exponential has the values, slopes and mean of its formula") {
  const profile::rex p;
  CHECK(p(0.5) == Approx(2.0 / 3).epsilon(1e-15));
  CHECK(mean(p) == Approx(2 - 2 * std::log(2.0)).epsilon(1e-9));
  CHECK(mean(p) == Approx(0.6137).margin(5e-5));
  const double h = 1e-6;
  CHECK((p(h) - p(0)) / h == Approx(-0.5).epsilon(1e-5));
  CHECK((p(1) - p(1 - h)) / h == Approx(-2).epsilon(1e-5));
  CHECK(falls(p, true));
  for (int i = 1; i < 1000; ++i) {
    const double s = i / 1000.0;
    if (p(s) < 1 - s) FAIL("below linear at " << s);
    if (p(s) < (p(s - 0.001) + p(s + 0.001)) / 2 - 1e-15) FAIL("not concave at " << s);
    if (std::fabs(p(s) - 2 * (1 - s) / (2 - s)) > 1e-15) FAIL("not 2z / (1 + z) at " << s);
  }
}

TEST_CASE("the family of reflected exponentials starts at linear and stays higher for larger a") {
  for (int i = 0; i <= 100; ++i) {
    const double s = i / 100.0;
    if (profile::rex{.a = 0}(s) != 1 - s) FAIL("a = 0 is not linear at " << s);
    if (std::fabs(profile::rex{.a = 0.9}(s) - (1 - s) / (0.1 + 0.9 * (1 - s))) > 1e-15) FAIL("a = 0.9 at " << s);
    if (i > 0 && i < 100 && !(profile::rex{.a = 0.9}(s) > profile::rex{}(s))) FAIL("a = 0.9 is not above a = 0.5 at " << s);
  }
}

TEST_CASE("closed forms at their ends, middle and corners") {
  CHECK(profile::cosine{}(0) == 1);
  CHECK(profile::cosine{}(1) == 0);
  CHECK(profile::cosine{}(0.5) == Approx(0.5).epsilon(1e-15));
  CHECK(mean(profile::cosine{}) == Approx(0.5).epsilon(1e-9));
  CHECK(profile::polynomial{.power = 3}(0.5) == 0.125);
  CHECK(profile::exponential{.gamma = -2}(1) == Approx(std::exp(-2.0)));
  const profile::step steps{};
  CHECK(steps(0.3) == 0.1);
  CHECK(steps(30.0 / 100) == 0.1);
  CHECK(steps(0.6) == Approx(0.01));
  CHECK(steps(1) == Approx(0.001));
  CHECK(profile::step{.factor = 0.5, .count = 1, .milestones = {0.5}}(0.9) == 0.5);
  const profile::one_cycle cycle{.start = 0.2, .up = 0.25, .end = 0.1};
  CHECK(cycle(0) == 0.2);
  CHECK(cycle(0.125) == Approx(0.6));
  CHECK(cycle(0.25) == 1);
  CHECK(cycle(0.625) == Approx(0.55));
  CHECK(cycle(1) == Approx(0.1));
  CHECK(profile::one_cycle{.up = 1}(1) == 1);
  CHECK(profile::one_cycle{.up = 0}(0) == 1);
  const profile::wsd<> trapezoid{.cool = 0.25};
  CHECK(trapezoid(0.75) == 1);
  CHECK(trapezoid(0.875) == Approx(0.5));
  CHECK(trapezoid(1) == 0);
  CHECK(profile::wsd<>{.cool = 0}(1) == 1);
  CHECK(falls(profile::linear{}, true));
  CHECK(falls(profile::cosine{}, true));
  CHECK(falls(profile::exponential{}, true));
  CHECK(falls(profile::wsd<>{}, false));
  CHECK(falls(steps, false));
}

TEST_CASE("warm-up ends where its inner profile begins") {
  const profile::warmup<profile::rex> p{.fraction = 0.2, .start = 0.1};
  CHECK(p(0) == Approx(0.1));
  CHECK(p(0.1) == Approx(0.55));
  CHECK(p(0.2) == 1);
  CHECK(p(0.6) == Approx(profile::rex{}(0.5)));
  CHECK(p(1) == 0);
  CHECK(profile::warmup<profile::linear>{.fraction = 0}(0) == 1);
  CHECK(profile::warmup<profile::linear>{.fraction = 1, .start = 0}(1) == 0);
}
