// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/sort_prompts.hpp"

#include "catch.hpp"
#include "piles.hpp"

using namespace quire::schedule::prefix;

TEST_CASE("sort_prompts: neighbours share what they say, and every pair what the narrowest place between them says") {
  for (const std::int32_t symbols : {1, 2, 5, 1000}) {
    std::mt19937_64 random(static_cast<std::uint64_t>(symbols));
    for (int round = 0; round < 60; ++round) {
      const prompt_list prompts = random_prompts(random, random() % 40, 1 + random() % 60, symbols);
      const sorted_prompts s = sort_prompts(views(prompts).pile());
      REQUIRE(std::set<std::uint32_t>(s.order.begin(), s.order.end()).size() == prompts.size());
      for (std::size_t i = 0; i < s.order.size(); ++i) {
        std::size_t narrowest = prompts[s.order[i]].size();
        for (std::size_t j = i + 1; j < s.order.size(); ++j) {
          narrowest = std::min<std::size_t>(narrowest, s.shared[j]);
          const auto &a = prompts[s.order[i]], &b = prompts[s.order[j]];
          REQUIRE(naive_common(a, b) == std::min(narrowest, b.size()));
          // one that ends where another goes on comes after it; equal ones by index
          if (a.size() == narrowest) REQUIRE((b.size() == narrowest ? a != b || s.order[i] < s.order[j] : naive_common(a, b) < a.size()));
        }
      }
    }
  }
}

TEST_CASE("sort_prompts: empty piles and prompts; 64-bit and signed symbols") {
  REQUIRE(sort_prompts(pile<std::int32_t>{}).order.empty());
  const std::vector<std::uint64_t> a{1ull << 40, 2}, b{1ull << 41, 2}, c{1ull << 40}, none;
  const std::vector<std::span<const std::uint64_t>> prompts{none, a, b, none, c, a};
  const sorted_prompts s = sort_prompts(pile<std::uint64_t>{.prompts = prompts});
  REQUIRE(s.order == std::vector<std::uint32_t>{1, 5, 4, 2, 0, 3});
  REQUIRE(s.shared == std::vector<std::uint32_t>{0, 2, 1, 0, 0, 0});
  const std::vector<std::int32_t> x{-1, 7}, y{-1, -7};
  const std::vector<std::span<const std::int32_t>> pair{x, y};
  REQUIRE(sort_prompts(pile<std::int32_t>{.prompts = pair}).shared == std::vector<std::uint32_t>{0, 1});
}

TEST_CASE("common_length finds the first difference at every place around its steps") {
  for (std::size_t n = 0; n < 70; ++n)
    for (std::size_t at = 0; at <= n; ++at) {
      std::vector<std::int32_t> a(n, 3), b(n, 3);
      if (at < n) b[at] = 4;
      REQUIRE(common_length<std::int32_t>(a, b) == at);
      REQUIRE(common_length<std::int32_t>(a, b, at) == at);
      REQUIRE(common_length<std::int32_t>(a, std::span(b).first(at)) == at);
    }
}
