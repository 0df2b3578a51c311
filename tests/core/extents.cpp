// SPDX-License-Identifier: Apache-2.0
#include "quire/core/extents.hpp"

#include "catch.hpp"

using namespace quire;

TEST_CASE("tiles touched and filled differ only while a tile is open") {
  for (std::uint32_t tokens = 0; tokens <= 4 * tile_tokens; ++tokens) {
    const bool open = tokens % tile_tokens != 0;
    CHECK(tiles_touched(tokens) == tiles_filled(tokens) + (open ? 1u : 0u));
    CHECK(tiles_filled(tokens) * tile_tokens <= tokens);
    CHECK(tiles_touched(tokens) * tile_tokens >= tokens);
  }
}

TEST_CASE("rounding up reaches the next multiple and no further") {
  for (std::uint32_t a = 0; a <= 100; ++a)
    for (std::uint32_t b = 1; b <= 17; ++b) {
      CHECK(ceil_div(a, b) * b >= a);
      CHECK(ceil_div(a, b) * b < a + b);
      CHECK(round_up(a, b) == std::size_t{ceil_div(a, b)} * b);
    }
}

TEST_CASE("extents count heads over all layers") {
  constexpr extents e{.layers = 30, .kv_heads = 3, .head_dim = 64};
  STATIC_REQUIRE(e.heads() == 90);
  STATIC_REQUIRE(piece_tokens == piece_tiles * tile_tokens);
  CHECK(e == extents{30, 3, 64});
  CHECK_FALSE(e == extents{30, 3, 128});
}
