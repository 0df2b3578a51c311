// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/remainder.hpp"

#include <random>
#include <vector>

#include "catch.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using kv::remainder::mean_token;

namespace {

/// Means after `tiles` random tiles against plain sums of what the tiles decode to, in the channels' own basis.
template <class Pair>
double worst(std::uint32_t dim, std::uint32_t tiles) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  const Pair pair;
  const kv::raw_f32 raw;
  std::vector<float> x(dim * 64), sums(2 * dim, 0.0f);
  std::vector<double> want(2 * dim, 0.0);
  std::vector<std::byte> tile(pair.piece_bytes(dim)), piece(raw.piece_bytes(dim));
  kv::head_state state;
  state.key_sum = sums.data(), state.value_sum = sums.data() + dim;
  for (std::uint32_t t = 0; t < tiles; ++t) {
    const kv::codec_context key{.tile = t, .which = kv::side::key}, value{.tile = t, .which = kv::side::value};
    const auto half = [&](const auto& codec, const kv::codec_context& at, std::byte* to, double* sum) {
      const kv::tile_shape s = kv::shape_of(at.which, dim);
      for (float& v : x) v = normal(random) + 0.5f;
      codec.encode(at, s, x.data(), to);
      codec.decode(at, s, to, x.data());
      for (std::uint32_t j = 0; j < 64; ++j) {
        float row[256];
        for (std::uint32_t i = 0; i < dim; ++i) row[i] = at.which == kv::side::key ? x[i * 64 + j] : x[j * dim + i];
        if constexpr (kv::RotatingCodec<std::remove_cvref_t<decltype(codec)>>) codec.rotate(row, dim);
        for (std::uint32_t i = 0; i < dim; ++i) sum[i] += static_cast<double>(row[i]);
      }
    };
    half(pair.key, key, tile.data(), want.data());
    half(pair.value, value, tile.data() + pair.value_offset(dim), want.data() + dim);
    mean_token::add_tile(pair, key, value, dim, tile.data(), state, x.data());
  }
  mean_token::write(raw, state, dim, tiles * 64, piece.data());
  std::vector<float> k(dim * 64), v(dim * 64);
  raw.key.decode({}, kv::shape_of(kv::side::key, dim), piece.data(), k.data());
  raw.value.decode({}, kv::shape_of(kv::side::value, dim), piece.data() + raw.value_offset(dim), v.data());
  double most = 0;
  for (std::uint32_t i = 0; i < dim; ++i) {
    most = std::max(most, std::fabs(static_cast<double>(k[i * 64]) - want[i] / (tiles * 64)));
    most = std::max(most, std::fabs(static_cast<double>(v[i]) - want[dim + i] / (tiles * 64)));
  }
  return most;
}

}  // namespace

TEST_CASE("a running mean equals the mean of all dropped tokens") {
  using int4 = kv::integer<4, kv::group::row>;
  for (std::uint32_t dim : {8u, 24u, 64u}) {
    CHECK(worst<kv::raw_f32>(dim, 50) < 1e-6);
    CHECK(worst<kv::codec_pair<int4>>(dim, 50) < 1e-6);
    CHECK(worst<kv::codec_pair<kv::hadamard<int4>>>(dim, 50) < 2e-6);
  }
}

TEST_CASE("the bias is the logarithm of how many it stands for, up to a cap") {
  CHECK(mean_token{}.bias(1) == 0.0f);
  CHECK(mean_token{}.bias(1000) == Approx(std::log(1000.0)));
  CHECK(mean_token{.bias_cap = 3}.bias(1000) == 3.0f);
}
