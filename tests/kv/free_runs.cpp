// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/free_runs.hpp"

#include <algorithm>
#include <random>
#include <set>

#include "catch.hpp"

using namespace quire;
using kv::free_runs;

TEST_CASE("a set of numbers finds its next and its last member at every size") {
  for (std::uint32_t size : {1u, 2u, 63u, 64u, 65u, 4096u, 4097u, 300000u}) {
    kv::detail::number_set set(size);
    std::set<std::uint32_t> model;
    std::mt19937 random(size);
    for (int i = 0; i < 3000; ++i) {
      const std::uint32_t n = static_cast<std::uint32_t>(random() % size), at = static_cast<std::uint32_t>(random() % size);
      if (random() % 2 != 0) set.insert(n), model.insert(n);
      else set.erase(n), model.erase(n);
      const auto next = model.lower_bound(at);
      REQUIRE(set.at_or_after(at) == (next == model.end() ? free_runs::none : *next));
      REQUIRE(set.last() == (model.empty() ? free_runs::none : *model.rbegin()));
    }
  }
}

TEST_CASE("runs are counted over gaps") {
  const std::uint32_t n = free_runs::none;
  CHECK(kv::count_runs({}) == 0);
  CHECK(kv::count_runs(std::vector<std::uint32_t>{n, n}) == 0);
  CHECK(kv::count_runs(std::vector<std::uint32_t>{4, 5, 6, 9, 10, 3}) == 3);
  CHECK(kv::count_runs(std::vector<std::uint32_t>{4, n, 5, 7}) == 2);
}

TEST_CASE("owners that grow in turn stay contiguous, and a group of one scatters them") {
  const auto runs_of = [](std::uint32_t group) {
    free_runs free(512, 8);
    std::vector<std::uint32_t> held[8];
    for (int i = 0; i < 32; ++i)
      for (std::uint32_t o = 0; o < 8; ++o) held[o].push_back(free.acquire(o, group));
    std::uint32_t runs = 0;
    for (const auto& h : held) runs += kv::count_runs(h);
    REQUIRE(free.check());
    return runs;
  };
  CHECK(runs_of(1) == 8 * 32);
  CHECK(runs_of(4) == 8 * 8);
  CHECK(runs_of(32) == 8);
}

TEST_CASE("a group is placed behind the last slot, in the smallest run that holds it, in the longest, in another's rest") {
  free_runs free(100, 3);
  CHECK(free.acquire(0, 10) == 0);
  CHECK(free.acquire(1, 20) == 10);
  for (std::uint32_t i = 1; i < 10; ++i) CHECK(free.acquire(0, 10) == i);
  CHECK(free.acquire(0, 10) == 30);  // 10 is taken: a new group at the start of the only free run
  free.leave(0);
  CHECK(free.acquire(0, 5) == 31);  // left, but it stays behind its last slot's place
  CHECK(free.longest() == 100 - 36);
  for (std::uint32_t p = 2; p < 8; ++p) free.release(p);  // a hole of six
  CHECK(free.acquire(2, 6) == 2);
  free.leave(2);
  CHECK(free.acquire(2, 7) == 36);
  while (free.longest() != 0) REQUIRE(free.acquire() != free_runs::none);
  CHECK(free.free() == 19 + 4 + 6);  // the rests of three groups
  CHECK(free.acquire() == 29);       // the end of the longest
  REQUIRE(free.check());
  std::uint32_t left = free.free();
  while (free.acquire(2, 3) != free_runs::none) --left;
  CHECK(left == 0);
  CHECK(free.free() == 0);
  REQUIRE(free.check());
}

TEST_CASE("a slot given back by its group is handed out again at the same place") {
  free_runs free(64, 2);
  for (std::uint32_t i = 0; i < 5; ++i) CHECK(free.acquire(0, 16) == i);
  CHECK(free.acquire(1, 16) == 16);
  free.release(4);
  free.release(3);
  REQUIRE(free.check());
  CHECK(free.acquire(0, 16) == 3);
  free.release(1);
  CHECK(free.acquire(0, 16) == 4);
  REQUIRE(free.check());
}

TEST_CASE("half a million random operations agree with a plain list of slots") {
  std::mt19937 random(7);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  for (const std::uint32_t slots : {1u, 5u, 64u, 300u}) {
    constexpr std::uint32_t owners = 6;
    free_runs free(slots, owners);
    std::vector<bool> taken(slots);
    std::vector<std::uint32_t> held;
    std::uint32_t full = 0;
    for (int i = 0; i < 125000; ++i) {
      const std::uint32_t dice = below(100), level = i / 2000 % 3;  // mostly empty, in between, mostly full
      if (dice < 30 + 20 * level) {
        const std::uint32_t s = below(8) == 0 ? free.acquire() : free.acquire(below(owners), below(12));
        if (held.size() == slots) {
          ++full;
          REQUIRE(s == free_runs::none);
        } else {
          REQUIRE(s < slots);
          REQUIRE_FALSE(taken[s]);
          taken[s] = true;
          held.push_back(s);
        }
      } else if (dice < 97 && !held.empty()) {
        const std::size_t at = below(3) == 0 ? held.size() - 1 : below(static_cast<std::uint32_t>(held.size()));
        free.release(held[at]);
        taken[held[at]] = false;
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      } else {
        free.leave(below(owners));
      }
      REQUIRE(free.free() == slots - held.size());
      if (i % 16 == 0 && !free.check()) FAIL("operation " << i << " of " << slots << " slots");
    }
    CHECK(full > 100);
    for (std::uint32_t s : held) free.release(s);
    for (std::uint32_t o = 0; o < owners; ++o) free.leave(o);
    CHECK(free.longest() == slots);
    CHECK(free.check());
  }
}
