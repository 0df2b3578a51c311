// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/memory.hpp"

#include <vector>

#include "catch.hpp"
#include "tier/guarded_memory.hpp"

using namespace quire;

namespace {

std::vector<std::byte> bytes(int n, int salt) {
  std::vector<std::byte> b(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) b[static_cast<std::size_t>(i)] = static_cast<std::byte>(i * 7 + salt);
  return b;
}

void check_moves(tier::memory* where) {
  const tier::arena a(100, where), other(64, where);
  CHECK(a.on_host() == (where == nullptr));
  const auto sent = bytes(100, 3);
  REQUIRE(a.write(a.data(), sent));
  a.clear(a.data() + 10, 5);
  other.copy(other.data() + 4, a.data() + 8, 20);
  std::vector<std::byte> got(20), want(sent.begin() + 8, sent.begin() + 28);
  for (std::size_t i = 2; i < 7; ++i) want[i] = std::byte{0};
  REQUIRE(other.read(other.data() + 4, got));
  CHECK(got == want);
  REQUIRE(a.read(a.data(), {}));  // nothing is nothing to do
  REQUIRE(a.write(a.data(), {}));
  a.clear(a.data(), 0), a.copy(a.data(), other.data(), 0);
  std::vector<std::byte> after(100);
  REQUIRE(a.read(a.data(), after));
  CHECK(after[0] == sent[0]);
  CHECK(after[99] == sent[99]);
}

}  // namespace

TEST_CASE("an arena moves its bytes in host memory and in another") {
  check_moves(nullptr);
  tier_test::guarded_memory guarded;
  check_moves(&guarded);
  CHECK(guarded.held.empty());
}

TEST_CASE("an arena is aligned, may be empty, and gives back what it took where it took it") {
  CHECK(reinterpret_cast<std::uintptr_t>(tier::arena(1).data()) % tier::huge_block::small_page == 0);
  tier_test::guarded_memory guarded;
  {
    tier::arena a(10, &guarded), empty(0, &guarded), none;
    CHECK(guarded.held.size() == 1);
    CHECK(empty.data() == nullptr);
    CHECK(none.on_host());
    std::byte* const at = a.data();
    none = std::move(a);
    CHECK(none.data() == at);
    CHECK_FALSE(none.on_host());
    none = tier::arena(10);  // its memory goes back
    CHECK(guarded.held.empty());
    CHECK(none.on_host());
  }
  CHECK(guarded.held.empty());
}

TEST_CASE("a refusal of the memory is passed on") {
  tier_test::guarded_memory guarded;
  const tier::arena a(8, &guarded);
  guarded.refuses = true;
  auto b = bytes(8, 0);
  CHECK(a.write(a.data(), b).code == errc::device);
  CHECK(a.read(a.data(), b).native == 7);
}
