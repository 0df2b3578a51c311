// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/layout/head_split.hpp"

#include <set>

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/store.hpp"

using namespace quire;

namespace {
using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;
using split = kv::head_split<int4>;
constexpr std::uint8_t mixed[] = {1, 0, 0, 0, 1, 1};
}  // namespace

static_assert(kv::Layout<split> && !split::traits.rewindable && split::max_groups == 2);

TEST_CASE("classes number the heads of each group without gaps") {
  const kv::head_classes c({2, 3, 16}, mixed);
  CHECK(c.count(0) == 3);
  CHECK(c.count(1) == 3);
  std::set<std::uint32_t> places[2];
  for (std::uint32_t h = 0; h < 6; ++h) {
    CHECK(c.slots()[h].group == (mixed[h] ? 0 : 1));
    places[c.slots()[h].group].insert(c.slots()[h].index);
  }
  for (const auto& p : places) {
    CHECK(p.size() == 3);
    CHECK(*p.rbegin() == 2);
  }
}

TEST_CASE("a head split answers for each group") {
  const extents e{2, 3, 16};
  const kv::head_classes c(e, mixed);
  const split l(e, c, {.sinks = 64, .window = 100});
  CHECK(l.groups() == 2);
  CHECK_FALSE(l.group_sees(0).limited());
  CHECK(l.group_sees(1) == kv::visibility{64, 100});
  CHECK(l.slot(1, 2).group == 0);
  CHECK(l.slot(0, 1).group == 1);
  CHECK(kv::page_bytes(l, 0) == 3 * int4{}.piece_bytes(16));
  CHECK(kv::page_bytes(l, 0) + kv::page_bytes(l, 1) == kv::page_bytes(kv::paged<int4>(e), 0));
}

TEST_CASE("addresses of a split store are disjoint and inside their page") {
  const extents e{2, 3, 16};
  const kv::head_classes c(e, mixed);
  const split l(e, c, {.sinks = 64, .window = 100});
  kv::store store(l, kv::pages_for(l, 2, 900));
  for (std::uint32_t i = 0; i < 2; ++i) {
    std::uint32_t s = 0;
    REQUIRE(store.open(s));
    REQUIRE(store.reserve(s, 512));
    REQUIRE(store.commit(s, 512));
    REQUIRE(store.reserve(s, 388));
    REQUIRE(store.commit(s, 388));
  }
  REQUIRE(store.check());
  const auto v = store.view();
  const std::size_t piece = int4{}.piece_bytes(16);
  std::set<std::pair<std::uint32_t, std::size_t>> starts;
  std::size_t expected = 0;
  for (std::uint32_t s = 0; s < 2; ++s)
    for (std::uint32_t layer = 0; layer < 2; ++layer)
      for (std::uint32_t head = 0; head < 3; ++head) {
        const std::uint32_t g = l.slot(layer, head).group;
        const auto runs = v.head(s, layer, head, 14, v.tail(s, layer, head), 4);
        CHECK(runs.count == (g == 0 ? 2 : 3));
        for (std::uint32_t i = 0; i + 1 < runs.count; ++i)
          for (std::uint32_t t = 0; t < runs.runs[i].tiles(); ++t, ++expected) {
            const auto at = static_cast<std::size_t>(runs.runs[i].tile(t) - v.base[g]);
            const std::size_t page = kv::page_bytes(l, g);
            CHECK(at % 64 == 0);
            CHECK(at / page == (at + piece - 1) / page);
            CHECK(at + piece <= page * store.options().pages[g]);
            starts.insert({g, at});
          }
      }
  CHECK(starts.size() == expected);
  CHECK(expected == 2 * (3 * 14 + 3 * (1 + 2)));  // sinks tile 0; query 900 sees from 801: tiles 12 and 13
}

TEST_CASE("heads all of one class leave the other group empty and the store works") {
  const extents e{1, 2, 8};
  for (std::uint8_t keep : {0, 1}) {
    const std::uint8_t table[] = {keep, keep};
    const kv::head_classes c(e, table);
    const split l(e, c, {.sinks = 0, .window = 64});
    kv::store store(l, kv::pages_for(l, 1, 640));
    std::uint32_t s = 0;
    REQUIRE(store.open(s));
    for (std::uint32_t at = 0; at < 640; at += 40) {
      REQUIRE(store.reserve(s, 40));
      REQUIRE(store.commit(s, 40));
      CHECK(store.bytes(s) == kv::sequence_bytes(l, at + 40));
    }
    CHECK(store.check());
  }
}

TEST_CASE("head splits of a small model free what they promise at 8192 tokens, measured") {
  const extents model{30, 3, 64};  // SmolLM2-135M
  const auto held = [](const auto& layout) {
    kv::store store(layout, kv::pages_for(layout, 1, 8192, 256));
    std::uint32_t s = 0;
    REQUIRE(store.open(s));
    for (std::uint32_t at = 0; at < 8192; at += 256) {
      REQUIRE(store.reserve(s, 256));
      REQUIRE(store.commit(s, 256));
    }
    REQUIRE(store.bytes(s) == kv::sequence_bytes(layout, 8192));
    return static_cast<double>(store.bytes(s));
  };
  constexpr double calibration = 8192;  // a file of head scores takes less
  const double full = held(kv::paged<kv::raw_bf16>(model));
  const auto classes = [&](std::uint32_t whole) {
    std::vector<std::uint8_t> table(model.heads(), 0);
    std::fill_n(table.begin(), whole, std::uint8_t{1});
    return kv::head_classes(model, table);
  };
  const kv::head_classes fourteen = classes(14), half = classes(45);  // 14 % induction and 1 % echo heads; half
  using razor = kv::head_split<kv::raw_bf16, kv::raw_bf16, kv::remainder::mean_token>;
  CHECK((held(razor(model, fourteen, kv::retain::scaled_window{64, 256, 5})) + calibration) / full < 0.35);
  CHECK((held(razor(model, fourteen, kv::retain::scaled_window{64, 256, 7})) + calibration) / full < 0.30);
  CHECK((held(kv::head_split<kv::raw_bf16>(model, half, kv::retain::sinks_window{64, 256})) + calibration) / full < 0.55);
}
