// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/request.hpp"

#include "catch.hpp"

using quire::schedule::request;

TEST_CASE("the last generated token needs no row") {
  request r{.prompt_tokens = 10, .max_new_tokens = 1};
  REQUIRE(r.most_rows() == 10);
  r.max_new_tokens = 0xffffffffu;
  REQUIRE(r.most_rows() == 10 + 0xfffffffeULL);  // wider than a token count
}

TEST_CASE("known tokens grow with what was generated") {
  request r{.prompt_tokens = 7};
  REQUIRE(r.known_tokens() == 7);
  r.so_far.generated = 5;
  REQUIRE(r.known_tokens() == 12);
}

TEST_CASE("rows ahead stop at what a request ever needs") {
  request r{.prompt_tokens = 7, .max_new_tokens = 4};
  REQUIRE(r.rows_within(2) == 9);
  REQUIRE(r.rows_within(64) == 10);
  r.so_far.generated = 2;
  REQUIRE(r.rows_within(0) == 9);
}

TEST_CASE("a hint is never trusted with the last token") {
  request r{.prompt_tokens = 7, .hit_tokens = 5};
  REQUIRE(r.uncached() == 2);
  r.hit_tokens = 1000;
  REQUIRE(r.uncached() == 1);
}
