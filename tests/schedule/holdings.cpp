// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/holdings.hpp"

#include "catch.hpp"
#include "tiered_memory.hpp"

using namespace quire;
using namespace quire::schedule;
using schedule::detail::holdings;
using schedule::detail::slot;

TEST_CASE("a memory without hooks is one that opens everything and keeps nothing") {
  test::fake_memory memory{.pages = 10, .page_tokens = 1};
  holdings hold(memory);
  slot x;
  x.r = {.id = 1, .prompt_tokens = 5};
  REQUIRE(hold.fits(1000000));
  REQUIRE(hold.capacity() == 0);
  REQUIRE(hold.leaving() == 0);
  REQUIRE(hold.open(x));
  REQUIRE_FALSE(x.arriving);
  REQUIRE(hold.secure(x, 5));
  REQUIRE(hold.secure(x, 3));  // there is room already
  REQUIRE(memory.used == 5);
  x.r.so_far.computed = 5;
  REQUIRE(hold.preempt(x, preemption_kind::swap) == preemption_kind::recompute);
  REQUIRE(memory.used == 0);
  REQUIRE(x.r.so_far.computed == 0);
  REQUIRE_FALSE(x.held);
}

TEST_CASE("a memory with another tier says what it did and gets everything back") {
  test::tiered_memory memory;
  memory.pages = 10, memory.page_tokens = 1, memory.host_rows = 4, memory.delay = 1;
  holdings hold(memory);
  slot x;
  x.r = {.id = 1, .prompt_tokens = 5};
  REQUIRE(hold.open(x));
  REQUIRE(hold.secure(x, 5));
  memory.computed[1] = 4;
  REQUIRE(hold.preempt(x, preemption_kind::swap) == preemption_kind::swap);
  REQUIRE(x.kept == preemption_kind::swap);
  REQUIRE(x.held);  // the host has its rows
  REQUIRE(hold.leaving() == 5);
  memory.pass_time();
  REQUIRE(hold.leaving() == 0);
  REQUIRE(hold.open(x));
  REQUIRE(x.arriving);
  REQUIRE(x.r.so_far.computed == 4);
  REQUIRE(x.r.so_far.resident == 4);
  REQUIRE(x.reserved == 4);
  hold.poll(x);
  REQUIRE(x.arriving);
  memory.pass_time();
  hold.poll(x);
  REQUIRE_FALSE(x.arriving);
  memory.host_rows = 3;
  REQUIRE(hold.preempt(x, preemption_kind::swap) == preemption_kind::recompute);  // the host is full
  hold.close(x);
  REQUIRE(memory.kept.empty());
  REQUIRE(memory.used == 0);
}
