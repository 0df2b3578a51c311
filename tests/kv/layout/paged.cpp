// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/layout/paged.hpp"

#include <set>

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/store.hpp"

using namespace quire;

using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;
static_assert(kv::Layout<kv::paged<int4>> && kv::Layout<kv::paged<kv::raw_f16, kv::raw_f32>>);
static_assert(kv::paged<int4>::rule == kv::read_rule::causal_seal && kv::paged<int4>::traits.shareable && kv::paged<int4>::traits.prefix_pure);

TEST_CASE("a page is layers by heads by key tile and value tile in that order") {
  const extents e{3, 2, 24};
  const kv::paged<int4> l(e);
  CHECK(l.group_heads(0) == 6);
  CHECK(kv::page_bytes(l, 0) == 6 * int4{}.piece_bytes(24));
  std::uint32_t next = 0;
  for (std::uint32_t layer = 0; layer < 3; ++layer)
    for (std::uint32_t head = 0; head < 2; ++head) {
      CHECK(l.slot(layer, head).group == 0);
      CHECK(l.slot(layer, head).index == next++);
    }
  CHECK_FALSE(l.group_sees(0).limited());
}

TEST_CASE("addresses of a paged store are disjoint and inside their page") {
  const extents e{2, 3, 16};
  const kv::paged<int4> l(e);
  kv::store store(l, kv::pages_for(l, 2, 300));
  for (std::uint32_t i = 0; i < 2; ++i) {
    std::uint32_t s = 0;
    REQUIRE(store.open(s));
    REQUIRE(store.reserve(s, 300));
    REQUIRE(store.commit(s, 300));
  }
  const auto v = store.view();
  const std::size_t piece = int4{}.piece_bytes(16), page = kv::page_bytes(l, 0);
  std::set<std::size_t> starts;
  std::set<const std::byte*> tails;
  for (std::uint32_t s = 0; s < 2; ++s)
    for (std::uint32_t layer = 0; layer < 2; ++layer)
      for (std::uint32_t head = 0; head < 3; ++head) {
        tails.insert(v.tail(s, layer, head));
        for (std::uint32_t t = 0; t < 4; ++t) {
          const auto at = static_cast<std::size_t>(v.sealed(s, layer, head, t) - v.base[0]);
          CHECK(at % 64 == 0);
          CHECK(at / page == (at + piece - 1) / page);
          CHECK(at + piece <= page * store.options().pages[0]);
          starts.insert(at);
        }
      }
  REQUIRE(starts.size() == 2 * 2 * 3 * 4);
  REQUIRE(tails.size() == 2 * 2 * 3);
  std::size_t end = 0;
  for (std::size_t at : starts) {
    CHECK(at >= end);
    end = at + piece;
  }
}
