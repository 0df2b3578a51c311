// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/tree.hpp"

#include "catch.hpp"
#include "piles.hpp"

using namespace quire::schedule::prefix;

namespace {

/// Every law of the structure, and that nodes are just what prompts share.
void require_sound(const prompt_list& prompts, const tree& t, const tree_options& o) {
  REQUIRE(t.order.size() == prompts.size());
  REQUIRE(t.home.size() == prompts.size());
  const node& root = t.nodes[t.root()];
  REQUIRE((root.depth == 0 && root.first == 0 && root.leaves == prompts.size() && root.parent == t.root()));
  REQUIRE(t.nodes.size() <= std::max<std::size_t>(prompts.size(), 1));
  std::set<std::vector<std::int32_t>> beginnings;
  for (std::uint32_t v = 0; v < t.root(); ++v) {
    const node& x = t.nodes[v];
    const node& up = t.nodes[x.parent];
    REQUIRE((x.parent > v && x.leaves >= 2 && x.depth > up.depth && x.depth % o.tile == 0));
    REQUIRE((x.first >= up.first && x.first + x.leaves <= up.first + up.leaves));
    std::vector<std::int32_t> beginning;
    for (std::uint32_t i = 0; i < t.order.size(); ++i) {
      const auto& p = prompts[t.order[i]];
      const bool inside = i >= x.first && i < x.first + x.leaves;
      if (i == x.first) beginning.assign(p.begin(), p.begin() + x.depth);
      if (inside) REQUIRE((p.size() >= x.depth + o.keep_last && std::equal(beginning.begin(), beginning.end(), p.begin())));
      if (inside) REQUIRE((v == t.home[i] || t.nodes[t.home[i]].depth > x.depth));
    }
    REQUIRE(beginnings.insert(beginning).second);
    for (std::uint32_t i = 0; i < t.order.size(); ++i) {  // nobody who could be a member is outside
      const auto& p = prompts[t.order[i]];
      const bool could = p.size() >= x.depth + o.keep_last && std::equal(beginning.begin(), beginning.end(), p.begin());
      REQUIRE(could == (i >= x.first && i < x.first + x.leaves));
    }
  }
}

}  // namespace

TEST_CASE("tree: laws on random piles, cut to tiles or not") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const prompt_list prompts = random_prompts(random, random() % 40, 1 + random() % 30, 1 + static_cast<std::int32_t>(random() % 4));
    const views v(prompts);
    for (const tree_options o : {tree_options{}, tree_options{.keep_last = true}, tree_options{.tile = 4, .keep_last = true}, tree_options{.tile = 16}}) {
      const tree t = build_tree(v.pile(), o);
      require_sound(prompts, t, o);
      if (o.tile == 1 && !o.keep_last) REQUIRE(saved_multi_level(t) == naive_saved(prompts));
      REQUIRE(saved_multi_level(t) <= naive_saved(prompts));
    }
  }
}

TEST_CASE("tree: the saving does not depend on the order of the input") {
  std::mt19937_64 random(2);
  for (int round = 0; round < 50; ++round) {
    prompt_list prompts = random_prompts(random, 60, 20, 3);
    const tree_options o{.tile = 1 + static_cast<std::uint32_t>(random() % 8), .keep_last = true};
    const std::uint64_t before = saved_multi_level(build_tree(views(prompts).pile(), o));
    std::shuffle(prompts.begin(), prompts.end(), random);
    REQUIRE(saved_multi_level(build_tree(views(prompts).pile(), o)) == before);
  }
}

TEST_CASE("tree: empty piles, equal prompts, a prompt that begins another, all alone") {
  REQUIRE(build_tree(pile<std::int32_t>{}).nodes.size() == 1);
  const prompt_list equal(5, {1, 2, 3, 4});
  REQUIRE(saved_multi_level(build_tree(views(equal).pile())) == 16);
  REQUIRE(saved_multi_level(build_tree(views(equal).pile(), {.keep_last = true})) == 12);
  REQUIRE(saved_multi_level(build_tree(views(equal).pile(), {.tile = 4})) == 16);
  REQUIRE(saved_multi_level(build_tree(views(equal).pile(), {.tile = 4, .keep_last = true})) == 0);
  const prompt_list chain{{1}, {1, 2}, {1, 2, 3}, {}};
  const tree t = build_tree(views(chain).pile());
  REQUIRE(t.nodes.size() == 3);
  REQUIRE(saved_multi_level(t) == 3);
  const prompt_list apart{{1, 2}, {2, 1}, {3}};
  REQUIRE(saved_multi_level(build_tree(views(apart).pile())) == 0);
}

TEST_CASE("tree: blocks count their tokens, the partial last one those it has") {
  const std::vector<std::uint64_t> a{7, 8, 9}, b{7, 8, 9}, c{7, 8, 10}, d{7, 8};
  const std::vector<std::span<const std::uint64_t>> prompts{a, b, c, d};
  const std::vector<std::uint32_t> tokens{1100, 1100, 1500, 1024};
  const pile<std::uint64_t> p{.prompts = prompts, .block_tokens = 512, .tokens = tokens};
  REQUIRE(check(p));
  REQUIRE(saved_multi_level(build_tree(p)) == 3 * 1024 + 76);
  REQUIRE(saved_multi_level(build_tree(p, {.tile = 512})) == 3 * 1024);
  REQUIRE(saved_multi_level(build_tree(p, {.tile = 512, .keep_last = true})) == 3 * 512 + 2 * 512);
}

TEST_CASE("tree: ids that are wrong about a partial block never share beyond a prompt") {
  const std::vector<std::uint64_t> same{7, 8}, longer{7, 8, 9};
  const std::vector<std::span<const std::uint64_t>> prompts{same, same, longer, same};
  const std::vector<std::uint32_t> tokens{600, 900, 1100, 700};
  const tree t = build_tree(pile<std::uint64_t>{.prompts = prompts, .block_tokens = 512, .tokens = tokens});
  for (const node& x : t.nodes)
    for (std::uint32_t i = x.first; i < x.first + x.leaves; ++i) REQUIRE(x.depth <= tokens[t.order[i]]);
  REQUIRE((t.nodes.size() == 3 && t.nodes[1].depth == 600 && t.nodes[1].leaves == 4));
}
