// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/raw.hpp"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"

using namespace quire;

namespace {

std::vector<float> random_tile(std::uint32_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.5f, 3);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  x[n / 2] = 0, x[n / 3] = -0.0f, x[n / 5] = 1e-6f, x[n / 7] = -60000.0f;
  return x;
}

template <class Number>
void check_raw(const char* format, double relative, double absolute) {
  const kv::raw<Number> codec;
  CHECK(codec.format() == std::string(format));
  for (kv::side which : {kv::side::key, kv::side::value})
    for (std::uint32_t dim = 8; dim <= 256; dim += 8) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      const auto x = random_tile(s.elements(), dim);
      REQUIRE(codec.tile_bytes(s) == std::size_t{dim} * 64 * sizeof(Number));
      std::vector<std::byte> tile(codec.tile_bytes(s)), by_token(tile.size(), std::byte{0x5a});
      codec.encode({}, s, x.data(), tile.data());
      std::vector<float> back(x.size(), -1), row(dim);
      codec.decode({}, s, tile.data(), back.data());
      bool close = true;
      for (std::size_t i = 0; i < x.size(); ++i) close = close && std::fabs(static_cast<double>(back[i]) - x[i]) <= relative * std::fabs(x[i]) + absolute;
      CHECK(close);
      // documented bytes: [rows / pack][columns][pack]
      constexpr std::uint32_t pack = 4 / sizeof(Number);
      bool placed = true;
      for (std::uint32_t r = 0; r < s.rows; ++r)
        for (std::uint32_t c = 0; c < s.columns; ++c) {
          Number n;
          std::memcpy(&n, tile.data() + ((r / pack * s.columns + c) * pack + r % pack) * sizeof(Number), sizeof n);
          placed = placed && codec.widen(n) == back[r * s.columns + c];
        }
      CHECK(placed);
      // token by token in any order gives the same bytes, and touches no other token
      for (std::uint32_t i = 0; i < 64; ++i) {
        const std::uint32_t token = i * 37 % 64;
        for (std::uint32_t d = 0; d < dim; ++d) row[d] = which == kv::side::key ? x[d * 64 + token] : x[token * dim + d];
        const auto before = by_token;
        codec.put(which, dim, token, row.data(), by_token.data());
        std::size_t changed = 0;
        for (std::size_t b = 0; b < tile.size(); ++b) {
          changed += by_token[b] != before[b];
          if (by_token[b] != before[b] && by_token[b] != tile[b]) FAIL("put wrote a byte that encode does not");
        }
        if (changed > dim * sizeof(Number)) FAIL("put touched other tokens");
      }
      CHECK(by_token == tile);
    }
}

}  // namespace

TEST_CASE("raw f32 keeps every bit in the documented order") { check_raw<float>("f32.1", 0, 0); }
TEST_CASE("raw bf16 rounds within half a unit of eight bits") { check_raw<bf16>("bf16.1", 0x1p-8, 0); }
TEST_CASE("raw f16 rounds within half a unit of eleven bits") { check_raw<f16>("f16.1", 0x1p-11, 0x1p-25); }

TEST_CASE("a tile of zeros is bytes of zero in every raw format") {
  const kv::tile_shape s = kv::shape_of(kv::side::key, 16);
  const std::vector<float> x(s.elements(), 0.0f);
  const auto zeros = [&](const auto& codec) {
    std::vector<std::byte> tile(codec.tile_bytes(s), std::byte{1});
    codec.encode({}, s, x.data(), tile.data());
    for (std::byte b : tile)
      if (b != std::byte{0}) FAIL(codec.format());
  };
  zeros(kv::raw<float>{});
  zeros(kv::raw<bf16>{});
  zeros(kv::raw<f16>{});
}

TEST_CASE("a token copied between tiles keeps its bytes and leaves the others") {
  constexpr std::uint32_t dim = 24;
  const auto check = [](auto codec) {
    for (kv::side which : {kv::side::key, kv::side::value}) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      std::vector<float> x(s.elements()), y(s.elements()), got(s.elements());
      for (std::uint32_t i = 0; i < s.elements(); ++i) x[i] = static_cast<float>(i % 250), y[i] = -1.0f - static_cast<float>(i % 250);
      std::vector<std::byte> from(codec.tile_bytes(s)), to(codec.tile_bytes(s));
      codec.encode({.which = which}, s, x.data(), from.data());
      codec.encode({.which = which}, s, y.data(), to.data());
      codec.copy(which, dim, from.data(), 7, to.data(), 50);
      codec.decode({.which = which}, s, to.data(), got.data());
      bool same = true;
      for (std::uint32_t t = 0; t < 64; ++t)
        for (std::uint32_t i = 0; i < dim; ++i) {
          const auto at = [&](std::uint32_t token) { return which == kv::side::key ? i * 64 + token : token * dim + i; };
          same = same && got[at(t)] == (t == 50 ? x[at(7)] : y[at(t)]);
        }
      CHECK(same);
    }
  };
  check(kv::raw<float>{});
  check(kv::raw<bf16>{});
  check(kv::raw<f16>{});
}
