// SPDX-License-Identifier: Apache-2.0
#include "quire/core/number.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"

using namespace quire;

namespace {

/// The nearest encoding by exhaustive search over every code; ties go to the even one.
template <class T, class Bits>
Bits nearest(float x, unsigned codes) {
  Bits best = 0;
  double error = std::numeric_limits<double>::infinity();
  for (unsigned c = 0; c < codes; ++c) {
    const T candidate{static_cast<Bits>(c)};
    const float v = candidate.to_float();
    if (!std::isfinite(v) || std::signbit(v) != std::signbit(x)) continue;
    const double e = std::fabs(static_cast<double>(v) - x);
    if (e < error || (e == error && (c & 1u) == 0)) best = static_cast<Bits>(c), error = e;
  }
  return best;
}

template <class T, class Bits>
void check_against_search(unsigned codes, float largest) {
  for (unsigned c = 0; c < codes; ++c) {  // every finite code survives a round trip
    const T t{static_cast<Bits>(c)};
    if (std::isfinite(t.to_float())) REQUIRE(T::from(t.to_float()).bits == t.bits);
  }
  std::uint32_t state = 1;
  for (int i = 0; i < 300; ++i) {
    state = state * 1664525u + 1013904223u;
    const float magnitude = std::exp2(static_cast<float>(state >> 20) / 4096.0f * 34.0f - 18.0f);
    const float x = (state & 1u) ? -magnitude : magnitude;
    if (magnitude < largest) REQUIRE(T::from(x).bits == nearest<T, Bits>(x, codes));
  }
}

}  // namespace

TEST_CASE("f16 rounds to the nearest code") { check_against_search<f16, std::uint16_t>(1u << 16, 65504.0f); }
TEST_CASE("fp8 rounds to the nearest code and saturates") {
  check_against_search<f8e4m3, std::uint8_t>(1u << 8, 448.0f);
  check_against_search<f8e5m2, std::uint8_t>(1u << 8, 57344.0f);
  REQUIRE(f8e4m3::from(1e9f).to_float() == 448.0f);
  REQUIRE(f8e4m3::from(-1e9f).to_float() == -448.0f);
  REQUIRE(f8e5m2::from(1e9f).to_float() == 57344.0f);
  REQUIRE(std::isinf(f8e5m2::from(std::numeric_limits<float>::infinity()).to_float()));
  REQUIRE(std::isnan(f8e4m3::from(std::nanf("")).to_float()));
}
TEST_CASE("bf16 rounds to nearest even and keeps NaN") {
  REQUIRE(bf16::from(1.0f).bits == 0x3f80);
  REQUIRE(bf16::from(std::bit_cast<float>(0x3f808000u)).bits == 0x3f80);  // tie to even
  REQUIRE(bf16::from(std::bit_cast<float>(0x3f818000u)).bits == 0x3f82);
  REQUIRE(bf16::from(std::bit_cast<float>(0x3f808001u)).bits == 0x3f81);
  REQUIRE(std::isnan(bf16::from(std::nanf("")).to_float()));
  REQUIRE(std::isinf(bf16::from(std::numeric_limits<float>::max()).to_float()));
}
TEST_CASE("affine codes stay within half a step and keep constant groups exact") {
  const affine a = affine::fit(-3.0f, 5.0f, 15);
  for (float x = -3.0f; x <= 5.0f; x += 0.01f)
    REQUIRE(std::fabs(a.decode(a.encode(x, 15)) - x) <= a.scale * 0.5f + 1e-6f);
  REQUIRE(a.encode(-100.0f, 15) == 0);
  REQUIRE(a.encode(100.0f, 15) == 15);
  const affine constant = affine::fit(0.3f, 0.3f, 15);
  REQUIRE(constant.decode(constant.encode(0.3f, 15)) == 0.3f);
}
