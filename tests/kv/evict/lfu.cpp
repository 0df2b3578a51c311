// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/evict/lfu.hpp"

#include "catch.hpp"

using namespace quire::kv::evict;

TEST_CASE("what was found least often is worth least") {
  lfu policy;
  CHECK(policy.value({.clock = 100, .hits = 2}) < policy.value({.clock = 1, .hits = 3}));
  policy.evicted(50);
  CHECK(policy.age() == 0);
}

TEST_CASE("with ageing a newcomer is worth more than what was popular before others went") {
  lfu policy{.ageing = true};
  const usage old{.clock = 1, .hits = 10, .age = policy.age()};
  policy.evicted(12);
  policy.evicted(4);  // never falls
  CHECK(policy.age() == 12);
  CHECK(policy.value(old) < policy.value({.clock = 2, .hits = 0, .age = policy.age()}));
}
