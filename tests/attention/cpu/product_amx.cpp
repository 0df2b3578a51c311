// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/product_amx.hpp"

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "catch.hpp"
#include "quire/core/number.hpp"

using namespace quire;
using namespace quire::attention::cpu;

namespace {
bool lacking() {
  if (amx::allowed()) return false;
  std::puts("skipped: no matrix registers (AMX) on this machine");
  return true;
}
}  // namespace

TEST_CASE("shapes that do not divide are left to the vector units") {
  if (lacking()) return;
  CHECK(bf16_registers::take({64, 64}));
  CHECK(bf16_registers::take({96, 16}));
  CHECK_FALSE(bf16_registers::take({80, 64}));
  CHECK_FALSE(bf16_registers::take({64, 72}));
  CHECK(code_registers::take({128, 64}, 128, 16));
  CHECK(code_registers::take({64, 48}, 32, 40));
  CHECK_FALSE(code_registers::take({64, 64}, 64, 15));
  CHECK_FALSE(code_registers::take({48, 64}, 48, 16));
  CHECK_FALSE(code_registers::take({96, 64}, 64, 16));
}

TEST_CASE("sums of codes are exact, whatever is summed together") {
  if (lacking()) return;
  std::mt19937 random(9);
  for (const std::uint32_t group : {32u, 64u, 96u, 128u})
    for (const std::uint32_t columns : {16u, 48u, 64u}) {
      const kv::tile_shape s{group == 96 ? 96u : 128u, columns};
      const std::uint32_t stride = 2 * s.rows + 24;
      std::vector<std::uint8_t> codes(s.elements());
      std::vector<std::int8_t> a(16 * stride);
      for (auto& v : codes) v = static_cast<std::uint8_t>(random() % 9 == 0 ? 255 : random());
      for (auto& v : a) v = static_cast<std::int8_t>(random() % 9 == 0 ? 127 : random());
      std::uint32_t calls = 0;
      code_registers::multiply(s, group, reinterpret_cast<const std::byte*>(codes.data()), [&](std::uint32_t) { return reinterpret_cast<const std::byte*>(a.data()); }, stride,
                               [&](std::uint32_t j, std::uint32_t c, const std::int32_t* sums) {
                                 REQUIRE(calls == j * columns / 16 + c / 16);
                                 ++calls;
                                 for (std::uint32_t r = 0; r < 16; ++r)
                                   for (std::uint32_t i = 0; i < 16; ++i) {
                                     std::int32_t want = 0;
                                     for (std::uint32_t k = j * group; k < (j + 1) * group; ++k)
                                       want += (128 * a[r * stride + k] + a[r * stride + s.rows + k]) * codes[(k / 4 * columns + c + i) * 4 + k % 4];
                                     REQUIRE(sums[r * 16 + i] == want);
                                   }
                               });
      CHECK(calls == s.rows / group * columns / 16);
      amx::release();
    }
}

TEST_CASE("a row of sums has the same bits however many there are") {
  if (lacking()) return;
  std::mt19937 random(10);
  std::normal_distribution<float> normal;
  for (const kv::tile_shape s : {kv::tile_shape{64, 64}, kv::tile_shape{32, 48}}) {
    constexpr std::uint32_t most = 37;
    std::vector<std::uint16_t> x(s.elements()), a(most * s.rows);
    for (auto& v : x) v = bf16::from(normal(random)).bits;
    for (auto& v : a) v = bf16::from(normal(random)).bits;
    std::vector<float> all(most * s.columns, 0.5f);
    std::uint32_t asked = 0;
    const auto multiply = [&](std::uint32_t first, std::uint32_t n, float* y) {
      bf16_registers::multiply(s, reinterpret_cast<const std::byte*>(x.data()), reinterpret_cast<const std::byte*>(a.data() + first * s.rows), s.rows * 2, n, y, s.columns, [&](const void*) { ++asked; });
    };
    multiply(0, most, all.data());
    CHECK(asked == s.elements() * 2 / 64);  // each line of the next tile once
    for (std::uint32_t r = 0; r < most; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) {
        double want = 0.5, size = 0.5;
        for (std::uint32_t k = 0; k < s.rows; ++k) {
          const double term = double{bf16{a[r * s.rows + k]}.to_float()} * bf16{x[(k / 2 * s.columns + c) * 2 + k % 2]}.to_float();
          want += term, size += std::fabs(term);
        }
        REQUIRE(std::fabs(all[r * s.columns + c] - want) <= size * 0x1p-19);
      }
    for (const std::uint32_t n : {1u, 2u, 15u, 16u, 17u, 32u, 33u})
      for (std::uint32_t first = 0; first + n <= most; first += 3) {
        std::vector<float> y(n * s.columns, 0.5f);
        multiply(first, n, y.data());
        REQUIRE(std::equal(y.begin(), y.end(), all.begin() + first * s.columns));
      }
  }
  amx::release();
}
