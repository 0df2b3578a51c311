// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/selection.hpp"

#include "catch.hpp"
#include "piles.hpp"

using namespace quire::schedule::prefix;

TEST_CASE("selection: a group computes its prefix once, groups of one save nothing") {
  const prompt_list prompts{{1, 2, 3, 4}, {1, 2, 3, 5}, {1, 2, 6}, {7}};
  const tree t = build_tree(views(prompts).pile());
  REQUIRE(t.nodes.size() == 3);  // 1 2 3 with two prompts, 1 2 with three, the root
  REQUIRE((t.nodes[0].depth == 3 && t.nodes[1].depth == 2));
  const selection nothing{{2, 2, 2}, {0, 0, 0}};
  REQUIRE(members(t, nothing) == std::vector<std::uint32_t>{0, 0, 4});
  REQUIRE(saved(t, nothing) == 0);
  const selection outer{{1, 1, 2}, {0, 2, 0}};
  REQUIRE(members(t, outer) == std::vector<std::uint32_t>{0, 3, 1});
  REQUIRE(saved(t, outer) == 4);
  const selection inner{{0, 2, 2}, {3, 0, 0}};
  REQUIRE(saved(t, inner) == 3);
  const selection both{{0, 1, 2}, {3, 2, 0}};
  REQUIRE(saved(t, both) == 3);
}
