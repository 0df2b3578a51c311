// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/pile.hpp"

#include <array>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::schedule::prefix;

TEST_CASE("pile: lengths of tokens and of blocks with a partial last one") {
  const std::vector<std::uint64_t> a{1, 2, 3}, b{1}, none;
  const std::vector<std::span<const std::uint64_t>> prompts{a, b, none};
  const std::array<std::uint32_t, 3> tokens{1100, 512, 0};
  const pile<std::uint64_t> p{.prompts = prompts, .block_tokens = 512, .tokens = tokens};
  REQUIRE(check(p));
  REQUIRE((p.length(0) == 1100 && p.length(1) == 512 && p.length(2) == 0));
  REQUIRE((p.length(0, 0) == 0 && p.length(0, 2) == 1024 && p.length(0, 3) == 1100));
  const pile<std::uint64_t> full{.prompts = prompts, .block_tokens = 16};
  REQUIRE(check(full));
  REQUIRE((full.length(0) == 48 && full.length(0, 1) == 16));
  REQUIRE(check(pile<std::uint64_t>{}));
}

TEST_CASE("pile: what can't be planned is refused with its value and what is allowed") {
  const std::vector<std::uint64_t> a{1, 2, 3};
  const std::vector<std::span<const std::uint64_t>> prompts{a};
  REQUIRE(check(pile<std::uint64_t>{.prompts = prompts, .block_tokens = 0}) == status{errc::out_of_range, "pile.block_tokens", 0, 1, 0xfffffffe});
  const std::vector<std::uint32_t> two{1, 2}, few{1024}, many{1537}, exact{1536};
  REQUIRE(check(pile<std::uint64_t>{.prompts = prompts, .block_tokens = 512, .tokens = two}) == status{errc::out_of_range, "pile.tokens (how many)", 2, 1, 1});
  REQUIRE(check(pile<std::uint64_t>{.prompts = prompts, .block_tokens = 512, .tokens = few}) == status{errc::out_of_range, "pile.tokens (of a prompt)", 1024, 1025, 1536});
  REQUIRE(check(pile<std::uint64_t>{.prompts = prompts, .block_tokens = 512, .tokens = many}) == status{errc::out_of_range, "pile.tokens (of a prompt)", 1537, 1025, 1536});
  REQUIRE(check(pile<std::uint64_t>{.prompts = prompts, .block_tokens = 512, .tokens = exact}));
  REQUIRE(check(pile<std::uint64_t>{.prompts = prompts, .block_tokens = 0x80000000u}) == status{errc::out_of_range, "symbols of a prompt", 3, 0, 1});
}
