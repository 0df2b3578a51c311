// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/sequence_entry.hpp"

#include "catch.hpp"
#include "quire/kv/layout/paged.hpp"

using namespace quire;

TEST_CASE("an entry counts its pages and says when they are not what its length needs") {
  using entry = kv::detail::sequence_entry<1>;
  const kv::paged<kv::raw_bf16> layout({1, 1, 8});
  const auto count = [&](const entry& e, std::uint32_t pool, std::vector<std::uint32_t>* out = nullptr) {
    std::vector<std::uint32_t> held(4, 0);
    const bool ok = e.count(layout, pool, held);
    if (out) *out = held;
    return ok;
  };
  entry e{.pages = {{{2, 3}}}, .overlay = {}, .kept_from = {}, .length = 130, .tail = 1, .state = 0, .live = true};
  std::vector<std::uint32_t> held;
  CHECK(count(e, 0, &held));
  CHECK(held == std::vector<std::uint32_t>{0, 0, 1, 1});
  CHECK(count(e, entry::tails, &held));
  CHECK(held == std::vector<std::uint32_t>{0, 1, 0, 0});
  CHECK(count(e, entry::states, &held));
  CHECK(held == std::vector<std::uint32_t>{1, 0, 0, 0});
  CHECK(count(e, entry::overlays));
  entry shorter = e;
  shorter.pages[0].pop_back();
  CHECK_FALSE(count(shorter, 0));
  entry hole = e;
  hole.pages[0][1] = entry::absent;  // this layout drops nothing
  CHECK_FALSE(count(hole, 0));
  entry dead = e;
  dead.live = false;
  CHECK_FALSE(count(dead, 0));
  CHECK_FALSE(count(dead, entry::states));
  entry stateless = e;
  stateless.state = entry::absent;
  CHECK_FALSE(count(stateless, entry::states));
  CHECK(count(entry{}, 0));
}
