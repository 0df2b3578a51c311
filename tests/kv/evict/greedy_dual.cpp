// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/evict/greedy_dual.hpp"

#include "catch.hpp"

using namespace quire::kv::evict;

TEST_CASE("the work of a tile is that of its tokens one by one") {
  const greedy_dual policy{.token = 3, .row = 0.25};
  for (std::uint32_t tile : {0u, 1u, 7u}) {
    double work = 0;
    for (std::uint32_t t = 0; t < 64; ++t) work += 3 + 0.25 * (tile * 64 + t + 0.5);  // half of itself: the triangle's mean
    CHECK(policy.cost(tile) == Approx(work));
  }
  CHECK(policy.value({.clock = 9, .tile = 1}) < policy.value({.clock = 1, .tile = 2}));
}

TEST_CASE("what was used since dear tiles went outlives what was not") {
  greedy_dual policy;
  const usage deep{.clock = 1, .tile = 40, .age = policy.age()};
  CHECK(policy.value(deep) > policy.value({.clock = 2, .tile = 0}));
  policy.evicted(policy.value(deep));
  CHECK(policy.value(deep) < policy.value({.clock = 3, .tile = 0, .age = policy.age()}));
  const greedy_dual often{.by_hits = true};
  CHECK(often.value({.hits = 3, .tile = 2}) == Approx(4 * often.value({.tile = 2})));
}
