// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/product_integer.hpp"

#include "attention/cpu/product_check.hpp"

using namespace product_check;

TEST_CASE("int4 tiles multiply within the documented fixed-point error") {
  check<kv::integer<4, kv::group::row>>(exact, fixed_point<4, kv::group::row>);
  check<kv::integer<4, kv::group::column>>(exact, fixed_point<4, kv::group::column>);
}
TEST_CASE("int8 tiles multiply within the documented fixed-point error") {
  check<kv::integer<8, kv::group::row>>(exact, fixed_point<8, kv::group::row>);
  check<kv::integer<8, kv::group::column>>(exact, fixed_point<8, kv::group::column>);
}
TEST_CASE("rotated integer tiles multiply as their base") {
  check<kv::hadamard<kv::integer<4, kv::group::column>>>(exact, fixed_point<4, kv::group::column>);
}

TEST_CASE("largest codes and coefficients do not overflow the sums") {
  using codec = kv::integer<8, kv::group::column>;
  using multiplier = attention::cpu::multiplier<codec>;
  const kv::tile_shape s = kv::shape_of(kv::side::key, 256);
  std::vector<float> x(s.elements(), 255.0f), a(s.rows, 1e6f), y(s.columns, 0.0f);
  for (std::uint32_t c = 0; c < s.columns; ++c) x[c] = 0;  // minimum 0, scale 1
  std::vector<std::byte> tile(codec{}.tile_bytes(s)), prepared(multiplier::prepared_bytes(s));
  codec{}.encode({}, s, x.data(), tile.data());
  for (float sign : {1.0f, -1.0f}) {
    for (float& v : a) v = sign * 1e6f;
    std::fill(y.begin(), y.end(), 0.0f);
    multiplier::prepare({}, {}, s, nullptr, a.data(), s.rows, 1, prepared.data());
    multiplier::multiply({}, {}, s, tile.data(), prepared.data(), 1, y.data(), s.columns, nullptr);
    for (float v : y) CHECK(v == Approx(sign * 255e6 * 255).epsilon(1e-5));
  }
}
