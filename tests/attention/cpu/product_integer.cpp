// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/product_integer.hpp"

#include "attention/cpu/product_check.hpp"

using namespace product_check;

namespace {
template <int Bits, std::uint32_t Size>
void check_both() {
  check<kv::integer<Bits, kv::group::row, Size>>(exact, fixed_point<kv::integer<Bits, kv::group::row, Size>>);
  check<kv::integer<Bits, kv::group::column, Size>>(exact, fixed_point<kv::integer<Bits, kv::group::column, Size>>);
}
}  // namespace

TEST_CASE("integer tiles of whole rows and columns multiply within the documented fixed-point error") {
  check_both<2, 0>();
  check_both<3, 0>();
  check_both<4, 0>();
  check_both<8, 0>();
}
TEST_CASE("integer tiles of short groups multiply within the documented fixed-point error") {
  check_both<2, 32>();
  check_both<3, 32>();
  check_both<4, 32>();
  check_both<8, 32>();
  check_both<2, 64>();
  check_both<4, 96>();
}
TEST_CASE("rotated integer tiles multiply as their base") {
  check<kv::hadamard<kv::integer<4, kv::group::column>>>(exact, fixed_point<kv::integer<4, kv::group::column>>);
  check<kv::hadamard<kv::integer<2, kv::group::row, 32>>>(exact, fixed_point<kv::integer<2, kv::group::row, 32>>);
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
