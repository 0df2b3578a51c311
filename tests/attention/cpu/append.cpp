// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/append.hpp"

#include <cmath>
#include <cstring>
#include <map>

#include "attention/fixture.hpp"
#include "catch.hpp"

using namespace fixture;
using attention::query_span;

namespace {

/// Appends `data` span by span and returns every sealed piece and the open tail of layer 0.
template <kv::Layout L>
std::vector<std::byte> filled(const L& layout, const rows& data, std::span<const std::uint32_t> chunks) {
  const extents e = layout.extent();
  kv::store<L> store(layout, kv::pages_for(layout, 1, 1024));
  std::uint32_t s = 0, at = 0;
  REQUIRE(store.open(s));
  std::vector<std::byte> staging(16 * e.kv_heads * layout.raw().piece_bytes(e.head_dim));
  std::vector<float> x(e.head_dim * tile_tokens);
  for (std::uint32_t n : chunks) {
    REQUIRE(store.reserve(s, n));
    const query_span span{s, at, n, 0};
    REQUIRE(attention::cpu::staging_tiles(std::span(&span, 1)) <= 15);
    const auto view = store.view();
    const attention::cpu::raw_tiles<L> raws{view, staging.data(), 0};
    for (std::uint32_t h = 0; h < e.kv_heads; ++h) {
      const std::size_t from = at * data.kv_width + h * e.head_dim;
      REQUIRE(attention::cpu::append(raws, span, 0, h, data.k.data() + from, data.v.data() + from, data.kv_width, x.data()));
      // the exact rows of every tile the span touches are there for its own queries
      for (std::uint32_t p = std::max(at, at / 64 * 64); p < at + n; ++p) {
        const auto* key = reinterpret_cast<const float*>(raws.at(span, 0, h, p / 64));
        for (std::uint32_t d = 0; d < e.head_dim; ++d)
          if (key[d * 64 + p % 64] != data.k[p * data.kv_width + h * e.head_dim + d]) FAIL("exact key of token " << p);
      }
    }
    REQUIRE(store.commit(s, n));
    at += n;
  }
  std::vector<std::byte> bytes;
  for (std::uint32_t h = 0; h < e.kv_heads; ++h) {
    for (std::uint32_t t = 0; t < at / 64; ++t) {
      const std::byte* from = store.view().sealed(s, 0, h, t);
      bytes.insert(bytes.end(), from, from + layout.sealed().key_bytes(e.head_dim));
      bytes.insert(bytes.end(), from + layout.sealed().value_offset(e.head_dim), from + layout.sealed().value_offset(e.head_dim) + layout.sealed().value_bytes(e.head_dim));
    }
    const std::byte* tail = store.view().tail(s, 0, h);
    std::vector<float> rows_of_tail;
    for (std::uint32_t d = 0; d < e.head_dim; ++d)
      for (std::uint32_t j = 0; j < at % 64; ++j) rows_of_tail.push_back(reinterpret_cast<const float*>(tail)[d * 64 + j]);
    const auto* b = reinterpret_cast<const std::byte*>(rows_of_tail.data());
    bytes.insert(bytes.end(), b, b + rows_of_tail.size() * sizeof(float));
  }
  return bytes;
}

template <class Pair>
void check_chunks() {
  const kv::paged<Pair, kv::raw_f32> layout({1, 2, 24});
  const rows data(340, {.q_heads = 2, .kv_heads = 2, .dim_k = 24, .dim_v = 24}, 8);
  const std::uint32_t whole[] = {340}, halves[] = {100, 1, 63, 176}, tiles[] = {64, 64, 128, 64, 20};
  const std::vector<std::uint32_t> single(340, 1);
  const auto want = filled(layout, data, whole);
  CHECK(filled(layout, data, halves) == want);
  CHECK(filled(layout, data, tiles) == want);
  CHECK(filled(layout, data, single) == want);
}

}  // namespace

TEST_CASE("sealed bytes and exact rows do not depend on the chunking") {
  check_chunks<kv::raw_f32>();
  check_chunks<kv::raw_bf16>();
  check_chunks<int4_token>();
  check_chunks<int4_hadamard>();
}

TEST_CASE("staging is counted by tiles that a span leaves behind") {
  const auto of = [](std::uint32_t first, std::uint32_t count) {
    const query_span s{0, first, count, 0};
    return attention::cpu::staging_tiles(std::span(&s, 1));
  };
  CHECK(of(0, 0) == 0);
  CHECK(of(0, 64) == 0);
  CHECK(of(0, 65) == 1);
  CHECK(of(63, 1) == 0);
  CHECK(of(63, 2) == 1);
  CHECK(of(10, 200) == 3);
  const query_span both[] = {{0, 63, 2, 0}, {1, 0, 129, 2}};
  CHECK(attention::cpu::staging_tiles(both) == 3);
}

TEST_CASE("rows that are not finite are found and stored as zeros") {
  float row[40];
  for (float bad : {std::nanf(""), -std::nanf(""), INFINITY, -INFINITY})
    for (std::uint32_t i = 0; i < 40; ++i) {
      std::fill_n(row, 40, -3.4e38f);
      CHECK(attention::cpu::all_finite(row, 40));
      row[i] = bad;
      CHECK_FALSE(attention::cpu::all_finite(row, 40));
      CHECK(attention::cpu::all_finite(row, i));
    }
  using L = kv::paged<kv::raw_f32, kv::raw_f32>;
  const L layout({1, 1, 8});
  kv::store<L> store(layout, kv::pages_for(layout, 1, 64));
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, 3));
  std::vector<float> k(24, 1.0f), v(24, 2.0f), x(8 * 64);
  v[8 + 3] = INFINITY;  // a value alone makes the whole token zero
  const auto view = store.view();
  CHECK_FALSE(attention::cpu::append(attention::cpu::raw_tiles<L>{view}, {s, 0, 3, 0}, 0, 0, k.data(), v.data(), 8, x.data()));
  const auto* key = reinterpret_cast<const float*>(view.tail(s, 0, 0));
  for (std::uint32_t d = 0; d < 8; ++d) {
    CHECK(key[d * 64] == 1);
    CHECK(key[d * 64 + 1] == 0);
    CHECK(key[d * 64 + 2] == 1);
    CHECK(key[d * 64 + 3] == 0);
  }
}
