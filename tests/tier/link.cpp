// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/link.hpp"

#include "catch.hpp"
#include "tier/fake_link.hpp"

using namespace quire;

namespace {
struct silent_link {
  bool start(std::uint32_t, const tier::copy&, double) noexcept { return true; }
  std::optional<tier::landing> poll(double) noexcept { return {}; }
};
}  // namespace
static_assert(!tier::Link<silent_link>);

TEST_CASE("the link of the tests notices who touches a copy under way") {
  tier::memory_pool a(4, 8), b(4, 8);
  const tier::pool_ref pools[] = {a, b};
  std::memset(a.at(0), 1, 32), std::memset(b.at(0), 2, 32);
  const auto run = [&](auto&& meanwhile) {
    tier_test::fake_link link(pools, {.seed = 3});
    while (!link.start(7, {.from = {0, 1}, .to = {1, 2}, .slots = 2, .bytes = 16}, 0)) {}
    CHECK(link.busy({1, 3}, false));
    CHECK_FALSE(link.busy({0, 1}, false));
    CHECK(link.busy({0, 1}, true));
    meanwhile(link);
    for (;;)
      if (const auto landed = link.poll(link.wait(0))) {
        CHECK(landed->id == 7);
        break;
      }
    if (link.violations == 0) CHECK(std::memcmp(a.at(1), b.at(2), 16) == 0);
    return link.violations;
  };
  CHECK(run([](auto&) {}) == 0);
  CHECK(run([&](auto&) { a.at(2)[7] ^= std::byte{1}; }) == 1);
  CHECK(run([&](auto&) { b.at(2)[0] ^= std::byte{1}; }) == 1);
  CHECK(run([&](auto& link) {
          while (!link.start(8, {.from = {1, 0}, .to = {0, 2}, .slots = 1, .bytes = 8}, 0)) {}
          link.moving.pop_back();
        }) == 1);
}
