// SPDX-License-Identifier: Apache-2.0
#include "quire/core/simd.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "catch.hpp"
#include "quire/core/number.hpp"

using namespace quire;
namespace hn = simd::hn;

TEST_CASE("exp is within 2 ulp, exact at zero, zero far below") {
  const simd::f32_tag d;
  const auto e = [&](float x) { return hn::GetLane(simd::exp(d, hn::Set(d, x))); };
  for (float x = -86.9f; x < 87.9f; x += 0.0137f) REQUIRE(std::fabs(e(x) / std::exp(static_cast<double>(x)) - 1) < 2.4e-7);
  REQUIRE(e(0.0f) == 1.0f);
  REQUIRE(e(-std::numeric_limits<float>::infinity()) == 0.0f);
  REQUIRE(e(-1000.0f) == 0.0f);
}

TEST_CASE("dot_u8s8 is exact at the extremes") {
  const simd::i32_of<simd::f32_tag> di;
  const hn::Rebind<std::uint32_t, simd::f32_tag> du;
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::uint32_t a = random(), b = random();
    if (i == 0) a = 0xffffffffu, b = 0x80808080u;
    if (i == 1) a = 0xffffffffu, b = 0x7f7f7f7fu;
    int want = 11;
    for (int k = 0; k < 4; ++k) want += static_cast<int>(a >> 8 * k & 255) * static_cast<std::int8_t>(b >> 8 * k & 255);
    REQUIRE(hn::GetLane(simd::dot_u8s8(di, hn::Set(di, 11), hn::Set(du, a), hn::Set(du, b))) == want);
    const std::uint32_t small = i < 2 ? 0x80808080u : a & 0x7f7f7f7fu;
    want = 11;
    for (int k = 0; k < 4; ++k) want += static_cast<int>(small >> 8 * k & 255) * static_cast<std::int8_t>(b >> 8 * k & 255);
    REQUIRE(hn::GetLane(simd::dot_u7s8(di, hn::Set(di, 11), hn::Set(du, small), hn::Set(du, b))) == want);
  }
}

TEST_CASE("pack_bf16 rounds as the scalar reference and dot_bf16 multiplies both halves") {
  const simd::f32_tag d;
  const hn::Rebind<std::uint32_t, simd::f32_tag> du;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 2000; ++i) {
    const float x = normal(random), y = normal(random);
    const auto packed = hn::GetLane(simd::pack_bf16(d, hn::Set(d, x), hn::Set(d, y)));
    REQUIRE(packed == (bf16::from(x).bits | std::uint32_t{bf16::from(y).bits} << 16));
    const float dot = hn::GetLane(simd::dot_bf16(d, hn::Set(d, 0.5f), hn::Set(du, packed), hn::Set(du, packed)));
    const float bx = bf16::from(x).to_float(), by = bf16::from(y).to_float();
    REQUIRE(dot == Approx(0.5f + bx * bx + by * by).epsilon(1e-5));
  }
}

TEST_CASE("store_f16 keeps eleven bits of an f32, and nothing beside its lanes changes") {
  const simd::f32_tag d;
  const std::size_t lanes = hn::Lanes(d);
  std::mt19937 random(6);
  std::uniform_real_distribution<float> exponent(-30.0f, 0.0f);
  std::vector<float> x(lanes), back(lanes);
  std::vector<std::uint16_t> halves(lanes + 1);
  for (int i = 0; i < 500; ++i) {
    for (float& v : x) v = i == 0 ? 0.0f : std::exp2(exponent(random));
    if (i == 1) x[0] = 1.0f, x[lanes - 1] = 65504.0f;
    halves[lanes] = 777;
    simd::store_f16(d, hn::LoadU(d, x.data()), halves.data());
    hn::StoreU(simd::load_f16(d, halves.data()), d, back.data());
    REQUIRE(halves[lanes] == 777);
    for (std::size_t k = 0; k < lanes; ++k) {
      REQUIRE(back[k] == f16{halves[k]}.to_float());
      REQUIRE(std::fabs(back[k] - x[k]) <= x[k] / 1024 + 0x1p-15f);   // without an instruction for it Highway cuts off and flushes subnormals
#if defined(__F16C__)
      REQUIRE(halves[k] == f16::from(x[k]).bits);
#endif
    }
  }
}

namespace {
template <class D>
void check_low_bytes_and_reductions(D d) {
  const simd::u32_of<D> du;
  const std::size_t lanes = hn::Lanes(d);
  std::mt19937 random(9);
  std::vector<std::uint32_t> words(lanes);
  std::vector<float> numbers(4 * lanes);
  for (int i = 0; i < 200; ++i) {
    for (auto& w : words) w = random();
    std::vector<std::int8_t> bytes(lanes + 1, 77);
    simd::store_low_bytes(d, hn::LoadU(du, words.data()), bytes.data());
    for (std::size_t k = 0; k < lanes; ++k) REQUIRE(bytes[k] == static_cast<std::int8_t>(words[k] & 255));
    REQUIRE(bytes[lanes] == 77);
    for (auto& x : numbers) x = static_cast<float>(static_cast<int>(random() % 2001) - 1000);  // sums are exact
    const hn::Vec<D> v[4] = {hn::LoadU(d, numbers.data()), hn::LoadU(d, numbers.data() + lanes), hn::LoadU(d, numbers.data() + 2 * lanes), hn::LoadU(d, numbers.data() + 3 * lanes)};
    if (lanes >= 4) {
      hn::Vec<D> turned[4] = {v[0], v[1], v[2], v[3]};
      simd::transpose4(d, turned);
      std::vector<float> lane(lanes);
      for (std::size_t j = 0; j < 4; ++j) {
        hn::StoreU(turned[j], d, lane.data());
        for (std::size_t k = 0; k < lanes; ++k) REQUIRE(lane[k] == numbers[k % 4 * lanes + k / 4 * 4 + j]);
      }
    }
    float sums[4], most[4];
    simd::reduce4(d, v, simd::add, sums);
    simd::reduce4(d, v, simd::maximum, most);
    for (std::size_t k = 0; k < 4; ++k) {
      float sum = 0, largest = -1e9f;
      for (std::size_t j = 0; j < lanes; ++j) sum += numbers[k * lanes + j], largest = std::max(largest, numbers[k * lanes + j]);
      REQUIRE(sums[k] == sum);
      REQUIRE(most[k] == largest);
    }
  }
}
}  // namespace

TEST_CASE("low bytes transposes and reductions of four vectors take every lane") {
  check_low_bytes_and_reductions(simd::f32_tag{});
  check_low_bytes_and_reductions(hn::CappedTag<float, 8>{});
  check_low_bytes_and_reductions(hn::CappedTag<float, 4>{});
}
