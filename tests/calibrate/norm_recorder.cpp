// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/norm_recorder.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "schedule/allocations.hpp"

using namespace quire::calibrate;

namespace {
struct blind {};
}  // namespace
static_assert(!GradientObserver<blind, float>);

TEST_CASE("norms of gradients, summed in double") {
  norm_recorder r(8);
  const std::vector<float> g{3, -4};
  r.observe(std::span<const float>(g));
  CHECK(r.l1()[0] == 7);
  CHECK(r.l2()[0] == 5);
  const std::vector<float> many(1 << 20, 0.1f);
  r.observe(std::span<const float>(many));
  CHECK(r.l1()[1] == Approx(0.1f * static_cast<double>(1 << 20)).epsilon(1e-12));
  const std::vector<double> bad{std::nan(""), 1};
  r.observe(std::span<const double>(bad));
  CHECK(std::isnan(r.l2()[2]));  // kept as it is; refine drops it
  CHECK(r.steps() == 3);
}

TEST_CASE("a run of any length stays in its room, and sample i is step i times the stride") {
  for (std::uint32_t capacity : {2u, 3u, 4u, 10u, 64u})
    for (std::uint64_t steps : {0u, 1u, 2u, 5u, 64u, 65u, 1000u, 4097u}) {
      norm_recorder r(capacity);
      for (std::uint64_t t = 0; t < steps; ++t) r.record(static_cast<double>(t), -static_cast<double>(t));
      INFO("capacity " << capacity << " steps " << steps);
      REQUIRE(r.steps() == steps);
      REQUIRE(r.l1().size() == r.l2().size());
      REQUIRE(r.l1().size() <= r.capacity());
      if (steps >= r.capacity()) REQUIRE(r.l1().size() >= r.capacity() / 2);
      REQUIRE(r.l1().size() == (steps + r.stride() - 1) / r.stride());
      for (std::size_t i = 0; i < r.l1().size(); ++i) {
        REQUIRE(r.l1()[i] == static_cast<double>(i * r.stride()));
        REQUIRE(r.l2()[i] == -r.l1()[i]);
      }
    }
}

TEST_CASE("clearing starts a new run in the same room") {
  norm_recorder r(4);
  const std::size_t before = test::allocations();
  for (int i = 0; i < 100; ++i) r.record(1, 1);
  const std::size_t during = test::allocations() - before;
  CHECK(during == 0);
  const double* room = r.l1().data();
  r.clear();
  CHECK(r.steps() == 0);
  CHECK(r.stride() == 1);
  CHECK(r.l1().empty());
  r.record(2, 3);
  CHECK(r.l1()[0] == 2);
  CHECK(r.l1().data() == room);
}
