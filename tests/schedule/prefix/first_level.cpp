// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/first_level.hpp"

#include <list>

#include "brute_force.hpp"
#include "catch.hpp"
#include "piles.hpp"

using namespace quire::schedule::prefix;

namespace {

/// The rule as it is published, on a tree of objects where every prompt is an empty leaf.
struct object {
  std::uint64_t length = 0;
  bool leaf = false;
  std::list<object> children{};

  std::uint64_t leaves() const {
    std::uint64_t n = leaf ? 1 : 0;
    for (const object& c : children) n += c.leaves();
    return n;
  }
};
object objects_of(const tree& t) {
  std::vector<object> made(t.nodes.size());
  for (std::uint32_t v = 0; v < t.nodes.size(); ++v) made[v].length = t.span(v);
  for (const std::uint32_t v : t.home) made[v].children.push_back({.leaf = true});
  for (std::uint32_t v = 0; v < t.root(); ++v) made[t.nodes[v].parent].children.push_back(std::move(made[v]));
  return std::move(made.back());
}
void maximise(object& at) {
  for (std::size_t many = at.children.size(), k = 0; k < many; ++k) {
    object& child = *std::next(at.children.begin(), static_cast<std::ptrdiff_t>(k));
    if (child.leaf) continue;
    maximise(child);
    for (auto g = child.children.begin(); g != child.children.end();) {
      const auto here = g++;
      if (here->leaf) continue;
      if ((here->leaves() - 1) * here->length > child.length) {
        here->length += child.length;
        at.children.splice(at.children.end(), child.children, here);
      }
      if (child.children.size() != 1) continue;
      if (child.children.front().leaf) break;
      child.length += child.children.front().length;
      std::list<object> inner = std::move(child.children.front().children);
      child.children = std::move(inner);
      break;
    }
  }
}

}  // namespace

TEST_CASE("first level: the published rule, tree by tree, and never above the optimum") {
  std::mt19937_64 random(3);
  std::uint64_t below = 0;
  for (int round = 0; round < 1500; ++round) {
    const prompt_list prompts = random_prompts(random, 2 + random() % 24, 1 + random() % 6, 1 + static_cast<std::int32_t>(random() % 3));
    const tree t = build_tree(views(prompts).pile());
    if (t.root() > 12) continue;
    object root = objects_of(t);
    maximise(root);
    std::uint64_t expected = 0;
    for (const object& g : root.children)
      if (!g.leaf) expected += (g.leaves() - 1) * g.length;
    const selection s = first_level(t);
    REQUIRE(saved(t, s) == expected);
    const std::uint64_t best = best_saving(t);
    REQUIRE(expected <= best);
    REQUIRE(best <= saved_multi_level(t));
    below += expected < best;
    for (std::uint32_t i = 0; i < t.home.size(); ++i) {  // every member has its group's prefix
      const std::uint32_t head = s.head[t.home[i]];
      if (head == t.root()) continue;
      REQUIRE(s.head[head] == head);
      const auto first = std::find_if(t.home.begin(), t.home.end(), [&](std::uint32_t v) { return s.head[v] == head; }) - t.home.begin();
      REQUIRE(naive_common(prompts[t.order[i]], prompts[t.order[static_cast<std::size_t>(first)]]) >= s.prefix[head]);
    }
  }
  REQUIRE(below > 0);  // greedy: there are trees on which it is not the best
}

TEST_CASE("first level: deep and wide, lifted when the children's savings pay for the beginning once more") {
  prompt_list prompts;
  for (std::int32_t document = 0; document < 3; ++document)
    for (std::int32_t question = 0; question < 4; ++question) prompts.push_back({9, 9, document, document, document, 100 + question});
  const tree t = build_tree(views(prompts).pile());
  REQUIRE(saved_multi_level(t) == 11 * 2 + 3 * 3 * 3);
  REQUIRE(saved(t, first_level(t)) == 3 * 3 * 5);  // three groups of 5 tokens
  REQUIRE(first_level(build_tree(pile<std::int32_t>{})).head == std::vector<std::uint32_t>{0});
}
