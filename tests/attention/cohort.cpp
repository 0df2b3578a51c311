// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cohort.hpp"

#include <map>
#include <random>
#include <set>

#include "catch.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/store.hpp"

using namespace quire;
using attention::cohort_plan;
using attention::prefix_units;
using attention::query_span;

namespace {

/// A random family of sequences: each is a fork of an earlier one, cut to some tiles, and grown.
template <kv::Layout L>
std::vector<query_span> family(kv::store<L>& store, std::uint32_t n, std::mt19937& random) {
  std::vector<query_span> spans;
  for (std::uint32_t i = 0; i < n; ++i) {
    std::uint32_t s = 0;
    if (spans.empty() || random() % 5 == 0) {
      REQUIRE(store.open(s));
    } else {
      REQUIRE(store.fork(spans[random() % spans.size()].sequence, s));
      const std::uint32_t tiles = store.length(s) / tile_tokens;
      static_cast<void>(store.truncate(s, tiles == 0 ? 0 : random() % (tiles + 1) * tile_tokens));
    }
    const std::uint32_t grow = 1 + random() % 900;
    REQUIRE(store.reserve(s, grow));
    REQUIRE(store.commit(s, grow));
    REQUIRE(store.reserve(s, 1));
    spans.push_back({s, store.length(s), 1, i});
  }
  std::shuffle(spans.begin(), spans.end(), random);
  return spans;
}

template <kv::Layout L>
std::uint32_t shared_pieces(const kv::store_view<L>& v, const query_span& a, const query_span& b) {
  std::uint32_t t = 0;
  while (t < std::min(a.first, b.first) / tile_tokens && v.sequences[a.sequence].pages[0][t] == v.sequences[b.sequence].pages[0][t]) ++t;
  return t / piece_tiles;
}

/// Piece folds that the best grouping saves, over all partitions of at most 8 spans.
template <kv::Layout L>
std::uint64_t most_saved(const kv::store_view<L>& v, std::span<const query_span> spans) {
  std::vector<std::uint32_t> part(spans.size(), 0);
  std::uint64_t best = 0;
  const auto walk = [&](auto&& self, std::size_t i, std::uint32_t parts) -> void {
    if (i < spans.size()) {
      for (std::uint32_t p = 0; p <= parts; ++p) part[i] = p, self(self, i + 1, std::max(parts, p + 1));
      return;
    }
    std::uint64_t saved = 0;
    for (std::uint32_t p = 0; p < parts; ++p) {
      std::uint64_t members = 0, pieces = ~std::uint64_t{0};
      for (std::size_t a = 0; a < spans.size(); ++a)
        if (part[a] == p) {
          ++members;
          for (std::size_t b = a + 1; b < spans.size(); ++b)
            if (part[b] == p) pieces = std::min<std::uint64_t>(pieces, shared_pieces(v, spans[a], spans[b]));
        }
      if (members > 1) saved += (members - 1) * pieces;
    }
    best = std::max(best, saved);
  };
  walk(walk, 0, 0);
  return best;
}

}  // namespace

TEST_CASE("cohorts hold equal pages, every span at most once, and save nearly as much as the best grouping") {
  std::mt19937 random(11);
  std::uint64_t found = 0, possible = 0;
  for (int round = 0; round < 60; ++round) {
    const kv::paged<kv::raw_bf16> layout({1, 1, 8});
    kv::store<kv::paged<kv::raw_bf16>> store(layout, kv::pages_for(layout, 8, 8192, 1));
    const auto spans = family(store, 2 + random() % 6, random);
    cohort_plan plan(8);
    plan.find(store.view(), std::span<const query_span>(spans), 64, 1);
    std::set<std::uint32_t> seen;
    std::uint64_t saved = 0;
    for (const auto& c : plan.cohorts()) {
      REQUIRE(c.count >= 2);
      REQUIRE(c.pieces >= 1);
      saved += std::uint64_t{c.count - 1} * c.pieces;
      const auto members = plan.members(c);
      for (std::uint32_t i = 0; i < c.count; ++i) {
        REQUIRE(seen.insert(members[i]).second);
        REQUIRE(shared_pieces(store.view(), spans[members[0]], spans[members[i]]) >= c.pieces);
        REQUIRE(c.pieces * piece_tokens <= spans[members[i]].first);
        REQUIRE(plan.pieces(members[i]) == c.pieces);
        REQUIRE(plan.of(members[i]).ordinal == i);
        REQUIRE(&plan.cohorts()[plan.of(members[i]).cohort] == &c);
      }
    }
    for (std::uint32_t s = 0; s < spans.size(); ++s)
      if (!seen.count(s)) REQUIRE(plan.pieces(s) == 0);
    const std::uint64_t most = most_saved(store.view(), spans);
    CHECK(saved <= most);
    CHECK(10 * saved >= 8 * most);
    found += saved, possible += most;
  }
  CHECK(found > 0);
  CHECK(100 * found >= 98 * possible);
}

TEST_CASE("only single rows of sequences that share a piece form cohorts") {
  const kv::paged<kv::raw_bf16> layout({1, 1, 8});
  kv::store<kv::paged<kv::raw_bf16>> store(layout, kv::pages_for(layout, 8, 2048, 64));
  std::uint32_t s[5] = {};
  REQUIRE(store.open(s[0]));
  REQUIRE(store.reserve(s[0], 600));
  REQUIRE(store.commit(s[0], 600));
  for (int i = 1; i < 4; ++i) REQUIRE(store.fork(s[0], s[i]));
  REQUIRE(store.open(s[4]));
  for (std::uint32_t x : s) REQUIRE(store.reserve(x, 64));
  cohort_plan plan(5);
  const auto find = [&](std::vector<query_span> spans, std::uint32_t block = 64) {
    plan.find(store.view(), std::span<const query_span>(spans), block, 1);
    return plan.cohorts().size();
  };
  CHECK(find({{s[0], 600, 1, 0}, {s[1], 600, 1, 1}}) == 1);
  CHECK(plan.cohorts()[0].pieces == 2);
  CHECK(find({{s[0], 600, 1, 0}, {s[1], 600, 5, 1}}) == 0);
  CHECK(find({{s[0], 600, 1, 0}, {s[4], 0, 1, 1}}) == 0);
  CHECK(find({}) == 0);
  CHECK(find({{s[0], 600, 1, 0}, {s[1], 600, 1, 1}, {s[2], 600, 1, 2}, {s[3], 600, 1, 3}}, 2) == 2);
  CHECK(find({{s[0], 600, 1, 0}, {s[1], 600, 1, 1}, {s[2], 600, 1, 2}}, 2) == 1);  // the third folds alone
  cohort_plan narrow(1);
  const query_span two[] = {{s[0], 600, 1, 0}, {s[1], 600, 1, 1}};
  narrow.find(store.view(), std::span<const query_span>(two), 64);
  CHECK(narrow.cohorts().empty());
}

TEST_CASE("a prefix too short to pay is folded by each of its sequences") {
  using attention::shortest_prefix;
  const kv::paged<kv::raw_bf16> layout({1, 1, 8});
  kv::store<kv::paged<kv::raw_bf16>> store(layout, kv::pages_for(layout, 6, 8192, 1));
  const auto grow = [&](std::uint32_t s, std::uint32_t tokens) {
    REQUIRE(store.reserve(s, tokens));
    REQUIRE(store.commit(s, tokens));
  };
  // a, b share one piece less than enough; c, d enough; e, f too, of which c, d hold the first pieces only
  std::uint32_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0;
  REQUIRE(store.open(a));
  grow(a, shortest_prefix * piece_tokens - 1);
  REQUIRE(store.fork(a, b));
  REQUIRE(store.open(c));
  grow(c, (shortest_prefix - 2) * piece_tokens);
  REQUIRE(store.fork(c, e));
  grow(c, 2 * piece_tokens), grow(e, 5 * piece_tokens);
  REQUIRE(store.fork(c, d));
  REQUIRE(store.fork(e, f));
  std::vector<query_span> spans;
  for (const std::uint32_t s : {a, b, c, d, e, f}) {
    grow(s, 300);
    REQUIRE(store.reserve(s, 1));
    spans.push_back({s, store.length(s), 1, static_cast<std::uint32_t>(spans.size())});
  }
  cohort_plan plan(6);
  plan.find(store.view(), std::span<const query_span>(spans), 64);
  const auto pieces = [&] {
    std::vector<std::uint32_t> out;
    for (std::uint32_t s = 0; s < 6; ++s) out.push_back(plan.pieces(s));
    return out;
  };
  CHECK(pieces() == std::vector<std::uint32_t>{0, 0, shortest_prefix, shortest_prefix, shortest_prefix + 3, shortest_prefix + 3});
  CHECK(plan.cohorts().size() == 2);
  plan.find(store.view(), std::span<const query_span>(spans), 64, shortest_prefix + 1);
  CHECK(pieces() == std::vector<std::uint32_t>{0, 0, 0, 0, shortest_prefix + 3, shortest_prefix + 3});
  plan.find(store.view(), std::span<const query_span>(spans), 64, shortest_prefix - 1);
  CHECK(plan.pieces(0) == shortest_prefix - 1);
}

TEST_CASE("a prefix is cut into nodes of the one tree") {
  for (std::uint32_t pieces = 1; pieces < 700; ++pieces) {
    for (std::uint32_t wanted = 1; wanted <= prefix_units::most; ++wanted) {
      const prefix_units units(pieces, wanted);
      REQUIRE(units.whole() <= wanted);
      std::uint64_t next = 0;
      std::uint32_t slots = 0;
      units.for_each_node([&](std::uint32_t slot, tree_node n) {
        REQUIRE(slot == slots++);
        REQUIRE(n.pieces().begin == next);
        next = n.pieces().end;
      });
      REQUIRE(next == pieces);
      REQUIRE(slots <= prefix_units::slots(pieces));
      for (std::uint32_t u = 0; u < units.count(); ++u) REQUIRE(units.unit(u).begin == std::uint64_t{u} << units.level);
    }
  }
  for (std::uint32_t workers = 1; workers < 40; ++workers)
    for (std::uint64_t prefixes = 0; prefixes < 200; ++prefixes) {
      const std::uint32_t n = prefix_units::wanted(prefixes, workers);
      REQUIRE((n >= 1 && n <= prefix_units::most));
      REQUIRE((n == prefix_units::most || prefixes == 0 || n * prefixes >= 4 * workers));
    }
}
