// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/balanced.hpp"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/codec/raw.hpp"

using namespace quire;
using base = kv::integer<2, kv::group::column, 32>;

namespace {
const std::byte* params_of(const std::vector<float>& b) { return reinterpret_cast<const std::byte*>(b.data()); }
template <class Codec>
std::vector<float> through(const kv::codec_context& at, kv::tile_shape s, const std::vector<float>& x, std::vector<std::byte>* bytes = nullptr) {
  std::vector<std::byte> tile(Codec{}.tile_bytes(s));
  std::vector<float> y(x.size());
  Codec{}.encode(at, s, x.data(), tile.data());
  Codec{}.decode(at, s, tile.data(), y.data());
  if (bytes) *bytes = tile;
  return y;
}
}  // namespace

TEST_CASE("a balanced tile is the base's tile of scaled channels and decodes to the channels' own basis") {
  CHECK(kv::balanced<base>::format() == std::string("balanced.1+int2-column32.1"));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (std::uint32_t dim = 8; dim <= 256; dim += 8) {
    const kv::tile_shape s = kv::shape_of(kv::side::key, dim);
    std::vector<float> x(s.elements()), b(dim), scaled(s.elements());
    for (float& v : x) v = normal(random);
    for (float& v : b) v = std::exp(normal(random));
    for (std::uint32_t i = 0; i < x.size(); ++i) scaled[i] = x[i] * b[i / s.columns];
    const kv::codec_context at{.params = params_of(b)}, none{}, value{.which = kv::side::value, .params = params_of(b)};
    std::vector<std::byte> mine, theirs;
    const auto y = through<kv::balanced<base>>(at, s, x, &mine);
    const auto z = through<base>({}, s, scaled, &theirs);
    REQUIRE(mine == theirs);
    for (std::uint32_t i = 0; i < x.size(); ++i) REQUIRE(y[i] == z[i] / b[i / s.columns]);
    REQUIRE(through<kv::balanced<base>>(none, s, x) == through<base>(none, s, x));
    const std::vector<float> unlearned(dim);
    REQUIRE(through<kv::balanced<base>>({.params = params_of(unlearned)}, s, x) == through<base>(none, s, x));
    REQUIRE(through<kv::balanced<base>>(value, s, x) == through<base>(value, s, x));  // value tiles have no balancer
  }
}

TEST_CASE("a balancer makes the error of logits smaller where keys have an outlier channel") {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  const kv::tile_shape s = kv::shape_of(kv::side::key, 64);
  std::vector<float> x(s.elements()), rows(s.elements()), q(16 * 64), b(64);
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i / 64 == 9 ? 30.0f : 1.0f);
  for (std::uint32_t i = 0; i < q.size(); ++i) q[i] = normal(random) * (i % 64 == 9 ? 0.05f : 1.0f);
  for (std::uint32_t t = 0; t < 64; ++t)
    for (std::uint32_t c = 0; c < 64; ++c) rows[t * 64 + c] = x[c * 64 + t];
  kv::balance(q.data(), 16, 64, rows.data(), 64, 64, 64, b.data());
  const auto logit_error = [&](const std::vector<float>& y) {
    double sum = 0;
    for (std::uint32_t r = 0; r < 16; ++r)
      for (std::uint32_t t = 0; t < 64; ++t) {
        double e = 0;
        for (std::uint32_t c = 0; c < 64; ++c) e += static_cast<double>(q[r * 64 + c]) * (static_cast<double>(y[c * 64 + t]) - x[c * 64 + t]);
        sum += e * e;
      }
    return sum;
  };
  CHECK(logit_error(through<kv::balanced<base>>({.params = params_of(b)}, s, x)) < logit_error(through<base>({}, s, x)) / 3);
}

TEST_CASE("balance is the root of the ratio of maxima within its limits") {
  //                      max|q|: 4, 0, 1, 100, 1e-9      max|k|: 1, 3, 0, 1e-6, 5
  const float q[] = {1, 0, 1, 100, 1e-9f, -4, 0, 0.5f, 3, 0}, k[] = {-1, 3, 0, 1e-6f, -5};
  float b[5];
  kv::balance(q, 2, 5, k, 1, 5, 5, b);
  CHECK(b[0] == 2.0f);
  CHECK(b[1] == 1.0f);
  CHECK(b[2] == 1.0f);
  CHECK(b[3] == 100.0f);
  CHECK(b[4] == 0.01f);
}

TEST_CASE("balanced rows stay finite") {
  const kv::tile_shape s = kv::shape_of(kv::side::key, 16);
  std::vector<float> x(s.elements(), 3e38f), b(16, 100.0f);
  for (float v : through<kv::balanced<kv::raw<float>>>({.params = params_of(b)}, s, x)) REQUIRE(std::isfinite(v));
  b.assign(16, 0.01f);
  for (float v : through<kv::balanced<base>>({.params = params_of(b)}, s, x)) REQUIRE(std::isfinite(v));
}
