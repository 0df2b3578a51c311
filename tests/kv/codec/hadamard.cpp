// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/hadamard.hpp"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/codec/raw.hpp"

using namespace quire;

TEST_CASE("the block of a rotation is the largest power of two in the head size") {
  CHECK(kv::rotation_block(8) == 8);
  CHECK(kv::rotation_block(24) == 8);
  CHECK(kv::rotation_block(64) == 64);
  CHECK(kv::rotation_block(80) == 16);
  CHECK(kv::rotation_block(96) == 32);
  CHECK(kv::rotation_block(128) == 128);
}

TEST_CASE("the rotation is an involution orthonormal and mixes whole blocks only") {
  for (std::uint32_t dim : {8u, 24u, 64u, 80u, 96u, 128u, 256u}) {
    CAPTURE(dim);
    const std::uint32_t block = kv::rotation_block(dim);
    std::vector<std::vector<float>> columns;
    for (std::uint32_t i = 0; i < dim; ++i) {
      std::vector<float> v(dim, 0.0f);
      v[i] = 1;
      kv::hadamard_rotate(v.data(), dim);
      for (std::uint32_t k = 0; k < dim; ++k) {
        const double want = k / block == i / block ? 1 / std::sqrt(static_cast<double>(block)) : 0;
        if (std::fabs(std::fabs(v[k]) - want) > 1e-6) FAIL("column " << i << " row " << k << " is " << v[k]);
      }
      columns.push_back(v);
    }
    double worst = 0;
    for (std::uint32_t i = 0; i < dim; ++i)
      for (std::uint32_t j = 0; j < dim; ++j) {
        double dot = 0;
        for (std::uint32_t k = 0; k < dim; ++k) dot += static_cast<double>(columns[i][k]) * columns[j][k];
        worst = std::max(worst, std::fabs(dot - (i == j)));
      }
    CHECK(worst < 1e-6);
    std::mt19937 random(dim);
    std::normal_distribution<float> normal;
    std::vector<float> v(dim);
    for (float& x : v) x = normal(random);
    auto twice = v;
    kv::hadamard_rotate(twice.data(), dim);
    CHECK(twice != v);
    kv::hadamard_rotate(twice.data(), dim);
    for (std::uint32_t k = 0; k < dim; ++k)
      if (std::fabs(twice[k] - v[k]) > 2e-6f) FAIL("channel " << k);
  }
}

TEST_CASE("a rotated codec keeps the channels of each token in the other basis") {
  using codec = kv::hadamard<kv::raw<float>>;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (kv::side which : {kv::side::key, kv::side::value})
    for (std::uint32_t dim : {8u, 24u, 64u, 80u, 96u, 128u, 256u}) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      std::vector<float> x(s.elements()), y(s.elements()), token(dim);
      for (float& v : x) v = normal(random);
      std::vector<std::byte> tile(codec{}.tile_bytes(s));
      REQUIRE(tile.size() == kv::raw<float>{}.tile_bytes(s));
      const kv::codec_context at{.which = which};
      codec{}.encode(at, s, x.data(), tile.data());
      codec{}.decode(at, s, tile.data(), y.data());
      const auto index = [&](std::uint32_t t, std::uint32_t d) { return which == kv::side::key ? d * 64 + t : t * dim + d; };
      double worst = 0;
      for (std::uint32_t t = 0; t < 64; ++t) {
        for (std::uint32_t d = 0; d < dim; ++d) token[d] = y[index(t, d)];
        codec{}.rotate(token.data(), dim);
        for (std::uint32_t d = 0; d < dim; ++d) worst = std::max(worst, std::fabs(static_cast<double>(token[d]) - x[index(t, d)]));
      }
      CHECK(worst < 4e-6);
    }
}

TEST_CASE("a rotation spreads an outlier channel and makes the error smaller") {
  using base = kv::integer<4, kv::group::column>;
  const kv::tile_shape s = kv::shape_of(kv::side::key, 64);
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> x(s.elements()), y(s.elements()), token(64);
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = normal(random) + (i / 64 == 5 ? 40.0f : 0.0f);
  const auto error = [&](const auto& codec, bool rotated) {
    std::vector<std::byte> tile(codec.tile_bytes(s));
    codec.encode({}, s, x.data(), tile.data());
    codec.decode({}, s, tile.data(), y.data());
    double sum = 0;
    for (std::uint32_t t = 0; t < 64; ++t) {
      for (std::uint32_t d = 0; d < 64; ++d) token[d] = y[d * 64 + t];
      if (rotated) kv::hadamard_rotate(token.data(), 64);
      for (std::uint32_t d = 0; d < 64; ++d) sum += std::pow(token[d] - x[d * 64 + t], 2);
    }
    return sum;
  };
  CHECK(error(kv::hadamard<base>{}, true) < error(base{}, false) / 3);
}

TEST_CASE("formats of rotated codecs name their base") {
  CHECK(kv::hadamard<kv::integer<4, kv::group::column>>::format() == std::string("hadamard.1+int4-column.1"));
  CHECK(kv::hadamard<kv::integer<8, kv::group::row>>::format() == std::string("hadamard.1+int8-row.1"));
  CHECK(kv::hadamard<kv::raw<bf16>>::format() == std::string("hadamard.1+bf16.1"));
}
