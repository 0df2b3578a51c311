// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/slot.hpp"

#include "catch.hpp"

using quire::schedule::detail::slot;

TEST_CASE("a request decodes when one generated token is left to compute") {
  slot s;
  s.r.prompt_tokens = 4;
  REQUIRE(s.left() == 4);
  REQUIRE_FALSE(s.decoding());
  s.r.so_far.computed = 3;
  REQUIRE_FALSE(s.decoding());  // one prompt token left is still prefill
  s.r.so_far.computed = 4, s.r.so_far.generated = 1;
  REQUIRE(s.left() == 1);
  REQUIRE(s.decoding());
  s.r.so_far.computed = 0;  // preempted: the prompt and its continuation are computed again
  REQUIRE(s.left() == 5);
  REQUIRE_FALSE(s.decoding());
  REQUIRE(s.runnable());
  s.arriving = true;
  REQUIRE_FALSE(s.runnable());
}
