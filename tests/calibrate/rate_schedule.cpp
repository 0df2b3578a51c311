// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/rate_schedule.hpp"

#include <cmath>

#include "catch.hpp"
#include "quire/calibrate/table_profile.hpp"

using namespace quire::calibrate;

// steps 0 … T − 1 stay below progress 1; at T and past it the rate is the end's, and never the peak again
static_assert(rate_schedule<profile::linear>{.peak = 8, .steps = 4}.value(0) == 8);
static_assert(rate_schedule<profile::linear>{.peak = 8, .steps = 4}.value(3) == 2);
static_assert(rate_schedule<profile::linear>{.peak = 8, .steps = 4}.value(4) == 0);
static_assert(rate_schedule<profile::linear>{.peak = 8, .steps = 4}.value(5) == 0);
static_assert(rate_schedule<profile::linear>{.peak = 8, .steps = 0}.value(0) == 0);
static_assert(rate_schedule<profile::linear>{.peak = 8, .steps = 4, .floor = 0.5}.value(2) == 6);
static_assert(rate_schedule<profile::step>{.peak = 1, .steps = 10}.value(2) == 1 && rate_schedule<profile::step>{.peak = 1, .steps = 10}.value(3) == 0.1);

TEST_CASE("no step of a budget is wasted by a profile that ends at zero") {
  const auto all_move = [](const auto& s) {
    for (std::uint64_t t = 0; t < s.steps; ++t)
      if (!(s.value(t) > 0)) return false;
    return s.value(s.steps) == 0 && s.value(s.steps + 1000) == 0;
  };
  for (std::uint64_t steps : {1u, 2u, 3u, 100u, 9999u}) {
    CHECK(all_move(rate_schedule<profile::linear>{.steps = steps}));
    CHECK(all_move(rate_schedule<profile::rex>{.steps = steps}));
    CHECK(all_move(rate_schedule<profile::cosine>{.steps = steps}));
    CHECK(all_move(rate_schedule<profile::wsd<>>{.steps = steps}));
    CHECK(all_move(rate_schedule<profile::warmup<profile::linear>>{.steps = steps}));
    CHECK(all_move(rate_schedule<profile::table>{.profile = profile::tabulate(profile::linear{}, 50), .steps = steps}));
  }
}

TEST_CASE("sampling every step equals sampling every one step, and coarser sampling meets the profile at its update points") {
  const rate_schedule<profile::rex> fine{.peak = 0.5, .steps = 200};
  const rate_schedule<profile::rex, sampling::every> one{.peak = 0.5, .steps = 200, .sampling = {1}}, coarse{.peak = 0.5, .steps = 200, .sampling = {16}};
  const rate_schedule<profile::rex, sampling::every_fraction> tenths{.peak = 0.5, .steps = 200, .sampling = {0.1}};
  double last = 1;
  for (std::uint64_t t = 0; t < 200; ++t) {
    if (fine.value(t) != one.value(t)) FAIL("k = 1 differs at " << t);
    if (t % 16 == 0 && coarse.value(t) != fine.value(t)) FAIL("not the profile at update point " << t);
    if (t % 16 != 0 && coarse.value(t) != coarse.value(t - 1)) FAIL("moves between update points at " << t);
    if (t % 20 == 0 && tenths.value(t) != fine.value(t)) FAIL("not the profile at tenth " << t);
    if (coarse.value(t) > last) FAIL("rises at " << t);
    last = coarse.value(t);
  }
}

TEST_CASE("a cut run is not a budgeted run: progress is of the budget") {
  const rate_schedule<profile::linear> whole{.steps = 1000}, tenth{.steps = 100};
  CHECK(whole.value(50) == Approx(0.95));
  CHECK(tenth.value(50) == Approx(0.5));
  for (std::uint64_t t = 0; t <= 100; ++t)
    if (std::fabs(whole.value(t * 10) - tenth.value(t)) > 1e-12) FAIL("budget scales progress at " << t);
}

TEST_CASE("the gate training rates of DuoAttention are a warmed-up trapezoid with a floor") {
  // from 0.1 to 1 over the first fifth, 1, back to 0.1 over the last fifth, of 2000 steps at 0.02
  const rate_schedule<profile::warmup<profile::wsd<>>> s{
      .profile = {.fraction = 0.2, .start = 0, .inner = {.cool = 0.25}}, .peak = 0.02, .steps = 2000, .floor = 0.1};
  CHECK(s.value(0) == Approx(0.002));
  CHECK(s.value(200) == Approx(0.02 * 0.55));
  CHECK(s.value(400) == Approx(0.02));
  CHECK(s.value(1600) == Approx(0.02));
  CHECK(s.value(1800) == Approx(0.02 * 0.55));
  CHECK(s.value(2000) == Approx(0.002));
}
