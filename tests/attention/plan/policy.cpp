// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/plan/policy.hpp"

#include <random>

#include "catch.hpp"

using namespace quire;
using namespace quire::attention;

namespace {

/// Not a policy: its dealing has no piece_at.
struct near_miss : share_per_worker {
  struct ruler {
    std::uint64_t length(item_load) const noexcept { return 1; }
  };
  ruler dealing(step_totals, std::uint32_t) const noexcept { return {}; }
};
static_assert(!Policy<near_miss>);

}  // namespace

TEST_CASE("shares of one size, the last of an item shorter") {
  const even_shares d{4};
  CHECK(d.length({0, 1}) == 0);
  CHECK(d.length({8, 1}) == 2);
  CHECK(d.length({9, 1}) == 3);
  CHECK(share_of(d, {9, 1}, 5, {5, 6}) == range{0, 4});
  CHECK(share_of(d, {9, 1}, 5, {6, 7}) == range{4, 8});
  CHECK(share_of(d, {9, 1}, 5, {7, 8}) == range{8, 9});
  CHECK(share_of(d, {9, 1}, 5, {8, 9}).empty());
  CHECK(even_shares{}.length({~0u, 1}) == 1);
}

TEST_CASE("splits are of the longest item") {
  CHECK(fixed_split{{}, 3}.dealing({.longest = 10}, 1).size == 4);
  CHECK(fixed_split{{}, 20}.dealing({.longest = 10}, 1).size == 1);
  CHECK(fixed_split{{}, 3}.dealing({}, 1).size == 1);
  CHECK(no_split{}.dealing({.longest = 10}, 1).length({10, 1}) == 1);
  CHECK(no_split{}.workers({}, 17, 4) == 17);
}

TEST_CASE("FlashAttention's heuristic") {
  CHECK(heuristic_splits(0, 100, 108) == 1);
  CHECK(heuristic_splits(1, 4, 108) == 1);      // four blocks: no split
  CHECK(heuristic_splits(87, 1000, 108) == 1);  // 80.6 % of the units
  CHECK(heuristic_splits(86, 1000, 108) > 1);   // 79.6 %
  CHECK(heuristic_splits(1, 1000, 132) == 109); // at most 128 splits, 0.85·128 = 108.8
  CHECK(heuristic_splits(1, 50, 132) == 43);    // at most one block each, 0.85·50 = 42.5
  CHECK(heuristic_splits(1, 1000, 100) == 85);   // 0.85·100
  CHECK(heuristic_splits(8, 256, 132) == 15);   // 120 of 132
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    const auto items = static_cast<std::uint32_t>(random() % 400), longest = static_cast<std::uint32_t>(random() % 3000), units = 1 + static_cast<std::uint32_t>(random() % 300);
    const std::uint32_t s = heuristic_splits(items, longest, units);
    REQUIRE((s >= 1 && s <= 128 && s <= std::max(1u, longest) && s <= units));
  }
}

TEST_CASE("lean starts no worker without its pieces") {
  CHECK(lean_split{}.workers({.pieces = 5}, 500, 8) == 5);
  CHECK(lean_split{}.workers({.pieces = 50}, 5000, 8) == 8);
  CHECK(lean_split{{}, 2}.workers({.pieces = 9}, 900, 8) == 4);
  CHECK(lean_split{{}, 2}.workers({.pieces = 1}, 900, 8) == 1);
  CHECK(lean_split{}.workers({}, 0, 8) == 0);
}
