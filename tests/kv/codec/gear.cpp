// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/gear.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "quire/kv/codec/fp8.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"

using namespace quire;
using kv::gear;
using kv::group;
using kv::integer;

namespace {

using kivi = integer<2, group::row, 32>;

template <class Codec>
std::vector<std::byte> seal(kv::tile_shape s, const std::vector<float>& x, const kv::codec_context& at = {}) {
  std::vector<std::byte> tile(Codec{}.tile_bytes(s), std::byte{0x5a});
  Codec{}.encode(at, s, x.data(), tile.data());
  return tile;
}
template <class Codec>
std::vector<float> open(kv::tile_shape s, const std::vector<std::byte>& tile) {
  std::vector<float> y(s.elements());
  Codec{}.decode({}, s, tile.data(), y.data());
  return y;
}
double error(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(x[i]) - y[i], 2);
  return sum;
}
template <class Codec>
double error_of(kv::tile_shape s, const std::vector<float>& x) {
  return error(x, open<Codec>(s, seal<Codec>(s, x)));
}
/// The same tile without its factors: D + S.
template <class Codec>
std::vector<float> without_factors(kv::tile_shape s, std::vector<std::byte> tile) {
  std::fill(tile.begin() + static_cast<std::ptrdiff_t>(Codec{}.factors_at(s)), tile.begin() + static_cast<std::ptrdiff_t>(Codec{}.deltas_at(s)), std::byte{0});
  return open<Codec>(s, tile);
}

enum kind { noise, low_rank, spiky, zeros, constant, ramps, huge, kinds };
std::vector<float> draw(kv::tile_shape s, int what, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(s.elements()), u(s.rows), v(s.columns);
  for (float& w : u) w = normal(random);
  for (float& w : v) w = normal(random);
  const float level = normal(random);
  for (std::uint32_t i = 0; i < x.size(); ++i) {
    const std::uint32_t r = i / s.columns, c = i % s.columns;
    const float n = normal(random);
    switch (what) {
      case noise: x[i] = n; break;
      case low_rank: x[i] = 3 * u[r] * v[c] + 0.1f * n; break;
      case spiky: x[i] = n + (random() % 50 == 0 ? 30.0f * normal(random) : 0.0f); break;
      case zeros: x[i] = 0; break;
      case constant: x[i] = level; break;
      case ramps: x[i] = static_cast<float>(r) - 2.0f * static_cast<float>(c); break;
      default: x[i] = n * 3e37f; break;
    }
  }
  return x;
}

template <class Codec>
void check_inequality(int rounds) {
  std::mt19937 random(12);
  for (int round = 0; round < rounds; ++round)
    for (int what = 0; what < kinds; ++what)
      for (std::uint32_t dim : {8u, 24u, 64u, 128u})
        for (kv::side which : {kv::side::key, kv::side::value}) {
          const kv::tile_shape s = kv::shape_of(which, dim);
          const auto x = draw(s, what, random);
          const auto tile = seal<Codec>(s, x, {.which = which});
          const auto y = open<Codec>(s, tile);
          for (float v : y)
            if (!std::isfinite(v)) FAIL("not finite: kind " << what << " head_dim " << dim);
          if (!(error(x, y) <= error(x, without_factors<Codec>(s, tile)))) FAIL("factors hurt: kind " << what << " head_dim " << dim);
        }
  SUCCEED();
}

}  // namespace

TEST_CASE("factors never make a tile worse") {
  { INFO("codec integer<2, group::row>, 2, 2"); check_inequality<gear<integer<2, group::row>, 2, 2>>(6); }
  { INFO("codec kivi, 4, 2"); check_inequality<gear<kivi, 4, 2>>(6); }
  { INFO("codec integer<4, group::column>, 2, 0"); check_inequality<gear<integer<4, group::column>, 2, 0>>(4); }
  { INFO("codec integer<3, group::row>, 8, 6"); check_inequality<gear<integer<3, group::row>, 8, 6>>(2); }
  { INFO("codec kv::fp8, 1, 2"); check_inequality<gear<kv::fp8, 1, 2>>(2); }
}

TEST_CASE("outliers are the largest and smallest of each row and exact up to f16") {
  using codec = gear<integer<2, group::row>, 0, 4>;
  std::mt19937 random(3);
  for (std::uint32_t dim = 8; dim <= 256; dim += 8)
    for (kv::side which : {kv::side::key, kv::side::value}) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      const auto x = draw(s, spiky, random);
      const auto tile = seal<codec>(s, x);
      const auto y = open<codec>(s, tile);
      const auto* index = reinterpret_cast<const std::uint8_t*>(tile.data() + codec{}.indices_at(s));
      for (std::uint32_t r = 0; r < s.rows; ++r) {
        std::vector<float> row(x.begin() + r * s.columns, x.begin() + (r + 1) * s.columns), kept;
        for (std::uint32_t k = 0; k < 4; ++k) {
          kept.push_back(row[index[r * 4 + k]]);
          if (std::fabs(y[r * s.columns + index[r * 4 + k]] - kept.back()) > 0x1p-10f * (1 + std::fabs(kept.back()))) FAIL("an outlier is not exact");
        }
        std::sort(row.begin(), row.end());
        std::sort(kept.begin(), kept.end());
        if (kept != std::vector<float>{row[0], row[1], row[s.columns - 2], row[s.columns - 1]}) FAIL("head_dim " << dim << " row " << r << " keeps others");
      }
    }
}

TEST_CASE("an outlier no longer stretches the range of its row") {
  const kv::tile_shape s = kv::shape_of(kv::side::key, 64);
  std::mt19937 random(5);
  auto x = draw(s, noise, random);
  const double calm = error_of<integer<2, group::row>>(s, x);
  for (std::uint32_t r = 0; r < s.rows; ++r) x[r * s.columns + (r * 37) % s.columns] = 500;
  CHECK(error_of<integer<2, group::row>>(s, x) > 20 * calm);
  CHECK(error_of<gear<integer<2, group::row>, 0, 2>>(s, x) < calm);
}

TEST_CASE("each part of GEAR lowers the error and a planted residual is recovered") {
  std::mt19937 random(8);
  const kv::tile_shape s = kv::shape_of(kv::side::value, 64);
  for (int round = 0; round < 5; ++round) {
    const auto x = draw(s, spiky, random);
    const double plain = error_of<kivi>(s, x), sparse = error_of<gear<kivi, 0, 2>>(s, x), both = error_of<gear<kivi, 2, 2>>(s, x), more = error_of<gear<kivi, 4, 2>>(s, x);
    CHECK(sparse < plain);
    CHECK(both < sparse);
    CHECK(more < both);
    CHECK(error_of<gear<kivi, 2, 0>>(s, x) < plain);
  }
  // what a backbone that keeps nothing misses is the tile itself: of rank 2 here
  struct nothing {
    static constexpr const char* format() noexcept { return "nothing.1"; }
    std::size_t tile_bytes(kv::tile_shape) const noexcept { return 3; }
    void encode(const kv::codec_context&, kv::tile_shape, const float*, std::byte* out) const noexcept { out[0] = out[1] = out[2] = std::byte{0}; }
    void decode(const kv::codec_context&, kv::tile_shape shape, const std::byte*, float* y) const noexcept { std::fill_n(y, shape.elements(), 0.0f); }
  };
  std::vector<float> u(128), v(128), x(s.elements());
  std::normal_distribution<float> normal;
  for (auto* w : {&u, &v})
    for (float& t : *w) t = normal(random);
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = u[i / 64] * v[i % 64] + u[64 + i / 64] * v[64 + i % 64];
  CHECK(error_of<gear<nothing, 2, 0>>(s, x) < 1e-6 * error(x, std::vector<float>(x.size())));
}

TEST_CASE("GEAR tiles depend on the rows the place and the seed and fill every byte") {
  using codec = gear<kivi, 2, 2>;
  std::mt19937 random(2);
  const kv::tile_shape s = kv::shape_of(kv::side::key, 24);
  const auto x = draw(s, noise, random);
  const kv::codec_context at{.layer = 1, .tile = 7, .seed = 3};
  const auto first = seal<codec>(s, x, at);
  std::vector<std::byte> again(first.size() + 8, std::byte{0xc3});
  codec{}.encode(at, s, x.data(), again.data());
  CHECK(std::equal(first.begin(), first.end(), again.begin()));
  for (std::size_t i = first.size(); i < again.size(); ++i) CHECK(again[i] == std::byte{0xc3});
  CHECK(seal<codec>(s, x, {.layer = 1, .tile = 8, .seed = 3}) != first);
}

TEST_CASE("GEAR counts its bits and names its parts") {
  const kv::tile_shape s = kv::shape_of(kv::side::key, 64);
  CHECK(kv::bits_per_element(gear<integer<2, group::row>, 2, 0>{}, s) == 2.5 + 1.0);
  CHECK(kv::bits_per_element(gear<integer<2, group::row>, 2, 2>{}, s) == 2.5 + 1.0 + 0.75);
  CHECK(gear<kivi, 2, 2>::format() == std::string("gear-r2-s2.1+int2-row32.1"));
  CHECK(kv::hadamard<gear<kivi, 4, 0>>::format() == std::string("hadamard.1+gear-r4-s0.1+int2-row32.1"));
  static_assert(kv::Codec<gear<kivi, 2, 2>> && kv::RotatingCodec<kv::hadamard<gear<kivi, 2, 2>>>);
}
