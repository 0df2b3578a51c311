// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/low_rank.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire;

namespace {

struct fitted {
  std::vector<float> p, q;
  fitted(const std::vector<float>& r, kv::tile_shape s, std::uint32_t rank, std::uint64_t seed = 1) : p(rank * s.rows), q(rank * s.columns) {
    auto scratch = r;
    const float scale = kv::fit_low_rank(scratch.data(), s, rank, seed, p.data(), q.data());
    for (float& v : q) v /= scale;
  }
};

double energy(const std::vector<float>& r) {
  double sum = 0;
  for (float v : r) sum += static_cast<double>(v) * v;
  return sum;
}
double left(const std::vector<float>& r, kv::tile_shape s, std::uint32_t rank, const fitted& f) {
  double sum = 0;
  for (std::uint32_t i = 0; i < s.rows; ++i)
    for (std::uint32_t c = 0; c < s.columns; ++c) {
      double v = r[i * s.columns + c];
      for (std::uint32_t k = 0; k < rank; ++k) v -= static_cast<double>(f.p[k * s.rows + i]) * f.q[k * s.columns + c];
      sum += v * v;
    }
  return sum;
}
std::vector<float> planted(kv::tile_shape s, std::uint32_t rank, unsigned seed, float noise = 0, float size = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> u(rank * s.rows), v(rank * s.columns), r(s.elements());
  for (float& x : u) x = size * normal(random);
  for (float& x : v) x = normal(random);
  for (std::uint32_t i = 0; i < s.rows; ++i)
    for (std::uint32_t c = 0; c < s.columns; ++c) {
      float x = noise * normal(random);
      for (std::uint32_t k = 0; k < rank; ++k) x += u[k * s.rows + i] * v[k * s.columns + c];
      r[i * s.columns + c] = x;
    }
  return r;
}

}  // namespace

TEST_CASE("a planted low rank matrix is recovered at every size and magnitude") {
  for (std::uint32_t dim : {8u, 24u, 64u, 80u, 256u})
    for (kv::side which : {kv::side::key, kv::side::value})
      for (std::uint32_t rank : {1u, 2u, 4u, 8u})
        for (float size : {1.0f, 1e-20f, 1e18f}) {
          const kv::tile_shape s = kv::shape_of(which, dim);
          const auto r = planted(s, rank, dim + rank, 0, size);
          const fitted f(r, s, rank);
          INFO("head_dim " << dim << " rank " << rank << " size " << size);
          CHECK(left(r, s, rank, f) < 1e-9 * energy(r));
        }
}

TEST_CASE("factors are a projection: P is orthonormal and no energy is added") {
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  for (std::uint32_t rank : {1u, 2u, 4u}) {
    const kv::tile_shape s{64, 64};
    std::vector<float> r(s.elements());
    for (float& v : r) v = normal(random);
    const fitted f(r, s, rank);
    for (std::uint32_t a = 0; a < rank; ++a)
      for (std::uint32_t b = 0; b < rank; ++b) {
        double dot = 0;
        for (std::uint32_t i = 0; i < s.rows; ++i) dot += static_cast<double>(f.p[a * s.rows + i]) * f.p[b * s.rows + i];
        CHECK(std::fabs(dot - (a == b)) < 1e-5);
      }
    double held = 0;
    for (float v : f.q) held += static_cast<double>(v) * v;
    CHECK(left(r, s, rank, f) == Approx(energy(r) - held).epsilon(1e-5));
    CHECK(held > energy(r) * 2.5 * rank / 64);  // three rounds find more than random directions would: rank/64 of the energy
  }
}

TEST_CASE("low rank below noise is found and a matrix of less rank than asked for leaves no NaN") {
  const kv::tile_shape s{64, 64};
  const auto noisy = planted(s, 2, 9, 0.3f);
  CHECK(left(noisy, s, 2, fitted(noisy, s, 2)) < 0.09 * 4096 * 1.05);
  for (std::uint32_t actual : {0u, 1u, 2u}) {
    auto r = planted(s, actual, 4);
    const fitted f(r, s, 4);
    for (float v : f.p) REQUIRE(std::isfinite(v));
    for (float v : f.q) REQUIRE(std::isfinite(v));
    CHECK(left(r, s, 4, f) <= 1e-9 * energy(r));
  }
}

TEST_CASE("the start depends on the place and the seed and on nothing else") {
  const kv::codec_context at{.layer = 1, .head = 2, .tile = 3, .which = kv::side::key, .seed = 4};
  const std::uint64_t seed = kv::place_seed(at);
  CHECK(seed == kv::place_seed(at));
  for (int i = 0; i < 5; ++i) {
    auto other = at;
    if (i == 0) other.layer = 2;
    if (i == 1) other.head = 1;
    if (i == 2) other.tile = 4;
    if (i == 3) other.which = kv::side::value;
    if (i == 4) other.seed = 5;
    CHECK(kv::place_seed(other) != seed);
  }
  const kv::tile_shape s{64, 64};
  const auto r = planted(s, 4, 1, 1.0f);
  CHECK(fitted(r, s, 2, 7).p == fitted(r, s, 2, 7).p);
  CHECK(fitted(r, s, 2, 7).p != fitted(r, s, 2, 8).p);
}

TEST_CASE("rows that hold nothing new become zeros") {
  std::vector<float> v(3 * 8, 1.0f);
  v[8] = 2;
  kv::orthonormalize(v.data(), 3, 8);
  for (int i = 0; i < 8; ++i) CHECK(v[16 + i] == 0.0f);
  double dot = 0;
  for (int i = 0; i < 8; ++i) dot += static_cast<double>(v[i]) * v[8 + i];
  CHECK(std::fabs(dot) < 1e-6);
}
