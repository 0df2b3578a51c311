// SPDX-License-Identifier: Apache-2.0
#include "quire/core/amx.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "catch.hpp"
#include "quire/core/number.hpp"

using namespace quire;

namespace {

constexpr amx::configuration whole = amx::configuration{}.with(0, 16, 64).with(1, 16, 64).with(2, 16, 64);
constexpr amx::configuration few = amx::configuration{}.with(0, 3, 64).with(1, 3, 32).with(2, 8, 64);

bool lacking() {
  if (amx::allowed()) return false;
  std::puts(amx::compiled ? "skipped: this system gives no matrix registers" : "skipped: no matrix registers (AMX) on this machine");
  return true;
}

}  // namespace

TEST_CASE("products of bytes are exact, of as many rows and columns as asked for") {
  if (lacking()) return;
  std::mt19937 random(5);
  for (const bool all : {true, false}) {
    const amx::configuration& shape = all ? whole : few;
    const std::uint32_t rows = all ? 16 : 3, sums = all ? 64 : 32;
    std::vector<std::int8_t> a(16 * 64);
    std::vector<std::uint8_t> b(16 * 64);
    for (auto& v : a) v = static_cast<std::int8_t>(random() % 8 == 0 ? -128 : random());
    for (auto& v : b) v = static_cast<std::uint8_t>(random() % 8 == 0 ? 255 : random());
    std::vector<std::int32_t> c(16 * 20, 7), got = c;
    for (std::uint32_t m = 0; m < rows; ++m)
      for (std::uint32_t n = 0; n < 16; ++n)
        for (std::uint32_t k = 0; k < sums; ++k) c[m * 20 + n] += a[m * 64 + k] * b[k / 4 * 64 + n * 4 + k % 4];
    amx::use(shape);
    amx::load<0>(got.data(), 80), amx::load<1>(a.data(), 64), amx::load<2>(b.data(), 64);
    amx::multiply_s8u8<0, 1, 2>();
    amx::store<0>(got.data(), 80);
    CHECK(got == c);
  }
  amx::release();
}

TEST_CASE("products of bf16 pairs are within f32 rounding, and a row's bits do not depend on the others") {
  if (lacking()) return;
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<std::uint16_t> a(16 * 32), b(16 * 32);
  for (auto& v : a) v = bf16::from(normal(random)).bits;
  for (auto& v : b) v = bf16::from(normal(random)).bits;
  std::vector<float> c(16 * 16), three(16 * 16, 9.0f);
  amx::use(whole);
  amx::zero<0>(), amx::load<1>(a.data(), 64), amx::load<2>(b.data(), 64);
  amx::multiply_bf16<0, 1, 2>();
  amx::store<0>(c.data(), 64);
  for (std::uint32_t m = 0; m < 16; ++m)
    for (std::uint32_t n = 0; n < 16; ++n) {
      double want = 0, size = 0;
      for (std::uint32_t k = 0; k < 32; ++k) {
        const double term = double{bf16{a[m * 32 + k]}.to_float()} * bf16{b[k / 2 * 32 + n * 2 + k % 2]}.to_float();
        want += term, size += std::fabs(term);
      }
      CHECK(std::fabs(c[m * 16 + n] - want) <= size * 0x1p-20);
    }
  static constexpr amx::configuration some = amx::configuration{}.with(0, 3, 64).with(1, 3, 64).with(2, 16, 64);
  amx::use(some);
  amx::zero<0>(), amx::load<1>(a.data() + 5 * 32, 64), amx::load<2>(b.data(), 64);
  amx::multiply_bf16<0, 1, 2>();
  amx::store<0>(three.data(), 64);
  CHECK(std::memcmp(three.data(), c.data() + 5 * 16, 3 * 64) == 0);
  CHECK(three[3 * 16] == 9.0f);
  amx::release();
}

TEST_CASE("shapes stay until others are asked for, and registers start at zero") {
  if (lacking()) return;
  std::vector<float> ones(16 * 16, 1.0f), out(16 * 16);
  amx::use(whole);
  amx::load<0>(ones.data(), 64);
  amx::use(whole);  // nothing happens
  amx::store<0>(out.data(), 64);
  CHECK(out == ones);
  amx::release();
  amx::use(whole);
  amx::store<0>(out.data(), 64);
  CHECK(out == std::vector<float>(16 * 16));
  amx::release();
}
