// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cpu/activations.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::linear;
using namespace quire::linear::cpu;

namespace {

struct block {
  std::int8_t codes[32];
  float scale, sum;
};

block read(const activations& x, std::uint32_t r, std::uint32_t b) {
  const std::uint32_t g = r / group_rows, lane = r % group_rows, rows = x.rows_of(g);
  const std::byte* p = x.group(g) + std::size_t{b} * rows * 40;
  block out;
  std::memcpy(out.codes, p + lane * 32, 32);
  std::memcpy(&out.scale, p + rows * 32 + lane * 4, 4);
  std::memcpy(&out.sum, p + rows * 36 + lane * 4, 4);
  return out;
}

}  // namespace

TEST_CASE("rows become codes of the largest magnitude over 127 and their sum") {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (const std::uint32_t n : {1u, 3u, 13u, 16u, 21u, 32u}) {
    const std::uint32_t cols = 96, stride = 101;
    std::vector<float> rows(n * stride);
    for (auto& v : rows) v = normal(random);
    std::vector<std::byte> work(activations::workspace_bytes(n, cols));
    const activations x{rows.data(), stride, n, cols, work.data()};
    REQUIRE(quantize(x, {0, n / 2}));
    REQUIRE(quantize(x, {n / 2, n}));
    for (std::uint32_t r = 0; r < n; ++r)
      for (std::uint32_t b = 0; b < cols / 32; ++b) {
        const float* from = rows.data() + r * stride + b * 32;
        float largest = 0;
        for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(from[i]));
        const block got = read(x, r, b);
        REQUIRE(got.scale == largest / 127.0f);
        int sum = 0;
        for (int i = 0; i < 32; ++i) {
          REQUIRE(got.codes[i] == static_cast<int>(std::nearbyint(from[i] * (127.0f / largest))));
          sum += got.codes[i];
        }
        REQUIRE(got.sum == static_cast<float>(sum));
      }
  }
}

TEST_CASE("quantizing extremes neither overflows nor spreads") {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> rows(4 * 32, 0.0f);
  rows[0] = std::numeric_limits<float>::max();
  rows[1] = -std::numeric_limits<float>::max();
  for (int i = 32; i < 64; ++i) rows[i] = std::numeric_limits<float>::denorm_min();
  rows[64 + 7] = -infinity;
  rows[64 + 8] = 1;
  rows[96 + 31] = nan;
  std::vector<std::byte> work(activations::workspace_bytes(4, 32));
  const activations x{rows.data(), 32, 4, 32, work.data()};
  REQUIRE(quantize(x, {0, 2}));
  REQUIRE(read(x, 0, 0).codes[0] == 127);
  REQUIRE(read(x, 0, 0).codes[1] == -127);
  REQUIRE(read(x, 0, 0).sum == 0);
  REQUIRE(read(x, 1, 0).scale == 0);
  const status s = quantize(x);
  REQUIRE(s.code == errc::not_finite);
  REQUIRE(s.value == 2);
  REQUIRE(quantize(x, {3, 4}).value == 3);
  for (const std::uint32_t r : {2u, 3u}) {
    const block b = read(x, r, 0);
    REQUIRE(b.scale == 0);
    REQUIRE(b.sum == 0);
    for (const auto q : b.codes) REQUIRE(q == 0);
  }
  REQUIRE(quantize(activations{rows.data(), 33, 1, 33, work.data()}).code == errc::unsupported_shape);
}
