// SPDX-License-Identifier: Apache-2.0
#include "quire/core/deal.hpp"

#include "catch.hpp"

using namespace quire;

TEST_CASE("shares are contiguous, complete and even") {
  for (std::uint64_t total : {0u, 1u, 5u, 64u, 1000u})
    for (std::uint32_t workers : {1u, 2u, 3u, 7u, 128u}) {
      std::uint64_t at = 0;
      for (std::uint32_t w = 0; w < workers; ++w) {
        const range r = deal(total, workers, w);
        REQUIRE(r.begin == at);
        REQUIRE(r.size() <= total / workers + 1);
        at = r.end;
      }
      REQUIRE(at == total);
    }
}

TEST_CASE("a grain keeps cuts aligned") {
  for (std::uint32_t w = 0; w < 3; ++w) {
    const range r = deal(100, 3, w, 16);
    REQUIRE(r.begin % 16 == 0);
    REQUIRE((r.end % 16 == 0 || r.end == 100));
  }
}

TEST_CASE("aligned subtrees tile a range and are maximal") {
  for (std::uint64_t a = 0; a < 40; ++a)
    for (std::uint64_t b = a + 1; b < 70; ++b) {
      range rest{a, b};
      std::uint32_t nodes = 0;
      while (!rest.empty()) {
        const tree_node n = first_subtree(rest);
        REQUIRE(n.pieces().begin == rest.begin);
        REQUIRE(n.pieces().end <= b);
        const tree_node parent{n.level + 1, n.index / 2};
        REQUIRE((parent.pieces().begin < rest.begin || parent.pieces().end > b));
        rest.begin = n.pieces().end;
        ++nodes;
      }
      REQUIRE(nodes <= 14);
    }
}

TEST_CASE("the root covers every piece and no smaller tree does") {
  REQUIRE(root(0) == tree_node{0, 0});
  REQUIRE(root(1) == tree_node{0, 0});
  for (std::uint64_t n = 2; n < 300; ++n) {
    REQUIRE(root(n).pieces().end >= n);
    REQUIRE(root(n).left().pieces().end < n);
  }
}
