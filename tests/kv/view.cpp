// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/view.hpp"

#include "catch.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/store.hpp"

using namespace quire;

static_assert(std::is_trivially_copyable_v<kv::store_view<kv::paged<kv::raw_bf16>>>);
static_assert(std::is_trivially_copyable_v<kv::store_view<kv::head_split<kv::raw_f32>>>);

namespace {

/// Every token that a query in tile `tile` may see lies in exactly one run, at its slot and position; gaps hold only
/// tokens nobody sees; runs stand in slot order.
template <kv::Layout L>
void check_runs(const L& layout, std::uint32_t length) {
  kv::store store(layout, kv::pages_for(layout, 1, 2000, length));
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, length));
  REQUIRE(store.commit(s, length));
  const auto view = store.view();
  for (std::uint32_t head = 0; head < 2; ++head) {
    const kv::visibility sees = layout.group_sees(layout.slot(0, head).group);
    const std::uint32_t tile = length / 64, open = length % 64 + 1;
    const kv::head_view v = view.head(s, 0, head, tile, view.tail(s, 0, head), open);
    CAPTURE(length, head);
    REQUIRE(v.count >= 1);
    REQUIRE(v.count <= kv::head_view::max_runs);
    CHECK(v.sees == sees);
    CHECK(v.slots() == tile + 1);
    std::vector<int> times(length + 1, 0);
    std::uint32_t end = 0;
    for (std::uint32_t i = 0; i < v.count; ++i) {
      const kv::run& r = v.runs[i];
      CHECK(r.slot >= end);
      end = r.slot + r.tiles();
      CHECK(r.position == static_cast<std::int32_t>(r.slot * 64));
      CHECK(r.form == (i + 1 == v.count ? 0 : 1));
      CHECK(r.base != nullptr);
      for (std::uint32_t j = 0; j < r.tokens; ++j) ++times.at(static_cast<std::size_t>(r.position_of(j)));
    }
    for (std::uint32_t key = 0; key <= length; ++key)
      if (times[key] > 1 || (sees.sees(length, key) && times[key] == 0)) FAIL("token " << key << " lies in " << times[key] << " runs");
  }
}

}  // namespace

TEST_CASE("runs hold every visible token once") {
  const extents e{1, 2, 8};
  const std::uint8_t keep[] = {1, 0};
  const kv::head_classes classes(e, keep);
  for (std::uint32_t length : {1u, 63u, 64u, 65u, 130u, 192u, 193u, 256u, 500u, 1000u, 1024u}) {
    check_runs(kv::paged<kv::raw_bf16>(e), length);
    for (std::uint32_t sinks : {0u, 1u, 64u, 70u})
      for (std::uint32_t window : {1u, 64u, 100u}) check_runs(kv::head_split<kv::raw_bf16>(e, classes, {.sinks = sinks, .window = window}), length);
  }
}

TEST_CASE("a view without exact tokens has sealed runs only") {
  const kv::paged<kv::raw_bf16> l({1, 1, 8});
  kv::store store(l, kv::pages_for(l, 1, 128));
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  CHECK(store.view().head(s, 0, 0, 0, nullptr, 0).count == 0);
  REQUIRE(store.reserve(s, 128));
  REQUIRE(store.commit(s, 128));
  const auto v = store.view().head(s, 0, 0, 2, nullptr, 0);
  REQUIRE(v.count == 1);
  CHECK(v.runs[0].tokens == 128);
  const kv::codec_context at = store.view().context(0, 0, 0, 1, kv::side::value);
  CHECK(at.tile == 1);
  CHECK(at.which == kv::side::value);
}
