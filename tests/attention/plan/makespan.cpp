// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/plan/makespan.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "catch.hpp"
#include "quire/core/extents.hpp"

using namespace quire;
using namespace quire::attention;

namespace {

std::vector<item_load> decodes(const std::vector<std::uint32_t>& lengths, std::uint32_t heads = 8, std::uint32_t tile = 128) {
  std::vector<item_load> items;
  for (const std::uint32_t n : lengths) items.insert(items.end(), heads, item_load{ceil_div(n, tile), 1});
  return items;
}
std::vector<std::uint32_t> uniform(std::uint32_t batch, std::uint32_t tokens) { return std::vector<std::uint32_t>(batch, tokens); }
std::vector<std::uint32_t> one_long() {
  auto lengths = uniform(8, 2048);
  lengths[0] = 65536;
  return lengths;
}
std::vector<std::uint32_t> zipf() {
  std::vector<std::uint32_t> lengths;
  for (int i = 1; i <= 32; ++i) lengths.push_back(static_cast<std::uint32_t>(std::lround(65536.0 / i)));
  return lengths;
}

const lean_split lean_by_tiles{{.costs = {.start = 0, .start_row = 0, .piece = 1, .piece_row = 0}}};

double occupancy(const auto& policy, const std::vector<item_load>& items, std::uint32_t units) { return model_step(items, policy, units, {}).occupancy(); }
double printed(double x) { return std::round(x * 100) / 100; }

}  // namespace

TEST_CASE("occupancy of published shapes, to the printed digit") {
  struct row {
    std::vector<std::uint32_t> lengths;
    std::uint32_t units;
    double split, lean, ratio;
    std::uint32_t heads = 8, tile = 128;
  };
  const row rows[] = {
      {uniform(1, 32768), 108, 0.86, 1.00, 1.16}, {uniform(1, 32768), 132, 0.86, 0.97, 1.12}, {uniform(4, 65536), 108, 0.89, 1.00, 1.12}, {uniform(4, 65536), 132, 0.97, 0.99, 1.02},
      {uniform(14, 16384), 108, 0.52, 1.00, 1.92}, {uniform(14, 16384), 132, 0.85, 1.00, 1.17}, {uniform(17, 16384), 108, 0.63, 0.99, 1.58}, {uniform(17, 16384), 132, 0.52, 1.00, 1.94},
      {one_long(), 108, 0.27, 0.98, 3.6},          {one_long(), 132, 0.15, 1.00, 6.7},          {zipf(), 108, 0.30, 1.00, 3.3},             {zipf(), 132, 0.25, 1.00, 4.0},
      {uniform(8, 8192), 132, 0.83, 0.97, 1.17, 3, 256},
  };
  for (const row& r : rows) {
    const auto items = decodes(r.lengths, r.heads, r.tile);
    const double split = occupancy(heuristic_split{}, items, r.units), lean = occupancy(lean_by_tiles, items, r.units), ratio = lean / split;
    CAPTURE(r.lengths.size(), r.lengths[0], r.units, split, lean, ratio);
    CHECK(printed(split) == Approx(r.split));
    CHECK(printed(lean) == Approx(r.lean));
    CHECK(printed(lean) >= 0.97);
    CHECK(std::fabs(ratio - r.ratio) <= (r.ratio >= 3 ? 0.05 : 0.005) + 1e-9);
    const bool ragged = r.lengths[0] != r.lengths.back();
    if (ragged) CHECK(ratio >= 3);
    CHECK(occupancy(lean_by_tiles, items, 2 * r.units) >= 0.93);  // two blocks on each
  }
}

TEST_CASE("one sequence of 512 k tokens against no split") {
  for (const std::uint32_t units : {108u, 132u}) {
    const auto items = decodes(uniform(1, 524288));
    CHECK(occupancy(lean_by_tiles, items, units) / occupancy(no_split{}, items, units) >= 8);
    CHECK(occupancy(no_split{}, items, units) == Approx(8.0 / units));
  }
}

TEST_CASE("lean stays near the ideal for any batch and any number of units") {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<item_load> items(1 + random() % 60);
    std::uint64_t pieces = 0;
    for (item_load& i : items) i = {static_cast<std::uint32_t>(random() % 900), 1}, pieces += i.pieces;
    const auto units = static_cast<std::uint32_t>(1 + random() % 300);
    const block_costs costs{.tile = 1, .start = 0.25, .merge = 0.5};
    const lean_split policy{{.costs = {.start = 2, .start_row = 0, .piece = 8, .piece_row = 0}}};
    const makespan m = model_step(items, policy, units, costs);
    const std::uint64_t used = std::min<std::uint64_t>(units, pieces);
    if (used != 0) REQUIRE(m.time <= m.ideal * units / static_cast<double>(used) + 1 + 2 * costs.start + 2 * costs.merge + 1e-9);
    REQUIRE(m.partials <= items.size() + m.workers);
    REQUIRE(m.time + 1e-9 >= m.ideal);
  }
}

TEST_CASE("workers start in order on the first free unit") {
  const double times[] = {3, 1, 1, 1, 4};
  CHECK(list_schedule(times, 1) == 10);
  CHECK(list_schedule(times, 2) == 7);  // 3 | 1 1 1, then 4 on either
  CHECK(list_schedule(times, 3) == 5);  // 3 | 1 1 | 1, then 4
  CHECK(list_schedule(times, 9) == 4);
  CHECK(list_schedule({}, 4) == 0);
}

TEST_CASE("costs count where they arise") {
  const item_load items[] = {{4, 1}, {0, 1}, {2, 1}};
  const block_costs costs{.tile = 1, .start = 10, .merge = 100};
  const makespan whole = model_step(items, no_split{}, 1, costs);
  CHECK((whole.time == 26 && whole.ideal == 26 && whole.partials == 0 && whole.workers == 2));
  const makespan split = model_step(items, fixed_split{{}, 2}, 1, costs);  // 2 + 2 | 2: the third is whole
  CHECK((split.time == 236 && split.partials == 2 && split.workers == 3));
  CHECK(split.occupancy() == Approx(26.0 / 236));
  const makespan nothing = model_step({}, lean_split{}, 4, costs);
  CHECK((nothing.time == 0 && nothing.occupancy() == 1));
}

TEST_CASE("shares come in order and cover every piece") {
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    std::vector<item_load> items(random() % 20);
    for (item_load& i : items) i = {static_cast<std::uint32_t>(random() % 50), static_cast<std::uint32_t>(1 + random() % 50)};
    const lean d;
    std::uint64_t length = 0;
    for (const item_load& i : items) length += d.length(i);
    const auto workers = static_cast<std::uint32_t>(1 + random() % 200);
    std::vector<std::uint64_t> next(items.size(), 0);
    std::uint32_t last = 0;
    for_each_share(d, items, length, workers, [&](std::uint32_t w, std::uint32_t i, range pieces) {
      REQUIRE(w >= last);
      last = w;
      REQUIRE(pieces.begin == next[i]);
      next[i] = pieces.end;
    });
    for (std::uint32_t i = 0; i < items.size(); ++i) REQUIRE(next[i] == items[i].pieces);
  }
}
