// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/workload.hpp"

#include <cmath>
#include <map>
#include <set>

#include "catch.hpp"

using namespace quire::serve::simulate;

namespace {
constexpr lengths some[] = {{100, 10}, {200, 20}, {40, 5}};
}

TEST_CASE("open-loop arrivals have the rate, and rates differ in nothing but scale") {
  const workload a = open_loop(some, 20000, {.per_second = 2}, 1), b = open_loop(some, 20000, {.per_second = 4}, 1);
  REQUIRE(a.jobs.back().request.arrival == Approx(10000).epsilon(0.03));
  std::uint64_t seen[3]{};
  for (std::size_t i = 0; i < a.jobs.size(); ++i) {
    REQUIRE(a.jobs[i].request.id == i);
    REQUIRE(a.jobs[i].request.prompt_tokens == b.jobs[i].request.prompt_tokens);
    REQUIRE(a.jobs[i].request.arrival == Approx(2 * b.jobs[i].request.arrival));
    if (i != 0) REQUIRE(a.jobs[i].request.arrival >= a.jobs[i - 1].request.arrival);
    ++seen[a.jobs[i].request.prompt_tokens == 100 ? 0 : a.jobs[i].request.prompt_tokens == 200 ? 1 : 2];
  }
  for (const std::uint64_t n : seen) REQUIRE(static_cast<double>(n) == Approx(20000 / 3.0).epsilon(0.05));
  const workload beat = open_loop(some, 10, {.per_second = 5, .cv = 0}, 1);
  for (std::size_t i = 0; i < 10; ++i) REQUIRE(beat.jobs[i].request.arrival == Approx(0.2 * static_cast<double>(i + 1)));
  REQUIRE(open_loop(some, 50, {}, 1).jobs[49].request.arrival != open_loop(some, 50, {}, 2).jobs[49].request.arrival);
}

TEST_CASE("a grid has full groups, and only their prefixes are equal") {
  const workload w = prefix_grid({.prompts = 64, .degree = 8, .prefix = 100, .tail = 20, .output = 3}, 5);
  std::map<std::uint64_t, std::uint32_t> groups;
  for (const job& j : w.jobs) ++groups[j.shared_text];
  REQUIRE(groups.size() == 8);
  for (const auto& [g, n] : groups) REQUIRE(n == 8);
  for (const job& a : w.jobs)
    for (const job& b : w.jobs)
      for (std::uint32_t i = 0; i < 8; ++i) {
        const bool same = w.block(a, i, 16) == w.block(b, i, 16);
        // 100 rows hold six full blocks of 16; the seventh is the request's own
        REQUIRE(same == (&a == &b || (a.shared_text == b.shared_text && i < 6)));
      }
  bool moved = false;
  for (std::size_t i = 0; i < w.jobs.size(); ++i) moved |= w.jobs[i].shared_text != i / 8 + 1;
  REQUIRE(moved);
}

TEST_CASE("named blocks are cut into smaller ones, and rows behind them are the request's own") {
  workload w;
  w.block_tokens = 512;
  w.blocks = {7, 8, 7, 9};
  w.jobs.push_back({.request = {.prompt_tokens = 1100}, .text = 1, .first_block = 0, .blocks = 2});
  w.jobs.push_back({.request = {.prompt_tokens = 1100}, .text = 2, .first_block = 2, .blocks = 2});
  std::set<std::uint64_t> names;
  for (std::uint32_t i = 0; i < 68; ++i) {
    REQUIRE((w.block(w.jobs[0], i, 16) == w.block(w.jobs[1], i, 16)) == (i < 32));
    names.insert(w.block(w.jobs[0], i, 16));
  }
  REQUIRE(names.size() == 68);
  REQUIRE(w.sharable_tokens(w.jobs[0]) == 1024);
}

TEST_CASE("conversations: each turn's prompt is all that was said and more, one text, in a chain") {
  const workload w = multi_turn(some, {.count = 4000, .first = {.per_second = 1}}, 3);
  double turns = 0, firsts = 0;
  std::vector<bool> follows(w.jobs.size());
  for (std::size_t i = 0; i < w.jobs.size(); ++i) {
    const job& j = w.jobs[i];
    turns += 1;
    firsts += !follows[i];
    REQUIRE(j.request.prompt_tokens + j.request.max_new_tokens <= 8192);
    if (j.next_turn == job::none) continue;
    const job& n = w.jobs[j.next_turn];
    follows[j.next_turn] = true;
    REQUIRE(n.text == j.text);
    REQUIRE(n.request.prompt_tokens > j.request.prompt_tokens + j.request.max_new_tokens);
    REQUIRE(n.pause >= 10);
    REQUIRE(n.pause <= 30);
    REQUIRE(w.block(j, 1, 16) == w.block(n, 1, 16));
  }
  REQUIRE(firsts == 4000);
  REQUIRE(turns / firsts == Approx(5.5).epsilon(0.05));
}
