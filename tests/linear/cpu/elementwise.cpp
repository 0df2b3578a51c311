// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cpu/elementwise.hpp"

#include <cstring>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::linear;
using namespace quire::linear::cpu;

namespace {
std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> d;
  std::vector<float> v(n);
  for (auto& x : v) x = d(random);
  return v;
}
}  // namespace

TEST_CASE("rms_norm divides by the root of the mean square") {
  for (const std::size_t n : {1u, 3u, 16u, 63u, 64u, 65u, 576u, 1000u}) {
    const auto x = normal(n, 1), weight = normal(n, 2);
    double sum = 0;
    for (const float v : x) sum += double{v} * v;
    const double scale = 1 / std::sqrt(sum / static_cast<double>(n) + 1e-5);
    std::vector<float> out(n + 1, 5.0f);
    rms_norm(x.data(), weight.data(), n, 1e-5f, out.data());
    for (std::size_t i = 0; i < n; ++i) REQUIRE(out[i] == Approx(x[i] * scale * weight[i]).epsilon(2e-6));
    REQUIRE(out[n] == 5.0f);
    std::vector<float> in_place = x;
    rms_norm(in_place.data(), weight.data(), n, 1e-5f, in_place.data());
    REQUIRE(std::memcmp(in_place.data(), out.data(), n * 4) == 0);
  }
  std::vector<float> zeros(32, 0.0f), ones(32, 1.0f);
  rms_norm(zeros.data(), ones.data(), 32, 1e-5f, zeros.data());
  for (const float v : zeros) REQUIRE(v == 0.0f);
}

TEST_CASE("silu_mul follows the definition far out on both sides") {
  for (const std::size_t n : {1u, 15u, 16u, 100u, 1536u}) {
    auto gate = normal(n, 3);
    const auto up = normal(n, 4);
    for (auto& g : gate) g *= 6;
    gate[0] = n == 1 ? -1000.0f : n == 15 ? 1000.0f : n == 16 ? 0.0f : -86.0f;
    std::vector<float> out(n + 1, 5.0f);
    silu_mul(gate.data(), up.data(), n, out.data());
    for (std::size_t i = 0; i < n; ++i)
      REQUIRE(out[i] == Approx(gate[i] / (1 + std::exp(-double{gate[i]})) * up[i]).epsilon(2e-6).margin(1e-30));
    REQUIRE(out[n] == 5.0f);
  }
}

TEST_CASE("add adds") {
  const auto a = normal(77, 5), b = normal(77, 6);
  std::vector<float> out(77);
  add(a.data(), b.data(), 77, out.data());
  for (int i = 0; i < 77; ++i) REQUIRE(out[i] == a[i] + b[i]);
}

TEST_CASE("a rotation turns the right pairs and leaves the rest of the head") {
  for (const rope_style style : {rope_style::interleaved, rope_style::halves})
    for (const std::uint32_t head_dim : {6u, 40u, 64u, 128u})
      for (const std::uint32_t dims : {head_dim, head_dim / 4 * 2}) {
        const rope r{.style = style, .dims = dims, .base = 10000.0};
        REQUIRE(supports(r, head_dim));
        const std::uint32_t heads = 3, position = 37;
        std::vector<float> row(dims), x = normal(heads * head_dim, 7);
        const auto was = x;
        fill_rope(r, {position, position + 1}, row.data());
        apply_rope(r, row.data(), x.data(), heads, head_dim);
        for (std::uint32_t h = 0; h < heads; ++h) {
          const float* from = was.data() + h * head_dim;
          const float* to = x.data() + h * head_dim;
          for (std::uint32_t i = 0; i < dims / 2; ++i) {
            const double angle = position * std::pow(10000.0, -2.0 * i / dims);
            const std::uint32_t u = style == rope_style::halves ? i : 2 * i,
                                v = style == rope_style::halves ? i + dims / 2 : 2 * i + 1;
            REQUIRE(to[u] == Approx(from[u] * std::cos(angle) - from[v] * std::sin(angle)).margin(1e-6));
            REQUIRE(to[v] == Approx(from[u] * std::sin(angle) + from[v] * std::cos(angle)).margin(1e-6));
          }
          for (std::uint32_t k = dims; k < head_dim; ++k) REQUIRE(to[k] == from[k]);
        }
      }
}
