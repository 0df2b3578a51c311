// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/product_fp8.hpp"

#include "attention/cpu/product_check.hpp"
#include "quire/kv/codec/hadamard.hpp"

using namespace product_check;

TEST_CASE("fp8 tiles multiply by coefficients rounded to bf16") {
  check<kv::fp8>(to_bf16, nothing);
  check<kv::hadamard<kv::fp8>>(to_bf16, nothing);
}

TEST_CASE("fp8 products keep small weights and large scales") {
  using multiplier = attention::cpu::multiplier<kv::fp8>;
  const kv::tile_shape s = kv::shape_of(kv::side::value, 16);
  std::vector<float> x(s.elements()), a(s.rows), y(s.columns), decoded(s.elements());
  std::vector<std::byte> tile(kv::fp8{}.tile_bytes(s)), prepared(multiplier::prepared_bytes(s)), scratch(multiplier::scratch_bytes(s) + 1);
  for (float magnitude : {1e-6f, 1.0f, 1e7f})
    for (float weight : {1e-12f, 1.0f, 1e6f}) {
      for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = magnitude * static_cast<float>(1 + i % 7);
      for (std::uint32_t k = 0; k < s.rows; ++k) a[k] = weight * static_cast<float>(1 + k % 3);
      kv::fp8{}.encode({}, s, x.data(), tile.data());
      kv::fp8{}.decode({}, s, tile.data(), decoded.data());
      std::fill(y.begin(), y.end(), 0.0f);
      multiplier::prepare({}, {}, s, nullptr, a.data(), s.rows, 1, prepared.data());
      multiplier::multiply({}, {}, s, tile.data(), prepared.data(), 1, y.data(), s.columns, scratch.data());
      for (std::uint32_t c = 0; c < s.columns; ++c) {
        double want = 0;
        for (std::uint32_t k = 0; k < s.rows; ++k) want += static_cast<double>(to_bf16(a[k])) * decoded[k * s.columns + c];
        CHECK(y[c] == Approx(want).epsilon(1e-5));
      }
    }
}
