// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/subtree_stack.hpp"

#include <cstring>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::attention::cpu;

namespace {

constexpr std::uint32_t dim = 3;

struct state {
  softmax_state s{};
  float o[dim]{};
};

/// The tree as it is written: a node is its left child merged with its right one; pieces that nobody folded are the identity.
bool reduce(const std::vector<state>& leaves, const std::vector<bool>& live, tree_node n, state& out) {
  if (n.pieces().begin >= leaves.size()) return false;
  if (n.level == 0) return out = leaves[n.index], static_cast<bool>(live[n.index]);
  state right;
  const bool a = reduce(leaves, live, n.left(), out), b = reduce(leaves, live, n.right(), right);
  if (a && b) merge_rows({&out.s, out.o}, {&right.s, right.o}, 1, dim);
  else if (b) out = right;
  return a || b;
}

}  // namespace

TEST_CASE("pushed left to right, with gaps, subtrees merge as the tree does") {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> value(-3, 3);
  for (int round = 0; round < 300; ++round) {
    const std::uint32_t n = 1 + random() % 40;
    std::vector<state> leaves(n);
    std::vector<bool> live(n);
    bool any = false;
    for (std::uint32_t i = 0; i < n; ++i) {
      live[i] = random() % 4 != 0, any |= live[i];
      leaves[i] = {{value(random), 1 + random() % 5 * 1.0f}, {value(random), value(random), value(random)}};
    }
    if (!any) continue;
    std::vector<state> storage(64);
    const auto states = [&](std::uint32_t level) { return row_states{&storage[level].s, storage[level].o}; };
    subtree_stack stack(0, 1, dim);
    for (std::uint32_t i = 0; i < n; ++i) {
      if (!live[i]) continue;
      stack.skip_to(i, states);
      REQUIRE(stack.filled() < 10);
      storage[stack.filled()] = leaves[i];
      stack.push({0, i}, states);
    }
    stack.finish(states);
    state want;
    REQUIRE(reduce(leaves, live, root(n), want));
    CHECK(std::memcmp(&want.s, &storage[0].s, sizeof want.s) == 0);
    CHECK(std::memcmp(want.o, storage[0].o, sizeof want.o) == 0);
  }
}

TEST_CASE("a range that starts late lists its maximal aligned subtrees") {
  std::vector<state> storage(64);
  const auto states = [&](std::uint32_t level) { return row_states{&storage[level].s, storage[level].o}; };
  for (std::uint32_t begin = 0; begin < 20; ++begin)
    for (std::uint32_t end = begin + 1; end < 40; ++end) {
      subtree_stack stack(begin, 1, dim);
      for (std::uint32_t i = begin; i < end; ++i) storage[stack.filled()] = {{0, 1}, {}}, stack.push({0, i}, states);
      tree_node nodes[16];
      const std::uint32_t n = stack.list(nodes);
      REQUIRE(n == stack.filled());
      range left{begin, end};
      for (std::uint32_t i = 0; i < n; ++i) {
        REQUIRE(nodes[i] == first_subtree(left));
        left.begin = nodes[i].pieces().end;
      }
      REQUIRE(left.empty());
    }
}
