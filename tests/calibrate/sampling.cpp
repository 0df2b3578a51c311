// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/sampling.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire::calibrate;

namespace {

/// The laws of the concept, and the steps at which the rate is refreshed.
template <Sampling S>
std::vector<std::uint64_t> updates(const S& s, std::uint64_t steps) {
  std::vector<std::uint64_t> found;
  std::uint64_t last = 0;
  for (std::uint64_t t = 0; t < steps; ++t) {
    const std::uint64_t u = s(t, steps);
    if (u > t || u < last) FAIL("step " << t << " of " << steps << " reads step " << u);
    if (t == 0 || u != last) {
      if (u != t) FAIL("step " << u << " is read first at " << t);
      found.push_back(u);
    }
    last = u;
  }
  return found;
}

}  // namespace

static_assert(sampling::every_step{}(7, 10) == 7 && sampling::every{3}(7, 10) == 6 && sampling::every{0}(7, 10) == 7);
static_assert(sampling::every_fraction{0.25}(7, 10) == 7 && sampling::milestones{}(7, 10) == 7 && sampling::milestones{}(4, 10) == 0);

TEST_CASE("update points are where each rule says") {
  using list = std::vector<std::uint64_t>;
  CHECK(updates(sampling::every{4}, 10) == list{0, 4, 8});
  CHECK(updates(sampling::every_fraction{0.25}, 10) == list{0, 2, 5, 7});
  CHECK(updates(sampling::every_fraction{1}, 10) == list{0});
  CHECK(updates(sampling::milestones{}, 100) == list{0, 50, 75});
  CHECK(updates(sampling::milestones{.count = 3, .at = {0.3, 0.6, 0.9}}, 10) == list{0, 3, 6, 9});
  CHECK(updates(sampling::milestones{.count = 0}, 10) == list{0});
}

TEST_CASE("a fraction of the budget is floor of i times x times T, whatever the rounding of the product") {
  for (std::uint64_t percent = 1; percent <= 100; ++percent)
    for (std::uint64_t steps : {1u, 7u, 99u, 100u, 128u, 1000u, 2240u}) {
      std::vector<std::uint64_t> want;
      for (std::uint64_t i = 0; i * percent * steps / 100 < steps; ++i)
        if (const std::uint64_t u = i * percent * steps / 100; want.empty() || u != want.back()) want.push_back(u);
      INFO(percent << "% of " << steps);
      REQUIRE(updates(sampling::every_fraction{static_cast<double>(percent) / 100}, steps) == want);
    }
}

TEST_CASE("a fraction below one step, or senseless, reads every step") {
  for (double x : {1e-12, 0.0, -1.0, 0.005}) CHECK(updates(sampling::every_fraction{x}, 100).size() == 100);
}
