// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/preemption/recompute.hpp"

#include "catch.hpp"

using namespace quire::schedule;

TEST_CASE("recompute keeps nothing") { REQUIRE(preemption::recompute{}.kind({}) == preemption_kind::recompute); }
