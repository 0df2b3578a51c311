// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/waiting_queue.hpp"

#include <algorithm>
#include <random>
#include <set>

#include "catch.hpp"

using namespace quire::schedule;

namespace {

template <bool ByTenant>
void agrees_with_a_scan(std::uint32_t capacity, std::uint32_t tenants, unsigned seed) {
  std::mt19937 random(seed);
  waiting_queue<ByTenant> queue(capacity);
  std::vector<std::uint32_t> key(capacity), tenant(capacity), bias(tenants);
  std::set<std::uint32_t> model;
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    const auto ka = key[a] + bias[tenant[a]], kb = key[b] + bias[tenant[b]];
    return ka != kb ? ka < kb : a < b;
  };
  for (int i = 0; i < 4000; ++i) {
    const std::uint32_t slot = static_cast<std::uint32_t>(random() % capacity);
    REQUIRE(queue.contains(slot) == (model.count(slot) == 1));
    if (model.insert(slot).second) {
      key[slot] = static_cast<std::uint32_t>(random() % 50);
      tenant[slot] = static_cast<std::uint32_t>(random() % tenants);
      queue.insert(slot, tenant[slot], before);
    } else if (random() % 2) {
      const std::uint32_t gone = random() % 2 ? slot : queue.front(before);
      model.erase(gone);
      queue.erase(gone, before);
    }
    if (random() % 16 == 0) {  // the order changes: between tenants at will, inside a tenant only with a rebuild
      bias[random() % tenants] += static_cast<std::uint32_t>(random() % 30);
      if (!ByTenant || random() % 2) {
        for (const std::uint32_t s : model) key[s] = static_cast<std::uint32_t>(random() % 50);
        queue.rebuild(before);
      }
    }
    REQUIRE(queue.size() == model.size());
    const auto best = std::min_element(model.begin(), model.end(), before);
    REQUIRE(queue.front(before) == (best == model.end() ? queue.none : *best));
  }
  while (queue.size() != 0) {
    REQUIRE(queue.front(before) == *std::min_element(model.begin(), model.end(), before));
    model.erase(queue.front(before));
    queue.erase(queue.front(before), before);
  }
  REQUIRE(queue.front(before) == queue.none);
}

}  // namespace

TEST_CASE("the waiting queue gives the best slot as a scan of all would") {
  for (unsigned seed = 0; seed < 4; ++seed)
    for (const std::uint32_t capacity : {1u, 3u, 40u, 200u}) {
      agrees_with_a_scan<false>(capacity, 1, seed);
      agrees_with_a_scan<false>(capacity, 5, seed);
      agrees_with_a_scan<true>(capacity, 1, seed);
      agrees_with_a_scan<true>(capacity, 7, seed);
    }
}

TEST_CASE("inserting and erasing in any order costs logarithmic comparisons") {
  constexpr std::uint32_t n = 16384;
  for (const int pattern : {0, 1, 2}) {  // ascending, descending, scattered
    waiting_queue<false> queue(n);
    std::uint32_t comparisons = 0, worst = 0;
    const auto before = [&](std::uint32_t a, std::uint32_t b) { return ++comparisons, a < b; };
    const auto spend = [&](auto f) {
      comparisons = 0;
      f();
      worst = std::max(worst, comparisons);
    };
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::uint32_t slot = pattern == 0 ? i : pattern == 1 ? n - 1 - i : i * 9973u % n;
      spend([&] { queue.insert(slot, 0, before); });
    }
    for (std::uint32_t i = 0; i < n; ++i) {  // half from the front, half from anywhere
      const std::uint32_t any = i * 7919u % n;
      if (queue.contains(any)) spend([&] { queue.erase(any, before); });
      if (queue.size() != 0) spend([&] { queue.erase(queue.front(before), before); });
    }
    REQUIRE(queue.size() == 0);
    REQUIRE(worst <= 2 * 15);
  }
}
