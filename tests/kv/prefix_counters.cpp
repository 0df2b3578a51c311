// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/prefix_counters.hpp"

#include "catch.hpp"

TEST_CASE("a prefix cache has counted nothing at first") {
  const quire::kv::prefix_counters none;
  CHECK(none.opened + none.asked + none.hit + none.inserted + none.merged + none.evicted == 0);
}
