// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/cost.hpp"

#include <array>

#include "catch.hpp"

using namespace quire::serve::simulate;

TEST_CASE("work adds up chunks and decodes") {
  work w;
  w.decode(100), w.decode(50);
  w.prefill(8, 16);
  w.prefill(4, 0);
  REQUIRE(w.tokens() == 14);
  REQUIRE(w.decodes == 2);
  REQUIRE(w.prefills == 2);
  REQUIRE(w.decode_context == 150);
  REQUIRE(w.prefill_context == 16);
  REQUIRE(w.pairs == 8 * (16 + 4.0) + 4 * 2.0);
}

TEST_CASE("chunks of one prompt compute the pairs of the whole prompt") {
  for (const std::uint32_t chunk : {1u, 7u, 64u, 1000u}) {
    work parts;
    for (std::uint32_t at = 0; at < 1000; at += chunk) parts.prefill(std::min(chunk, 1000 - at), at);
    work whole;
    whole.prefill(1000, 0);
    REQUIRE(parts.pairs == Approx(whole.pairs));
  }
}

TEST_CASE("a table is interpolated, its tile edges stay steps, and its ends go on") {
  static constexpr std::array table{knot{8, 1.0}, knot{64, 2.0}, knot{72, 5.0}, knot{136, 7.0}};
  const profiled_cost c{.linear = table, .round_to = 8};
  REQUIRE(c.linear_seconds(0) == 0);
  REQUIRE(c.linear_seconds(1) == 1.0);
  REQUIRE(c.linear_seconds(8) == 1.0);
  REQUIRE(c.linear_seconds(36) == Approx(1.0 + 32.0 / 56));  // rounded up to 40
  REQUIRE(c.linear_seconds(64) == 2.0);
  for (std::uint32_t n = 65; n <= 72; ++n) REQUIRE(c.linear_seconds(n) == 5.0);  // one token more pays the whole tile
  REQUIRE(c.linear_seconds(136) == 7.0);
  REQUIRE(c.linear_seconds(200) == Approx(9.0));
  for (std::uint32_t n = 1; n < 300; ++n) REQUIRE(c.linear_seconds(n) <= c.linear_seconds(n + 1));
}

TEST_CASE("attention and fixed parts are added, term by term") {
  static constexpr std::array table{knot{1, 1.0}, knot{101, 2.0}};
  const profiled_cost c{.linear = table, .round_to = 1, .per_step = 0.5, .per_sequence = 0.25, .per_row = 1e-3, .per_pair = 1e-4};
  work w;
  w.decode(100), w.decode(300);
  w.prefill(9, 10);
  REQUIRE(c.seconds(w) == Approx(0.5 + 1.1 + 2 * 0.25 + 400e-3 + 9 * 14.5 * 1e-4));
  REQUIRE(decode_seconds(c, 4, 50) == Approx(0.5 + 1.03 + 1.0 + 0.2));
}

TEST_CASE("a fit changes its coefficients with the size of the step and is never negative") {
  const fitted_cost f{{1, 0.1, 0.2, 0.001, 0.01}, {2, 0.3, -0.4, 0.002, 0.02}, 10};
  work w;
  w.decode(100);
  w.prefill(9, 50);
  REQUIRE(f.seconds(w) == Approx(1 + 0.9 + 0.2 + 0.1 + 0.5));
  w.prefill(1, 0);
  REQUIRE(f.seconds(w) == Approx(2 + 3.0 - 0.4 + 0.2 + 1.0));
  const fitted_cost down{{0, 0, -1, 0, 0}, {}};
  REQUIRE(down.seconds({.decodes = 3}) == 0);
}
