// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/evict/lru.hpp"

#include "catch.hpp"

using namespace quire::kv::evict;

TEST_CASE("what was used longest ago is worth least, whatever else is known of it") {
  const lru policy;
  CHECK(policy.value({.clock = 3, .hits = 100, .tile = 9}) < policy.value({.clock = 4}));
  CHECK(policy.value({.clock = (std::uint64_t{1} << 52) + 1}) > policy.value({.clock = std::uint64_t{1} << 52}));
}
