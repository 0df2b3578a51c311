// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/pool.hpp"

#include <cstring>
#include <set>

#include "catch.hpp"

using namespace quire;

TEST_CASE("a pool hands out every page once and says none when empty") {
  kv::page_pool pool(10, 192);
  std::set<std::uint32_t> pages;
  for (int i = 0; i < 10; ++i) pages.insert(pool.acquire());
  CHECK(pages.size() == 10);
  CHECK(*pages.begin() == 0);
  CHECK(*pages.rbegin() == 9);
  CHECK(pool.acquire() == kv::page_pool::none);
  CHECK(pool.free_pages() == 0);
  for (std::uint32_t p : pages) std::memset(pool.page(p), static_cast<int>(p), pool.page_bytes());
  for (std::uint32_t p : pages) CHECK(pool.page(p)[191] == static_cast<std::byte>(p));
  CHECK(reinterpret_cast<std::uintptr_t>(pool.base()) % 64 == 0);
}

TEST_CASE("a shared page goes back with its last reference") {
  kv::page_pool pool(2, 64);
  const std::uint32_t p = pool.acquire();
  pool.share(p);
  pool.share(p);
  CHECK(pool.references(p) == 3);
  pool.release(p);
  pool.release(p);
  CHECK(pool.free_pages() == 1);
  pool.release(p);
  CHECK(pool.free_pages() == 2);
  CHECK(pool.references(p) == 0);
}

TEST_CASE("check finds pages that are lost or counted wrong") {
  kv::page_pool pool(3, 64);
  const std::uint32_t a = pool.acquire(), b = pool.acquire();
  std::vector<std::uint32_t> held(3, 0);
  CHECK_FALSE(pool.check(held));  // two pages nobody holds are lost
  held[a] = held[b] = 1;
  CHECK(pool.check(held));
  held[a] = 2;
  CHECK_FALSE(pool.check(held));
  held.pop_back();
  CHECK_FALSE(pool.check(held));
}

TEST_CASE("pools of no pages or of empty pages are valid") {
  kv::page_pool none, empty(0, 64), weightless(4, 0);
  CHECK(none.acquire() == kv::page_pool::none);
  CHECK(empty.acquire() == kv::page_pool::none);
  CHECK(weightless.acquire() != kv::page_pool::none);
  CHECK(weightless.free_pages() == 3);
}

TEST_CASE("pages of an owner lie side by side, shared ones stay where they are") {
  kv::page_pool pool(64, 64, 2);
  std::vector<std::uint32_t> a, b;
  for (int i = 0; i < 16; ++i) a.push_back(pool.acquire(0, 4)), b.push_back(pool.acquire(1, 16));
  CHECK(kv::count_runs(a) <= 4);
  CHECK(kv::count_runs(b) == 1);
  pool.share(a[3]);
  const std::uint32_t kept = a[3];
  pool.shrink(a, 0);
  CHECK(pool.references(kept) == 1);
  CHECK(pool.free_pages() == 64 - 16 - 1);
  pool.leave(0);
  std::vector<std::uint32_t> held(64, 0);
  held[kept] = 1;
  for (std::uint32_t p : b) held[p] = 1;
  CHECK(pool.check(held));
}

TEST_CASE("a table that shrinks releases its pages once and knows empty entries") {
  kv::page_pool pool(4, 64);
  std::vector<std::uint32_t> table{pool.acquire(), kv::page_pool::none, pool.acquire(), pool.acquire()};
  pool.share(table[3]);
  pool.shrink(table, 4);
  CHECK(pool.free_pages() == 1);
  pool.shrink(table, 1);
  CHECK(table.size() == 1);
  CHECK(pool.free_pages() == 2);  // the shared page has an owner left
  pool.shrink(table, 0);
  CHECK(pool.free_pages() == 3);
}
