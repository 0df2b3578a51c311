// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/subtree_walk.hpp"

#include "catch.hpp"

#include <map>
#include <random>
#include <string>
#include <vector>

using namespace quire;
using attention::live_pieces;
using attention::subtree_walk;

namespace {

// What the tree over all pieces gives when pieces outside `live` are the identity: a text with a bracket for each merge.
std::string tree(tree_node n, live_pieces live) {
  if (n.level == 0) {
    const bool held = n.index < live.sinks || (n.index >= live.recent && n.index < live.end);
    return held ? std::to_string(n.index) : "";
  }
  const std::string a = tree(n.left(), live), b = tree(n.right(), live);
  return a.empty() ? b : b.empty() ? a : "(" + a + " " + b + ")";
}

struct states {
  std::vector<std::string> at = std::vector<std::string>(80);
  std::uint32_t most = 0;
  auto merge() {
    return [this](std::uint32_t k) { at[k] = "(" + at[k] + " " + at[k + 1] + ")"; };
  }
};

// The share of ordinals [a, b) of the live pieces, as a worker folds it.
states share_of(live_pieces live, std::uint32_t a, std::uint32_t b, std::uint32_t& begin, std::uint32_t& end) {
  states s;
  begin = a == 0 ? 0 : live.piece(a);
  subtree_walk walk(begin, live);
  for (std::uint32_t i = a; i < b; ++i) {
    const std::uint32_t piece = live.piece(i);
    walk.skip_to(piece, s.merge());
    s.at[walk.filled()] = std::to_string(piece);
    s.most = std::max(s.most, walk.filled() + 1);
    walk.push({0, piece}, s.merge());
  }
  end = walk.next();
  std::uint32_t held = 0;
  subtree_walk::for_each_node(begin, end, live, [&](tree_node n) {
    CHECK(s.at[held] == tree(n, live));
    ++held;
  });
  CHECK(held == walk.filled());
  CHECK(s.most <= subtree_walk::depth(end - begin));
  return s;
}

}  // namespace

TEST_CASE("any cut of an item's pieces merges along the one tree", "[attention]") {
  std::mt19937 random(7);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  for (int trial = 0; trial < 2000; ++trial) {
    const std::uint32_t end = 1 + below(70), sinks = below(3) ? below(end) : 0, recent = std::max(sinks, below(end));
    const live_pieces live{sinks, recent, end};
    const std::uint32_t count = live.count();
    if (count == 0) continue;
    std::vector<std::uint32_t> cuts{0, count};
    for (std::uint32_t i = below(5); i != 0; --i) cuts.push_back(below(count + 1));
    std::sort(cuts.begin(), cuts.end());
    states joined;
    subtree_walk walk(0, live);
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      if (cuts[i] == cuts[i + 1]) continue;
      std::uint32_t from = 0, to = 0;
      const states s = share_of(live, cuts[i], cuts[i + 1], from, to);
      std::uint32_t k = 0;
      subtree_walk::for_each_node(from, to, live, [&](tree_node n) {
        walk.skip_to(static_cast<std::uint32_t>(n.pieces().begin), joined.merge());
        joined.at[walk.filled()] = s.at[k++];
        walk.push(n, joined.merge());
      });
    }
    walk.finish(joined.merge());
    CHECK(joined.at[0] == tree(root(end), live));
  }
}

TEST_CASE("a walk over nothing holds nothing", "[attention]") {
  subtree_walk walk(0, {0, 0, 0});
  std::uint32_t merges = 0;
  walk.skip_to(9, [&](std::uint32_t) { ++merges; });
  walk.finish([&](std::uint32_t) { ++merges; });
  CHECK(walk.filled() == 0);
  CHECK(merges == 0);
}
