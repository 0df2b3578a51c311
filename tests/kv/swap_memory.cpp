// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/swap_memory.hpp"

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"

using namespace quire;

TEST_CASE("both sides of a store's pools are numbered alike, and equal pools have equal slots") {
  using int4 = kv::codec_pair<kv::integer<4, kv::group::row>>;
  const kv::head_classes classes({2, 2, 8}, std::vector<std::uint8_t>{1, 0, 0, 1});
  const kv::head_split<int4> layout({2, 2, 8}, classes, {.sinks = 64, .window = 100});
  kv::store store(layout, kv::pages_for(layout, 3, 1000));
  const auto options = kv::mirrors_for(layout, 5, 1000);
  const kv::swap_memory memory(store, options);
  constexpr std::uint32_t pools = kv::mirror_options<kv::head_split<int4>>::pools;
  REQUIRE(memory.pools().size() == 2 * pools);
  for (std::uint32_t p = 0; p < pools; ++p) {
    tier::pool_ref device = memory.pools()[p], host = memory.pools()[pools + p];
    CHECK(device.slots() == store.pool(p).pages());
    CHECK(host.slots() == options.slots[p]);
    CHECK(host.slot_bytes() == store.pool(p).page_bytes());
    CHECK(device.slot_bytes() == host.slot_bytes());
    if (device.slots() != 0 && device.slot_bytes() != 0) CHECK(device.at(1) == store.pool(p).page(1));
  }
  CHECK(options.slots[0] == 5 * 15);
  CHECK(options.slots[1] == 5 * kv::pages_held(layout, 1, 1000));
}
