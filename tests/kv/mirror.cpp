// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/mirror.hpp"

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"

using namespace quire;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::row>>;
using plain = kv::paged<int4>;
constexpr extents tiny{1, 2, 8};
const auto nothing = [](std::uint32_t, std::vector<std::uint32_t>&) {};

/// A mirror of `tiles` tiles and the tail, out and idle.
template <kv::Layout L>
void fill(kv::mirror_set<L>& set, std::uint32_t m, std::uint32_t tiles, std::int32_t priority = 0) {
  set[m].open = true, set[m].priority = priority;
  for (std::uint32_t t = 0; t < tiles; ++t) set.acquire(m, 0, t);
  set.acquire(m, kv::store<L>::tails, 0);
  set[m].mark.length = tiles * 64 + 5, set[m].exact = true;
  set.touch(m);
}

}  // namespace

TEST_CASE("the tiles of a conversation's turns come to lie side by side") {
  kv::store store(plain(tiny), kv::pages_for(plain(tiny), 1, 640));
  const auto runs = [&](std::uint32_t group) {
    kv::mirror_options<plain> o{.mirrors = 4, .slots = {200, 4, 0, 0}, .group_slots = group};
    kv::mirror_set set(store, o);
    for (std::uint32_t t = 0; t < 32; ++t)
      for (std::uint32_t m = 0; m < 4; ++m) set.acquire(m, 0, t);  // turns of all, one tile each
    REQUIRE(set.check(nothing));
    std::uint32_t n = 0;
    for (std::uint32_t m = 0; m < 4; ++m) n += kv::count_runs(set[m].slots[0]);
    return n;
  };
  CHECK(runs(1) == 4 * 32);
  CHECK(runs(16) == 4 * 2);
}

TEST_CASE("who gives way: lower priorities, then equal ones nobody waits for, older first, newest tile first; or nothing changes") {
  kv::store store(plain(tiny), kv::pages_for(plain(tiny), 1, 640));
  kv::mirror_set set(store, kv::mirror_options<plain>{.mirrors = 6, .slots = {20, 6, 0, 0}, .group_slots = 1});
  fill(set, 0, 4, 1);
  fill(set, 1, 4, 0);
  fill(set, 2, 4, 0);
  fill(set, 3, 4, 2);
  fill(set, 4, 4, 1);
  set[4].waiting = true;
  set[5].open = true, set[5].priority = 1;
  CHECK(set.make_room(5, {13, 0, 0, 0}).code == errc::out_of_pages);
  for (std::uint32_t m = 0; m < 5; ++m) CHECK(set.kept(m) == 4 * 64 + 5);
  REQUIRE(set.make_room(5, {2, 0, 0, 0}));
  CHECK(set.kept(1) == 2 * 64);
  CHECK(set.kept(2) == 4 * 64 + 5);
  set.touch(1);  // used again: now the other one is older
  REQUIRE(set.make_room(5, {3, 0, 0, 0}));
  CHECK(set.kept(1) == 2 * 64);
  CHECK(set.kept(2) == 3 * 64);
  set[2].pinned = true;
  REQUIRE(set.make_room(5, {9, 0, 0, 0}));
  CHECK(set.kept(1) == 0);
  CHECK(set.kept(2) == 3 * 64);
  CHECK(set.kept(0) == 0);
  CHECK(set.kept(3) == 4 * 64 + 5);
  CHECK(set.kept(4) == 4 * 64 + 5);
  CHECK(set.make_room(5, {10, 0, 0, 0}).code == errc::out_of_pages);
  set[5].priority = 9;
  set[4].pinned = true;
  REQUIRE(set.make_room(5, {10, 6, 0, 0}).code == errc::out_of_pages);  // the pinned one keeps its tail
  REQUIRE(set.make_room(5, {10, 5, 0, 0}));
  CHECK(set.kept(3) == 3 * 64);
  CHECK(set.kept(4) == 4 * 64 + 5);
  REQUIRE(set.check(nothing));
  for (std::uint32_t m = 0; m < 6; ++m) set.clear(m);
  CHECK(set.slots(0).free_pages() == 20);
}

TEST_CASE("where a prefix is worth nothing, losing a part is losing all") {
  using split = kv::head_split<int4>;
  const split layout(tiny, kv::head_classes(tiny, std::vector<std::uint8_t>{1, 0}), kv::retain::sinks_window{64, 100});
  static_assert(!kv::mirror_set<split>::cuttable && kv::mirror_set<plain>::cuttable);
  kv::store store(layout, kv::pages_for(layout, 1, 640));
  kv::mirror_set set(store, kv::mirror_options<split>{.mirrors = 2, .slots = {8, 8, 2, 0, 0}});
  fill(set, 0, 8);
  CHECK(set.kept(0) == 8 * 64 + 5);
  set[1].open = true;
  REQUIRE(set.make_room(1, {1, 0, 0, 0, 0}));
  CHECK(set.kept(0) == 0);
  CHECK(set.slots(0).free_pages() == 8);
  REQUIRE(set.check(nothing));
}

TEST_CASE("a mirror keeps a page in the store that others hold, and a slot under a copy is not handed out") {
  kv::store store(plain(tiny), kv::pages_for(plain(tiny), 1, 640));
  kv::mirror_set set(store, kv::mirror_options<plain>{.mirrors = 2, .slots = {2, 2, 0, 0}});
  const std::uint32_t page = store.pool(0).acquire();
  set[0].open = set[1].open = true;
  set.hold(0, 0, 1, page);
  set.hold(0, 0, 1, page);
  CHECK(store.pool(0).references(page) == 2);
  CHECK(set.kept(0) == 0);  // tile 0 is nowhere
  const std::uint32_t slot = set.acquire(0, 0, 0);
  CHECK(set.kept(0) == 128);
  set.slots(0).share(slot);  // as a copy does
  CHECK(set.make_room(1, {2, 0, 0, 0}).code == errc::out_of_pages);
  set.cut(0, 0);
  CHECK(store.pool(0).references(page) == 1);
  CHECK(set.slots(0).free_pages() == 1);
  CHECK(set.check([&](std::uint32_t p, std::vector<std::uint32_t>& held) {
    if (p == 0) ++held[slot];
  }));
  set.slots(0).release(slot);
  CHECK(set.slots(0).free_pages() == 2);
}
