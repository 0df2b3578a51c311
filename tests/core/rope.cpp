// SPDX-License-Identifier: Apache-2.0
#include "quire/core/rope.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire;

TEST_CASE("rope rows hold cosines and sines of double-precision angles") {
  const float factors[] = {1.0f, 2.0f, 4.0f, 8.0f};
  for (const float* f : {static_cast<const float*>(nullptr), static_cast<const float*>(factors)})
    for (const double scale : {1.0, 0.25}) {
      const rope r{.dims = 8, .base = 100000.0, .frequency_scale = scale, .factors = f};
      std::vector<float> table(3 * 8);
      fill_rope(r, {8190, 8193}, table.data());
      for (int p = 0; p < 3; ++p)
        for (int i = 0; i < 4; ++i) {
          const double angle =
              (8190 + p) * scale * std::exp(std::log(100000.0) * (-i / 4.0)) / (f ? double{f[i]} : 1.0);
          REQUIRE(table[p * 8 + i] == Approx(std::cos(angle)).margin(1e-7));
          REQUIRE(table[p * 8 + 4 + i] == Approx(std::sin(angle)).margin(1e-7));
        }
    }
}

TEST_CASE("ropes that do not fit the head are refused") {
  REQUIRE(supports(rope{.dims = 64}, 64));
  REQUIRE(supports(rope{.dims = 32}, 64));
  for (const std::uint32_t dims : {0u, 3u, 66u}) REQUIRE(supports(rope{.dims = dims}, 64).code == errc::out_of_range);
  REQUIRE(supports(rope{.base = 0}, 64).code == errc::out_of_range);
  REQUIRE(supports(rope{.base = std::nan("")}, 64).code == errc::out_of_range);
  REQUIRE(supports(rope{.frequency_scale = -1}, 64).code == errc::out_of_range);
}
