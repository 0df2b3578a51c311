// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/residence.hpp"

#include "catch.hpp"

using namespace quire;

TEST_CASE("a swapper keeps host copies unless told otherwise, and has counted nothing at first") {
  CHECK(kv::swapper_options{}.reuse);
  const kv::swap_counts none;
  CHECK(none.swaps_out + none.swaps_in + none.pieces + none.runs + none.saved_bytes + none.lost_parts == 0);
  CHECK(none.out.copies + none.in.copies == 0);
}
