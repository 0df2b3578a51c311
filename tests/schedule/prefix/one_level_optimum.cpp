// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/one_level_optimum.hpp"

#include "brute_force.hpp"
#include "catch.hpp"
#include "piles.hpp"
#include "quire/schedule/prefix/first_level.hpp"

using namespace quire::schedule::prefix;

TEST_CASE("one-level optimum: as good as the best of all selections") {
  std::mt19937_64 random(4);
  std::size_t largest = 0;
  for (int round = 0; round < 1500; ++round) {
    const prompt_list prompts = random_prompts(random, 2 + random() % 24, 1 + random() % 6, 1 + static_cast<std::int32_t>(random() % 3));
    const tree t = build_tree(views(prompts).pile());
    if (t.root() > 12) continue;
    largest = std::max(largest, t.nodes.size());
    REQUIRE(saved(t, one_level_optimum(t)) == best_saving(t));
  }
  REQUIRE(largest == 13);
}

TEST_CASE("one-level optimum: between greedy and all levels on large piles") {
  std::mt19937_64 random(5);
  for (int round = 0; round < 40; ++round) {
    const prompt_list prompts = random_prompts(random, 500, 1 + random() % 20, 3);
    const tree t = build_tree(views(prompts).pile(), {.tile = 1 + static_cast<std::uint32_t>(random() % 3), .keep_last = true});
    const std::uint64_t best = saved(t, one_level_optimum(t));
    REQUIRE(saved(t, first_level(t)) <= best);
    REQUIRE(best <= saved_multi_level(t));
  }
}

TEST_CASE("one-level optimum: a chain of prompts that each begin the next") {
  prompt_list chain;
  for (std::int32_t k = 1; k <= 300; ++k) chain.emplace_back(static_cast<std::size_t>(k), 1);
  const tree t = build_tree(views(chain).pile());
  REQUIRE(t.root() == 299);
  // groups are intervals of lengths and the first of each is computed whole: dp[k], the most saved with prompts 1..k
  std::vector<std::uint64_t> dp(301);
  for (std::uint64_t k = 1; k <= 300; ++k)
    for (std::uint64_t first = 1; first <= k; ++first) dp[k] = std::max(dp[k], dp[first - 1] + (k - first) * first);
  REQUIRE(saved(t, one_level_optimum(t)) == dp[300]);
  REQUIRE(one_level_optimum(build_tree(pile<std::int32_t>{})).head == std::vector<std::uint32_t>{0});
}
