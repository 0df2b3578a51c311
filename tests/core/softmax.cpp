// SPDX-License-Identifier: Apache-2.0
#include "quire/core/softmax.hpp"

#include <array>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire;

namespace {
struct row {
  softmax_state s;
  std::array<float, 4> o{};
};
row of(float logit, std::array<float, 4> v) { return {{logit, 1.0f}, v}; }
row operator+(row a, const row& b) {
  merge_into(a.s, a.o.data(), b.s, b.o.data(), 4);
  return a;
}
bool same(const row& a, const row& b) { return a.s.m == b.s.m && a.s.l == b.s.l && a.o == b.o; }
}  // namespace

TEST_CASE("the identity changes nothing, on either side, bit for bit") {
  const row a = of(1.5f, {1, -2, 3, 4}) + of(-0.5f, {0.1f, 0.2f, 0.3f, 0.4f});
  REQUIRE(same(a + row{}, a));
  REQUIRE(same(row{} + a, a));
  REQUIRE(same(row{} + row{}, row{}));
  REQUIRE(normalizer(row{}.s) == 0.0f);
}

TEST_CASE("merging commutes and associates up to rounding") {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> logit(-80, 80), value(-1, 1);
  for (int i = 0; i < 2000; ++i) {
    const auto any = [&] { return of(logit(random), {value(random), value(random), value(random), value(random)}); };
    const row a = any(), b = any(), c = any();
    const auto close = [](const row& x, const row& y) {  // a compiler may fuse one product of the two with the sum
      REQUIRE(x.s.m == y.s.m);
      for (int k = 0; k < 4; ++k) REQUIRE(x.o[k] * normalizer(x.s) == Approx(y.o[k] * normalizer(y.s)).margin(2e-6));
    };
    close(a + b, b + a);
    close((a + b) + c, a + (b + c));
  }
}
