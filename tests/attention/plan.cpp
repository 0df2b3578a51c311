// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/plan.hpp"

#include <map>

#include "catch.hpp"
#include "quire/kv/layout/head_split.hpp"

using namespace quire;
using attention::query_span;
using attention::work_item;

namespace {

template <kv::Layout L>
void check_plan(const L& layout, const attention::problem& p, std::span<const query_span> spans) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> times;  // (row, head)
  std::uint64_t cost = 0;
  std::uint32_t last_span = 0;
  const attention::lean dealing;
  const std::uint64_t total = attention::for_each_item(layout, p, 0, spans, attention::block_tokens(p), dealing, [&](const work_item& item, attention::item_load load, std::uint64_t before) {
    REQUIRE(before == cost);
    REQUIRE((load.pieces == item.pieces.count() && load.rows == item.count * p.group()));
    REQUIRE(item.span >= last_span);
    last_span = item.span;
    cost += dealing.length(load);
    const query_span& s = spans[item.span];
    REQUIRE(item.count >= 1);
    REQUIRE(item.count <= attention::block_tokens(p));
    REQUIRE(item.first / tile_tokens == (item.first + item.count - 1) / tile_tokens);
    REQUIRE(item.first >= s.first);
    REQUIRE(item.first + item.count <= s.first + s.count);
    for (std::uint32_t i = 0; i < item.count; ++i) ++times[{s.row + item.first - s.first + i, item.head}];
    // live pieces by brute force: a piece lives exactly if some row of the item sees one of its tokens
    const kv::visibility sees = layout.group_sees(layout.slot(0, item.head).group);
    std::vector<std::uint32_t> live, listed;
    for (std::uint32_t piece = 0; piece * piece_tokens < item.first + item.count; ++piece) {
      bool any = false;
      for (std::uint32_t key = piece * piece_tokens; key < (piece + 1) * piece_tokens && !any; ++key)
        for (std::uint32_t i = 0; i < item.count && !any; ++i) any = sees.sees(item.first + i, key);
      if (any) live.push_back(piece);
    }
    for (std::uint32_t i = 0; i < item.pieces.count(); ++i) listed.push_back(item.pieces.piece(i));
    if (live != listed) FAIL("live pieces of head " << item.head << " at " << item.first);
  });
  CHECK(total == cost);
  std::size_t rows = 0;
  for (const query_span& s : spans) rows += s.count;
  CHECK(times.size() == rows * p.kv_heads);
  for (const auto& [key, n] : times)
    if (n != 1) FAIL("row " << key.first << " head " << key.second << " is covered " << n << " times");
}

}  // namespace

TEST_CASE("items cover every row and head once and name exactly the live pieces") {
  const extents e{1, 3, 64};
  const std::uint8_t keep[] = {1, 0, 0};
  const kv::head_classes classes(e, keep);
  const query_span spans[] = {{0, 0, 1, 0}, {1, 700, 1, 1}, {2, 63, 2, 2}, {3, 100, 0, 4}, {4, 0, 300, 4}, {5, 1000, 150, 304}, {6, 2047, 1, 454}};
  for (std::uint32_t group : {1u, 3u, 9u, 64u})
    for (std::uint32_t dim : {8u, 64u, 256u}) {
      const attention::problem p{.q_heads = 3 * group, .kv_heads = 3, .dim_k = dim, .dim_v = dim};
      CAPTURE(group, dim);
      check_plan(kv::paged<kv::raw_bf16>(e), p, spans);
      for (std::uint32_t sinks : {0u, 1u, 64u, 256u, 257u, 600u})
        for (std::uint32_t window : {1u, 256u, 300u, 1500u}) {
          CAPTURE(sinks, window);
          check_plan(kv::head_split<kv::raw_bf16>(e, classes, {.sinks = sinks, .window = window}), p, spans);
        }
    }
}

TEST_CASE("a step without rows has no items") {
  const query_span none[] = {{0, 10, 0, 0}};
  const auto visit = [](std::span<const query_span> spans) {
    return attention::for_each_item(kv::paged<kv::raw_bf16>({1, 1, 64}), {}, 0, spans, 64, attention::lean{}, [](const work_item&, attention::item_load, std::uint64_t) { FAIL(); });
  };
  CHECK(visit(none) == 0);
  CHECK(visit({}) == 0);
}

TEST_CASE("blocks are powers of two up to a tile") {
  for (std::uint32_t dim = 8; dim <= 256; dim += 8)
    for (std::uint32_t group = 1; group <= 64; ++group) {
      const attention::problem p{.q_heads = group, .kv_heads = 1, .dim_k = dim, .dim_v = dim};
      const std::uint32_t b = attention::block_tokens(p);
      if (!std::has_single_bit(b) || b > tile_tokens || attention::item_rows(p) != b * group) FAIL("group " << group << " head_dim " << dim);
    }
}
