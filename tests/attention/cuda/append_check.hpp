// SPDX-License-Identifier: Apache-2.0
// What a device appends against what cpu/append.hpp makes of the same rows.
#pragma once

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"
#include "quire/attention/cuda/append.cuh"

namespace append_check {

using namespace cuda_fixture;

struct length {
  std::uint32_t before, count;
};

/// x [rows][heads·dim] turned as core/rope.hpp's table says.
inline void turn(std::vector<float>& x, std::size_t width, std::uint32_t dim, const cuda::rotation& how, const std::vector<float>& table, std::span<const query_span> spans) {
  for (const query_span& s : spans)
    for (std::uint32_t r = 0; r < s.count; ++r)
      for (std::uint32_t h = 0; (h + 1) * dim <= width; ++h) {
        float* v = x.data() + (s.row + r) * width + h * dim;
        const float* row = table.data() + std::size_t{s.first + r} * how.dims;
        for (std::uint32_t i = 0; i < how.dims / 2; ++i) {
          float &a = how.style == rope_style::interleaved ? v[2 * i] : v[i], &b = how.style == rope_style::interleaved ? v[2 * i + 1] : v[i + how.dims / 2];
          const float left = a, right = b, c = row[i], sine = row[how.dims / 2 + i];
          a = left * c - right * sine, b = left * sine + right * c;
        }
      }
}
inline std::vector<float> table_of(rope_style style, std::uint32_t dims, std::uint32_t positions) {
  std::vector<float> table(std::size_t{positions} * dims);
  fill_rope({.style = style, .dims = dims}, {0, positions}, table.data());
  return table;
}

/// Sealed tiles of codecs whose factors come from sums in another order (encode_gear.cuh), as what they stand for: within a thousandth.
template <kv::Layout L>
void check_decoded(const L& layout, std::span<const std::byte> got, const std::byte* want) {
  const std::uint32_t dim = layout.extent().head_dim;
  const auto pair = layout.sealed();
  std::vector<float> a(dim * tile_tokens), b(a.size());
  const auto same = [&](const auto& codec, kv::side which, std::size_t at) {
    const kv::tile_shape s = kv::shape_of(which, dim);
    const auto agree = [&](std::size_t from) { return std::equal(want + at + from, want + at + codec.tile_bytes(s), got.data() + at + from); };
    if (agree(0)) return;  // of pages that nobody wrote as well: they hold anything
    if (!agree(codec.indices_at(s))) FAIL("the tile at byte " << at << " has other outliers");
    codec.decode({}, s, got.data() + at, a.data()), codec.decode({}, s, want + at, b.data());
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2), size += std::pow(static_cast<double>(b[i]), 2);
    if (!(difference <= 1e-6 * size)) FAIL("the tile at byte " << at << " differs by " << std::sqrt(difference) << " of " << std::sqrt(size));
  };
  for (std::size_t at = 0; at < got.size(); at += pair.piece_bytes(dim)) same(pair.key, kv::side::key, at), same(pair.value, kv::side::value, at + pair.value_offset(dim));
}

/// What spans append on a device against what cpu/append.hpp makes of the same rows: pages, tails and staging, byte for byte.
/// `spoil`: a row that holds NaN, none when past the last.
template <class Row, kv::Layout L>
void check(const L& layout, std::initializer_list<length> lengths, const rope* rotary = nullptr, std::uint32_t spoil = ~0u, bool with_staging = true) {
  const extents e = layout.extent();
  constexpr std::uint32_t most = 900;
  const std::uint32_t sequences = static_cast<std::uint32_t>(lengths.size());
  const std::size_t width = std::size_t{e.kv_heads} * e.head_dim, ld = width + 8;
  kv::store<L> store(layout, kv::pages_for(layout, sequences, most, most));
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> x(e.head_dim * tile_tokens);
  std::vector<query_span> spans;
  std::vector<std::uint32_t> staged;
  std::uint32_t rows = 0, staging_tiles = 0;
  for (const auto [before, count] : lengths) {  // committed tokens come from the host
    std::uint32_t s = 0;
    REQUIRE(store.open(s));
    for (std::uint32_t at = 0; at < before;) {
      const std::uint32_t n = std::min(before - at, tile_tokens - at % tile_tokens);
      REQUIRE(store.reserve(s, n));
      std::vector<float> k(n * width), v(n * width);
      for (float& y : k) y = normal(random);
      for (float& y : v) y = normal(random);
      const auto view = store.view();
      for (std::uint32_t layer = 0; layer < e.layers; ++layer)
        for (std::uint32_t h = 0; h < e.kv_heads; ++h) attention::cpu::append(attention::cpu::raw_tiles<L>{view}, {s, at, n, 0}, layer, h, k.data() + h * e.head_dim, v.data() + h * e.head_dim, width, x.data());
      REQUIRE(store.commit(s, n));
      at += n;
    }
    REQUIRE(store.reserve(s, count));
    spans.push_back({s, before, count, rows});
    staged.push_back(staging_tiles);
    staging_tiles += count == 0 ? 0 : (before + count - 1) / tile_tokens - before / tile_tokens;
    rows += count;
  }
  const device_cache<L> cache(store);

  std::vector<float> k(rows * width), v(rows * width);
  for (float& y : k) y = normal(random);
  for (float& y : v) y = normal(random);
  const auto as_rows = [&](std::vector<float>& from) {  // what the format makes of them, and rows that stand apart
    std::vector<Row> to(rows * ld, kv::raw<Row>::narrow(3.0f));
    for (std::size_t i = 0; i < from.size(); ++i) to[i / width * ld + i % width] = kv::raw<Row>::narrow(from[i]), from[i] = kv::raw<Row>::widen(to[i / width * ld + i % width]);
    return to;
  };
  auto device_rows_k = as_rows(k), device_rows_v = as_rows(v);
  if (spoil < rows) {
    v[spoil * width + e.head_dim + 1] = std::numeric_limits<float>::quiet_NaN();
    if constexpr (std::is_same_v<Row, float>) device_rows_v[spoil * ld + e.head_dim + 1] = std::numeric_limits<float>::quiet_NaN();
    else device_rows_v[spoil * ld + e.head_dim + 1] = Row::from(std::numeric_limits<float>::quiet_NaN());
  }
  const device_array<Row> device_k(device_rows_k, "keys"), device_v(device_rows_v, "values");
  const device_array<query_span> device_spans(spans, "spans");
  const device_array<std::uint32_t> device_staged(staged, "staged");
  std::vector<std::byte> staging((staging_tiles + 1) * e.kv_heads * layout.raw().piece_bytes(e.head_dim));
  device_array<std::byte> device_staging(staging, "staging");
  device_array<std::uint32_t> not_finite(std::vector<std::uint32_t>{0}, "not finite");
  std::vector<float> table;
  cuda::append_call<L, Row> c;
  c.view = cache.view(), c.layer = e.layers - 1, c.spans = device_spans.data(), c.span_count = sequences;
  c.k = device_k.data(), c.v = device_v.data(), c.ldkv = ld, c.not_finite = not_finite.data();
  if (with_staging) c.staging = device_staging.data(), c.staged = device_staged.data();
  if (rotary) {
    table = table_of(rotary->style, rotary->dims, most);
    c.rotary = {nullptr, rotary->dims, rotary->style};
    turn(k, width, e.head_dim, c.rotary, table, spans);
  }
  const device_array<float> device_table(table, "rotary table");
  if (rotary) c.rotary.table = device_table.data();
  constexpr std::uint32_t group = 3;   // query heads of a kv head, where queries decide how keys are balanced
  std::vector<float> q(kv::balances<typename L::sealed_pair> ? rows * group * width : 0);
  for (float& y : q) y = kv::raw<Row>::widen(kv::raw<Row>::narrow(normal(random)));
  if (!q.empty()) q[1] = std::numeric_limits<float>::infinity();   // no peak
  std::vector<Row> device_rows_q;
  for (float y : q) {
    if constexpr (std::is_same_v<Row, float>) device_rows_q.push_back(y);
    else device_rows_q.push_back(Row::from(y));
  }
  const device_array<Row> device_q(device_rows_q, "queries");
  c.q = device_q.data(), c.ldq = group * width, c.group = group;
  const status launched = cuda::append(c, {});
  device_test::finish();
  REQUIRE(launched);

  bool finite = true;
  const auto view = store.view();
  const attention::problem grouped{.q_heads = group * e.kv_heads, .kv_heads = e.kv_heads, .dim_k = e.head_dim, .dim_v = e.head_dim};
  const rope turned = rotary ? *rotary : rope{.dims = 2 * e.head_dim};
  for (std::uint32_t n = 0; n < sequences; ++n)
    for (std::uint32_t h = 0; h < e.kv_heads && spans[n].count != 0; ++h) {
      if constexpr (kv::balances<typename L::sealed_pair>)
        attention::cpu::note_query_peak(view.state(spans[n].sequence, c.layer, h), grouped, spans[n], h, q.data() + spans[n].row * group * width, group * width);
      finite = attention::cpu::append(attention::cpu::raw_tiles<L>{view, staging.data(), staged[n]}, spans[n], c.layer, h, k.data() + spans[n].row * width + h * e.head_dim,
                                      v.data() + spans[n].row * width + h * e.head_dim, width, x.data(), turned) && finite;
    }
  CHECK(finite == (spoil >= rows));
  CHECK(not_finite.download()[0] == (finite ? 0u : 1u));
  const auto same = [](const device_array<std::byte>& on, const std::byte* host, std::size_t bytes) {
    const auto got = on.download();
    return std::equal(host, host + bytes, got.begin());
  };
  if (layout.state().bytes() != 0 && (device_test::emulated || rotary == nullptr))
    for (std::uint32_t n = 0; n < sequences; ++n) CHECK(same(cache.state(n), view.sequences[n].state, layout.state().bytes()));
  // A compiler that fuses products may turn a rotated element, or the code of one, by its last bit: see encode.cpp.
  const bool exact = device_test::emulated || (rotary == nullptr && std::is_same_v<typename L::raw_pair, typename L::sealed_pair>);
  if (device_test::emulated || rotary == nullptr) {
    for (std::uint32_t n = 0; n < sequences; ++n) CHECK(same(cache.tail(n), view.sequences[n].tail, kv::tail_bytes(layout)));
    CHECK(same(device_staging, staging.data(), staging.size()));
  }
  for (std::uint32_t g = 0; exact && g < layout.groups(); ++g) {
    const std::size_t bytes = store.options().pages[g] * kv::page_bytes(layout, g);
    if constexpr (requires { L::sealed_pair::key_codec::rank; }) {
      const auto got = cache.pool(g).download();
      check_decoded(layout, std::span(got).first(bytes), view.base[g]);
    } else {
      CHECK(same(cache.pool(g), view.base[g], bytes));
    }
  }
}

}  // namespace append_check
