// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/plan_view.hpp"

#include <cstring>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::attention;

namespace {

plan_item item(std::uint32_t pieces) {
  plan_item i;
  i.pieces = {0, 0, pieces};
  return i;
}

}  // namespace

TEST_CASE("a worker folds from its cut to the next") {
  const plan_item items[] = {item(3), item(1), item(5)};
  const plan_cut cuts[] = {{0, 0}, {0, 2}, {2, 1}, {2, 4}, {3, 0}, {3, 0}};  // the last slot is free
  const plan_view p{.items = items, .cuts = cuts, .item_count = 3, .workers = 4, .slots = 5};
  const range expected[5][3] = {{{0, 2}, {}, {}}, {{2, 3}, {0, 1}, {0, 1}}, {{}, {}, {1, 4}}, {{}, {}, {4, 5}}, {{}, {}, {}}};
  for (std::uint32_t w = 0; w < p.slots; ++w)
    for (std::uint32_t i = 0; i < p.item_count; ++i) {
      CAPTURE(w, i);
      CHECK(pieces_of(p, w, i) == expected[w][i]);
      const range touched = items_of(p, w);
      CHECK((i >= touched.begin && i < touched.end) == !expected[w][i].empty());
    }
  CHECK(split_slot(p, 1, 0) == 0);  // begun by worker 0
  CHECK(split_slot(p, 1, 1) == 1);
  CHECK(split_slot(p, 1, 2) == 1);
  CHECK(split_slot(p, 2, 2) == 0);
}

TEST_CASE("live pieces are sinks and what is recent") {
  const live_pieces p{2, 5, 8};
  REQUIRE(p.count() == 5);
  const std::uint32_t expected[] = {0, 1, 5, 6, 7};
  for (std::uint32_t i = 0; i < 5; ++i) CHECK(p.piece(i) == expected[i]);
}

TEST_CASE("a plan can be copied as bytes and read where it was copied to") {
  struct block {
    plan_item items[2] = {item(4), item(2)};
    plan_cut cuts[3] = {{0, 0}, {0, 3}, {2, 0}};
    query_span spans[1] = {{7, 8, 1, 9}};
    plan_member members[1] = {{5, 6}};
  };
  std::vector<block> from(1), to(1);
  const plan_view here{.items = from[0].items, .cuts = from[0].cuts, .spans = from[0].spans, .members = from[0].members, .item_count = 2, .span_count = 1, .workers = 2, .slots = 2, .merge_depth = 4};
  std::memcpy(to.data(), from.data(), sizeof(block));
  from[0] = {};
  const plan_view there = moved(here, reinterpret_cast<const std::byte*>(from.data()), reinterpret_cast<const std::byte*>(to.data()));
  CHECK(there.items == to[0].items);
  CHECK(pieces_of(there, 0, 0) == range{0, 3});
  CHECK(pieces_of(there, 1, 1) == range{0, 2});
  CHECK(there.spans[0].sequence == 7);
  CHECK(there.members[0] == plan_member{5, 6});
  CHECK(there.merge_depth == 4);
}

TEST_CASE("a span is its tiles' rows, one after another") {
  for (const query_span s : {query_span{3, 70, 200, 9, 64}, query_span{0, 0, 64, 0}, query_span{1, 63, 2, 5}, query_span{2, 128, 1, 0}, query_span{4, 10, 0, 7}}) {
    std::uint32_t rows = 0;
    for (std::uint32_t k = 0; k < 6; ++k) {
      const query_span part = rows_in_tile(s, k);
      if (part.count == 0) continue;
      CHECK(part.sequence == s.sequence);
      CHECK(part.whole_until == s.whole_until);
      CHECK(part.first == s.first + rows);
      CHECK(part.row == s.row + rows);
      CHECK(part.first / quire::tile_tokens == (part.first + part.count - 1) / quire::tile_tokens);
      rows += part.count;
    }
    CHECK(rows == s.count);
  }
}
