// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/plan/dealing.hpp"

#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::attention;

namespace {

std::uint32_t below(std::mt19937& random, std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); }

std::vector<item_load> random_items(std::mt19937& random, std::uint32_t most) {
  std::vector<item_load> items(below(random, 12));
  for (item_load& i : items) i = {below(random, 4) == 0 ? 0 : 1 + below(random, most), 1 + below(random, 200)};
  return items;
}

std::uint64_t total_of(const lean& d, const std::vector<item_load>& items) {
  std::uint64_t n = 0;
  for (const item_load& i : items) n += d.length(i);
  return n;
}

}  // namespace

TEST_CASE("every piece is dealt once, in order, whatever the number of workers") {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto items = random_items(random, round % 2 ? 9 : 400);
    const lean d{.costs = {below(random, 100), below(random, 9), 1 + below(random, 60), below(random, 9)}, .grain = 1 + below(random, 5)};
    const std::uint32_t workers = 1 + below(random, round % 3 ? 8 : 900);
    const std::uint64_t total = total_of(d, items);
    std::vector<std::uint64_t> next(items.size(), 0);
    std::uint32_t last_item = 0;
    for (std::uint32_t w = 0; w < workers; ++w) {
      const range mine = deal(total, workers, w);
      std::uint64_t before = 0;
      std::uint32_t cut_items = 0;
      for (std::uint32_t i = 0; i < items.size(); before += d.length(items[i]), ++i) {
        const range here = share_of(d, items[i], before, mine);
        if (here.empty()) continue;
        REQUIRE(i >= last_item);
        last_item = i;
        REQUIRE(here.begin == next[i]);
        next[i] = here.end;
        REQUIRE(here.end <= items[i].pieces);
        REQUIRE((here.begin == 0) == (before >= mine.begin));
        REQUIRE(here.size() >= std::min(d.grain, items[i].pieces));
        REQUIRE(here.begin % d.grain == 0);
        cut_items += here.size() != items[i].pieces;
      }
      REQUIRE(cut_items <= 2);
    }
    for (std::uint32_t i = 0; i < items.size(); ++i) REQUIRE(next[i] == items[i].pieces);
  }
}

TEST_CASE("no worker has more than its stretch, one grain and one start") {
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    const auto items = random_items(random, 300);
    const lean d{.grain = 1 + below(random, 3)};
    const std::uint32_t workers = 1 + below(random, 40);
    const std::uint64_t total = total_of(d, items);
    std::uint64_t most_grain = 0, most_start = 0;
    for (const item_load& i : items) most_grain = std::max(most_grain, (2 * d.grain - 1) * d.costs.piece_of(i.rows)), most_start = std::max(most_start, d.costs.start_of(i.rows));
    for (std::uint32_t w = 0; w < workers; ++w) {
      const range mine = deal(total, workers, w);
      std::uint64_t before = 0, cost = 0;
      for (const item_load& i : items) {
        const range here = share_of(d, i, before, mine);
        if (here.begin == 0 && !here.empty()) cost += d.costs.start_of(i.rows);
        cost += here.size() * d.costs.piece_of(i.rows);
        before += d.length(i);
      }
      REQUIRE(cost <= mine.size() + most_grain + most_start);
    }
  }
}

TEST_CASE("a block of many rows weighs as much as the decodes beside it") {
  // One prefill block of 192 rows and eight decodes of 3 rows, ten pieces each, two workers.
  std::vector<item_load> items(8, item_load{10, 3});
  items.push_back({10, 192});
  const lean d;
  const std::uint64_t total = total_of(d, items);
  std::uint64_t before = 0, decodes = 0, prefill = 0;
  for (const item_load& i : items) {
    const range here = share_of(d, i, before, deal(total, 2, 0));
    (i.rows == 3 ? decodes : prefill) += here.size();
    before += d.length(i);
  }
  CHECK(decodes == 80);
  CHECK((prefill >= 2 && prefill <= 4));  // by pieces alone it would be 45 of 90 pieces: all decodes for one worker
}

TEST_CASE("pieces begin after the start cost, and short items are one share") {
  const lean d{.costs = {.start = 10, .start_row = 0, .piece = 4, .piece_row = 0}, .grain = 2};
  const item_load five{5, 1};
  CHECK(d.length(five) == 30);
  CHECK(d.piece_at(five, 0) == 0);
  CHECK(d.piece_at(five, 1) == 2);
  CHECK(d.piece_at(five, 18) == 2);
  CHECK(d.piece_at(five, 19) == 5);  // the last grain has three pieces
  CHECK(d.piece_at({1, 1}, 1) == 1);
  CHECK(d.length({0, 7}) == 0);
  CHECK(share_of(d, five, 100, {100, 118}) == range{0, 2});
  CHECK(share_of(d, five, 100, {118, 200}) == range{2, 5});
  CHECK(share_of(d, five, 100, {0, 100}).empty());
  CHECK(share_of(d, five, 100, {130, 200}).empty());
}
