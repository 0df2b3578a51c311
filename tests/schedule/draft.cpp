// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/draft.hpp"

#include "catch.hpp"

using namespace quire::schedule;
using quire::schedule::detail::slot;

TEST_CASE("what is dropped from a draft leaves no trace") {
  quire::schedule::detail::draft d(4);
  slot decode, prompt;
  decode.r = {.id = 7, .prompt_tokens = 4};
  decode.r.so_far = {.computed = 4, .generated = 1};
  prompt.r = {.id = 8, .prompt_tokens = 9};
  d.begin();
  REQUIRE(d.empty());
  d.add(0, decode, 1, 3);
  d.add(1, prompt, 5, 9);
  REQUIRE(d.tokens() == 6);
  REQUIRE(d.cost() == 12);
  REQUIRE(d.prompts() == 1);
  REQUIRE(d.entries()[0].phase == phase::decode);
  REQUIRE(d.entries()[0].wants_logits);
  REQUIRE_FALSE(d.entries()[1].wants_logits);
  d.drop(1, prompt);
  d.drop(1, prompt);  // it is not there any more
  REQUIRE(d.tokens() == 1);
  REQUIRE(d.cost() == 3);
  REQUIRE(d.prompts() == 0);
  REQUIRE(d.owners().size() == 1);
  REQUIRE(d.owners()[0].slot == 0);
  d.begin();
  d.drop(0, decode);  // it was in the last draft
  REQUIRE(d.empty());
  REQUIRE(d.number() == 2);
}
