// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/copy_thread.hpp"

#include <cstring>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire;

TEST_CASE("a copy thread copies in order and says when, without being waited for") {
  tier::memory_pool a(256, 640), b(256, 640);
  const tier::pool_ref pools[] = {a, b};
  std::memset(a.at(0), 1, 256 * 640), std::memset(b.at(0), 0, 256 * 640);
  tier::copy_thread link(pools, 4);
  std::mt19937 random(1);
  std::uint32_t started = 0, named = 0, refused = 0;
  while (named < 2000) {
    const std::uint32_t at = static_cast<std::uint32_t>(random() % 250), n = 1 + static_cast<std::uint32_t>(random() % 6);
    const bool there = started % 2 == 0;
    if (started < 2000) {
      if (link.start(started, {.from = {there ? 0u : 1u, at}, .to = {there ? 1u : 0u, at}, .slots = n, .bytes = n * 640}, 0)) {
        ++started;
      } else {
        ++refused;
        CHECK(link.wait(1.5) >= 1.5);
      }
    }
    while (const auto landed = link.poll(0)) {
      REQUIRE(landed->id == named++);
      REQUIRE(landed->why);
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("what a copy thread has copied is what stood there, and it stops with copies under way") {
  tier::memory_pool a(64, 4096), b(64, 4096), narrow(8, 8);
  const tier::pool_ref pools[] = {a, b, narrow};
  for (int i = 0; i < 64 * 4096; ++i) a.at(0)[i] = static_cast<std::byte>(i * 31 >> 4);
  {
    tier::copy_thread link(pools, 64);
    for (std::uint32_t i = 0; i < 64; ++i) REQUIRE(link.start(i, {.from = {0, i}, .to = {1, 63 - i}, .slots = 1, .bytes = 4096}, 0));
    for (std::uint32_t named = 0; named < 64; ++named) {
      link.wait(0);
      const auto landed = link.poll(0);
      REQUIRE(landed);
      REQUIRE(landed->why);
    }
    for (std::uint32_t i = 0; i < 64; ++i) CHECK(std::memcmp(a.at(i), b.at(63 - i), 4096) == 0);
    REQUIRE(link.start(1, {.from = {0, 0}, .to = {2, 0}, .slots = 1, .bytes = 8}, 0));
    REQUIRE(link.start(2, {.from = {3, 0}, .to = {0, 0}, .slots = 1, .bytes = 8}, 0));
    link.wait(0);
    CHECK(link.poll(0)->why.code == errc::unsupported_shape);
    link.wait(0);
    CHECK(link.poll(0)->why.code == errc::out_of_range);
    for (std::uint32_t i = 0; i < 64; ++i) REQUIRE(link.start(i, {.from = {0, i}, .to = {1, i}, .slots = 1, .bytes = 4096}, 0));
  }
}
