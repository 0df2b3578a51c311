// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/lru_replay.hpp"

#include <algorithm>
#include <list>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire::schedule::prefix;

TEST_CASE("LRU replay: a hit is the leading run, the first block is touched first") {
  lru_replay cache(3);
  const std::vector<std::uint64_t> a{1, 2, 3}, b{1, 2, 4}, c{2, 1}, d{5, 4};
  REQUIRE(cache.serve(a) == 0);
  REQUIRE(cache.serve(a) == 3);
  REQUIRE(cache.serve(b) == 2);  // 3 is the oldest when 4 comes
  REQUIRE(cache.serve(a) == 2);
  REQUIRE(cache.serve(d) == 0);  // pushes 4, then 1 out
  REQUIRE(cache.serve(c) == 0);
  REQUIRE(cache.serve({}) == 0);
  REQUIRE(cache.size() == 3);
}

TEST_CASE("LRU replay: equal to a list kept by hand") {
  for (const std::size_t capacity : {1u, 2u, 7u, 50u}) {
    std::mt19937_64 random(capacity);
    lru_replay cache(static_cast<std::uint32_t>(capacity));
    std::list<std::uint64_t> newest_first;
    for (int round = 0; round < 2000; ++round) {
      std::vector<std::uint64_t> blocks(random() % 12);
      std::uint64_t at = random() % 3;
      for (auto& b : blocks) b = at = at * 3 + random() % 3;  // a tree of ids
      std::size_t hit = 0;
      const auto there = [&](std::uint64_t b) { return std::find(newest_first.begin(), newest_first.end(), b); };
      while (hit < blocks.size() && there(blocks[hit]) != newest_first.end()) ++hit;
      for (const auto b : blocks) {
        if (const auto i = there(b); i != newest_first.end()) newest_first.erase(i);
        newest_first.push_front(b);
        if (newest_first.size() > capacity) newest_first.pop_back();
      }
      REQUIRE(cache.serve(blocks) == hit);
      REQUIRE(cache.size() == newest_first.size());
    }
  }
}
