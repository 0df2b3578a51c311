// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/retain/importance.hpp"

#include <random>
#include <set>
#include <vector>

#include "catch.hpp"

using namespace quire;
using kv::retain::importance;

TEST_CASE("a budget never falls and never rises faster than tokens come") {
  for (const importance p : {importance{}, importance{.share = 0}, importance{.share = 1}, importance{.share = 0.5f, .least = 300}, importance{.share = 0.3f, .most = 500}}) {
    std::uint32_t before = 0;
    for (std::uint32_t n = 0; n < 6000; n += 64) {
      const std::uint32_t b = p.budget(n);
      if (b < before || b > before + 64 || b > n || b > p.most) FAIL("budget(" << n << ") is " << b << " after " << before);
      before = b;
    }
  }
  CHECK(importance{.share = 0.2f}.budget(4096) == 819);
  CHECK(importance{.share = 0.2f, .least = 64}.budget(128) == 64);
}

TEST_CASE("the newest stay, then those that received most") {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const std::uint32_t tokens = 64 * (1 + random() % 20);
    const importance p{.share = 0.4f, .least = 10, .recent = 0.25f * static_cast<float>(random() % 5), .per_row = round % 2 == 1};
    std::vector<importance::candidate> all;
    for (std::uint32_t t = 0; t < tokens; ++t) all.push_back({static_cast<float>(random() % 40), t, t});
    auto sorted = all;
    const std::uint32_t newest = static_cast<std::uint32_t>(static_cast<double>(p.recent) * p.budget(tokens));
    if (p.per_row)
      for (auto& c : sorted) c.score /= static_cast<float>(tokens - c.position);
    std::sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
      const bool pa = a.position >= tokens - newest, pb = b.position >= tokens - newest;
      if (pa != pb) return pa;
      if (!pa && a.score != b.score) return a.score > b.score;
      return a.position > b.position;
    });
    const std::uint32_t keep = p.choose(all, tokens);
    REQUIRE(keep == p.budget(tokens));
    std::set<std::uint32_t> got, want;
    for (std::uint32_t i = 0; i < keep; ++i) got.insert(all[i].position), want.insert(sorted[i].position);
    REQUIRE(got == want);
    for (std::uint32_t t = tokens - newest; t < tokens; ++t) REQUIRE(got.count(t) == 1);
  }
}
