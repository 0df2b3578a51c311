// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/fp8.hpp"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"

using namespace quire;

namespace {
std::vector<float> back(kv::tile_shape s, const std::vector<float>& x, std::vector<std::byte>* bytes = nullptr) {
  std::vector<std::byte> tile(kv::fp8{}.tile_bytes(s));
  std::vector<float> y(x.size());
  kv::fp8{}.encode({}, s, x.data(), tile.data());
  kv::fp8{}.decode({}, s, tile.data(), y.data());
  if (bytes) *bytes = tile;
  return y;
}
}  // namespace

TEST_CASE("fp8 elements are the nearest E4M3 but for subnormals") {
  for (int i = 0; i < 256; ++i) {
    const f8e4m3 want{static_cast<std::uint8_t>(i)};
    if ((i & 0x7f) == 0x7f) continue;  // NaN
    if ((i & 0x7f) >= 8 || (i & 0x7f) == 0) CHECK(kv::fp8::narrow(want.to_float()) == i);
  }
  for (float x = 0x1p-6f; x < 600.0f; x *= 1.0009f)
    for (float v : {x, -x}) REQUIRE(kv::fp8::narrow(v) == f8e4m3::from(v).bits);
  for (float sign : {1.0f, -1.0f}) {
    CHECK(f8e4m3{kv::fp8::narrow(sign * 0x1.fffp-8f)}.to_float() == 0.0f);
    CHECK(f8e4m3{kv::fp8::narrow(sign * 0x1p-7f)}.to_float() == sign * 0x1p-6f);
    CHECK(f8e4m3{kv::fp8::narrow(sign * 0x1.8p-7f)}.to_float() == sign * 0x1p-6f);
    CHECK(f8e4m3{kv::fp8::narrow(sign * 3.4e38f)}.to_float() == sign * 448.0f);
  }
}

TEST_CASE("fp8 tiles come back within 1/16 of an element or 2^-14 of the largest") {
  CHECK(kv::fp8::format() == std::string("fp8-e4m3-tile.1"));
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (kv::side which : {kv::side::key, kv::side::value})
    for (std::uint32_t dim = 8; dim <= 256; dim += 8)
      for (float magnitude : {1.0f, 1e-3f, 3000.0f}) {
        const kv::tile_shape s = kv::shape_of(which, dim);
        REQUIRE(kv::fp8{}.tile_bytes(s) == std::size_t{dim} * 64 + 2);
        std::vector<float> x(s.elements());
        for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = magnitude * normal(random) * (i % 11 == 3 ? 8.0f : 1.0f);
        float largest = 0;
        for (float v : x) largest = std::max(largest, std::fabs(v));
        std::vector<std::byte> tile;
        const auto y = back(s, x, &tile);
        for (std::uint32_t i = 0; i < x.size(); ++i) {
          if (!(std::fabs(y[i] - x[i]) <= std::max(std::fabs(x[i]) / 16, largest * 0x1p-14f))) FAIL("element " << i << " is " << x[i] << ", came back as " << y[i]);
          const f8e4m3 stored{static_cast<std::uint8_t>(tile[(i / s.columns / 4 * s.columns + i % s.columns) * 4 + i / s.columns % 4])};
          if (stored.to_float() * kv::fp8::scale(s, tile.data()).to_float() != y[i]) FAIL("element " << i << " lies elsewhere");
        }
      }
}

TEST_CASE("fp8 is exact for zeros small integers and powers of two and saturates") {
  const kv::tile_shape s = kv::shape_of(kv::side::key, 24);
  std::vector<float> x(s.elements(), 0.0f);
  std::vector<std::byte> tile;
  CHECK(back(s, x, &tile) == x);
  for (std::byte b : tile) REQUIRE(b == std::byte{0});
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int>(i % 33) - 16);
  CHECK(back(s, x) == x);
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = std::ldexp(1.0f, static_cast<int>(i % 14));
  CHECK(back(s, x) == x);
  for (float constant : {0.3f, -70.0f, 1e-8f}) {
    std::fill(x.begin(), x.end(), constant);
    for (float v : back(s, x)) REQUIRE(std::fabs(v - constant) <= std::fabs(constant) / 16);
  }
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = i % 2 ? 3.4e38f : -3.4e38f;
  for (float v : back(s, x)) REQUIRE(std::fabs(v) == 448.0f * 32768.0f);
}

TEST_CASE("a scale for each row would hardly lower the error of fp8") {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (float large : {8.0f, 50.0f, 1000.0f}) {
    double tile_error = 0, row_error = 0;
    for (int round = 0; round < 20; ++round) {
      const kv::tile_shape s = kv::shape_of(kv::side::key, 64), row{4, 64};
      std::vector<float> x(s.elements());
      for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i / s.columns % 29 == 3 ? large : 1.0f);
      const auto y = back(s, x);
      for (std::uint32_t r = 0; r < s.rows; ++r) {
        std::vector<float> one(row.elements(), 0.0f);
        std::copy_n(&x[r * s.columns], s.columns, one.begin());
        const auto z = back(row, one);
        for (std::uint32_t c = 0; c < s.columns && r % 29 != 3; ++c) {
          const double v = x[r * s.columns + c];
          tile_error += std::pow(y[r * s.columns + c] - v, 2), row_error += std::pow(z[c] - v, 2);
        }
      }
    }
    INFO("channels " << large << " times larger: tile " << tile_error << " row " << row_error);
    CHECK(tile_error < row_error * (large < 1000 ? 1.01 : 1.3));
  }
}
