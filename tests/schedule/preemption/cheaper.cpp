// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/preemption/cheaper.hpp"

#include "catch.hpp"

using namespace quire::schedule;

TEST_CASE("each request gets the kind that costs it less") {
  const auto of = [](std::uint32_t computed, std::uint32_t resident, std::uint32_t hit) {
    request r{.hit_tokens = hit};
    r.so_far = {.computed = computed, .resident = resident};
    return r;
  };
  const preemption::cheaper c{.per_recomputed = 1, .per_recomputed_squared = 0.01, .per_swapped = 3};
  REQUIRE(c.kind(of(100, 0, 0)) == preemption_kind::recompute);  // 300 against 200
  REQUIRE(c.kind(of(300, 0, 0)) == preemption_kind::swap);       // 900 against 1200: attention grows with the square
  REQUIRE(c.kind(of(300, 250, 250)) ==
          preemption_kind::recompute);                       // a shared prefix will be found again: 150 against 75
  REQUIRE(c.kind(of(100, 90, 0)) == preemption_kind::swap);  // most of it is on the host already: 30 against 200
  REQUIRE_FALSE(preemption::cheaper{.per_swapped = -1}.valid());
}
