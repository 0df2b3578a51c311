// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/product_balanced.hpp"

#include "attention/cpu/product_check.hpp"

using namespace product_check;

TEST_CASE("balanced tiles without parameters multiply as their base") {
  using base = kv::integer<2, kv::group::column, 32>;
  check<kv::balanced<base>>(exact, fixed_point<base>);
  check<kv::balanced<kv::raw<float>>>(exact, nothing);
}

TEST_CASE("balanced tiles multiply the channels' own basis") {
  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  for (std::uint32_t dim = 8; dim <= 256; dim += 8) {
    using codec = kv::balanced<kv::raw<float>>;
    using multiplier = attention::cpu::multiplier<codec>;
    const kv::tile_shape s = kv::shape_of(kv::side::key, dim);
    std::vector<float> x(s.elements()), decoded(s.elements()), b(dim), a(5 * dim), y(5 * s.columns, 0.0f);
    for (auto* values : {&x, &a})
      for (float& v : *values) v = normal(random);
    for (float& v : b) v = std::exp(normal(random));
    const kv::codec_context at{.params = reinterpret_cast<const std::byte*>(b.data())};
    std::vector<std::byte> tile(codec{}.tile_bytes(s)), prepared(5 * multiplier::prepared_bytes(s)), scratch(multiplier::scratch_bytes(s) + 1);
    codec{}.encode(at, s, x.data(), tile.data());
    codec{}.decode(at, s, tile.data(), decoded.data());
    multiplier::prepare({}, at, s, nullptr, a.data(), dim, 5, prepared.data());
    multiplier::multiply({}, at, s, tile.data(), prepared.data(), 5, y.data(), s.columns, scratch.data());
    for (std::uint32_t r = 0; r < 5; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) {
        double want = 0, size = 0;
        for (std::uint32_t k = 0; k < dim; ++k) {
          const double term = static_cast<double>(a[r * dim + k]) * decoded[k * s.columns + c];
          want += term, size += std::fabs(term);
        }
        if (!(std::fabs(y[r * s.columns + c] - want) <= size * 0x1p-18)) FAIL("head_dim " << dim << " row " << r << " column " << c);
      }
  }
  SUCCEED();
}
