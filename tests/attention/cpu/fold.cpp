// SPDX-License-Identifier: Apache-2.0
// What a run can say and no layout uses yet: masks, bias, rotation, positions, overlays. Heads are built by hand.
#include "quire/attention/cpu/fold.hpp"

#include <cmath>
#include <deque>

#include "attention/fixture.hpp"
#include "catch.hpp"

using namespace fixture;
using attention::cpu::row_states;

namespace {

constexpr std::uint32_t dim = 24;

/// Tiles that a test fills with random tokens and hangs into runs.
template <class Pair, class Raw = kv::raw_f32>
class bench {
 public:
  using layout_type = kv::paged<Pair, Raw>;
  explicit bench(unsigned seed) : random_(seed) {}

  const layout_type layout{{1, 1, dim}};
  kv::head_view head;

  /// A run of `tokens` random tokens at slot `slot`; the caller may change what it says.
  kv::run& add(std::uint32_t tokens, std::uint32_t slot, std::uint8_t form) {
    const std::uint32_t tiles = tiles_touched(tokens);
    kv::run r;
    form == 0 ? fill(layout.raw(), r, tiles) : fill(layout.sealed(), r, tiles);
    r.tokens = tokens, r.slot = slot, r.position = static_cast<std::int32_t>(slot * tile_tokens), r.form = form;
    return head.runs[head.count++] = r;
  }
  /// Folds every piece in order, merges left to right and compares each row with the double reference.
  double worst(const attention::problem& p, std::uint32_t first, std::uint32_t count) {
    const kv::store_view<layout_type> view{.layout = layout};
    const std::uint32_t rows = count * p.group();
    std::vector<float> q(rows * dim);
    std::normal_distribution<float> normal;
    for (float& x : q) x = 2 * normal(random_);
    using folder = attention::cpu::piece_folder<layout_type>;
    std::vector<std::byte> memory(folder::scratch_bytes(p, rows) + 64);
    auto* scratch = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(memory.data()), 64));
    folder fold(view, p, rows, scratch);
    const attention::work_item item{0, 0, first, count, {}, 0};
    fold.begin(item, 0, 0, head, [&](std::uint32_t i) { return q.data() + i * p.q_heads * dim; });
    REQUIRE(fold.rows() == rows);
    std::vector<softmax_state> state(rows), part(rows);
    std::vector<float> o(rows * dim, 0.0f), part_o(rows * dim, 5.0f);
    for (std::uint32_t piece = 0; piece * piece_tiles < head.slots(); ++piece) {
      fold.fold(piece, piece + 1, {part.data(), part_o.data()}, attention::null_sink{});
      attention::cpu::merge_rows({state.data(), o.data()}, {part.data(), part_o.data()}, rows, dim);
    }
    double most = 0;
    blind = 0;
    for (std::uint32_t r = 0; r < rows; ++r) {
      double want[dim];
      attention::reference_row(layout, head, p, r % p.group(), first + r / p.group(), &q[r * dim], {}, want);
      const float scale = normalizer(state[r]);
      folder::finish_row(layout, &o[r * dim], dim);
      bool zero = true;
      for (std::uint32_t d = 0; d < dim; ++d) {
        const double got = o[r * dim + d] * scale;
        most = std::max(most, std::isfinite(got) ? std::fabs(got - want[d]) : 1e9);
        zero = zero && got == 0;
      }
      if (state[r].l == 0) ++blind, most = std::max(most, zero ? 0.0 : 1e9);
    }
    return most;
  }
  std::uint32_t blind = 0;  ///< rows of the last call that saw nothing

  std::vector<std::uint64_t>& masks(std::uint32_t tiles, bool sparse) {
    auto& m = masks_.emplace_back(tiles);
    for (auto& bits : m) bits = (std::uint64_t{random_()} << 32 | random_()) & (sparse ? std::uint64_t{random_()} << 32 | random_() : ~std::uint64_t{0});
    return m;
  }

 private:
  template <class P>
  void fill(const P& pair, kv::run& r, std::uint32_t tiles) {
    auto& bytes = storage_.emplace_back((tiles + 1) * pair.piece_bytes(dim) / 64);
    auto& pages = pages_.emplace_back(tiles);
    std::normal_distribution<float> normal;
    std::vector<float> x(dim * tile_tokens);
    for (std::uint32_t t = 0; t < tiles; ++t) {
      pages[t] = tiles - 1 - t;  // tiles lie backwards
      std::byte* to = bytes[0].bytes + pages[t] * pair.piece_bytes(dim);
      for (float& v : x) v = normal(random_);
      pair.key.encode({.tile = t, .which = kv::side::key}, kv::shape_of(kv::side::key, dim), x.data(), to);
      for (float& v : x) v = normal(random_) + static_cast<float>(t);
      pair.value.encode({.tile = t, .which = kv::side::value}, kv::shape_of(kv::side::value, dim), x.data(), to + pair.value_offset(dim));
    }
    r.base = bytes[0].bytes, r.pages = pages.data(), r.page_stride = pair.piece_bytes(dim), r.value_offset = static_cast<std::uint32_t>(pair.value_offset(dim));
  }
  struct alignas(64) line {
    std::byte bytes[64];
  };
  std::mt19937 random_;
  std::deque<std::vector<line>> storage_;
  std::deque<std::vector<std::uint32_t>> pages_;
  std::deque<std::vector<std::uint64_t>> masks_;
};

attention::problem shape(std::uint32_t group) { return {.q_heads = group, .kv_heads = 1, .dim_k = dim, .dim_v = dim}; }

template <class Pair>
void with_features(double bound) {
  for (std::uint32_t group : {1u, 3u, 5u}) {
    CAPTURE(group);
    SECTION("live masks " + std::to_string(group)) {
      bench<Pair> b(1);
      kv::run& r = b.add(600, 0, 1);
      auto& m = b.masks(r.tiles(), true);
      m[3] = m[4] = m[5] = m[6] = m[7] = 0;  // a whole piece and more hidden
      r.live = m.data();
      b.add(40, 10, 0);
      CHECK(b.worst(shape(group), 670, 4) < bound);
      CHECK(b.worst(shape(group), 100, 20) < bound);
      m.assign(m.size(), 0);
      CHECK(b.worst(shape(group), 500, 3) < bound);
      CHECK(b.blind == 3 * group);
    }
    SECTION("bias " + std::to_string(group)) {
      bench<Pair> b(2);
      b.add(1, 0, 1).bias = std::log(300.0f);
      b.add(128, 1, 1).bias = -2;
      b.add(30, 3, 0);
      CHECK(b.worst(shape(group), 200, 6) < bound);
      const float slopes[] = {0.5f, 0.25f, 0.125f, 0.0625f, 0.01f};
      attention::problem p = shape(group);
      p.alibi = slopes, p.softcap = 5;
      CHECK(b.worst(p, 200, 6) < bound);
    }
    SECTION("rotation " + std::to_string(group)) {
      for (rope_style style : {rope_style::interleaved, rope_style::halves}) {
        bench<Pair> b(3);
        b.add(192, 0, 1).rotation = 1000;
        b.add(64, 3, 1).rotation = -37;
        b.add(64, 4, 1);
        b.add(20, 5, 0).rotation = 5;
        attention::problem p = shape(group);
        p.rotary = {.style = style, .dims = 16, .base = 10000};
        CHECK(b.worst(p, 335, 5) < bound);
      }
    }
    SECTION("positions " + std::to_string(group)) {
      bench<Pair> b(4);
      kv::run& r = b.add(150, 0, 1);
      std::vector<std::int32_t> at(150);
      for (std::uint32_t i = 0; i < 150; ++i) at[i] = static_cast<std::int32_t>(i * 53 % 400);
      r.positions = at.data();
      b.add(64, 3, 0);
      CHECK(b.worst(shape(group), 250, 8) < bound);
      CHECK(b.worst(shape(group), 0, 3) < bound);
      b.head.sees = {.sinks = 30, .window = 90};
      CHECK(b.worst(shape(group), 300, 8) < bound);
      const float slopes[] = {0.5f, 0.25f, 0.125f, 0.0625f, 0.01f};
      attention::problem p = shape(group);
      p.alibi = slopes, p.window = 50;
      CHECK(b.worst(p, 300, 8) < bound);
    }
    SECTION("overlay " + std::to_string(group)) {  // what the exact run holds is hidden in the coarse one
      bench<Pair> b(5);
      kv::run& coarse = b.add(512, 0, 1);
      auto& m = b.masks(8, false);
      coarse.live = m.data();
      std::vector<std::int32_t> at;
      for (std::uint32_t j = 0; j < 512 && at.size() < 100; ++j)
        if ((m[j / 64] >> j % 64 & 1) == 0) at.push_back(static_cast<std::int32_t>(j));
      b.add(10, 8, 0);
      kv::run& exact = b.add(static_cast<std::uint32_t>(at.size()), 9, 0);
      exact.positions = at.data();
      CHECK(b.worst(shape(group), 519, 3) < bound);
      CHECK(b.worst(shape(group), 30, 3) < bound);
    }
    SECTION("gap " + std::to_string(group)) {  // sinks then a hole then a window
      bench<Pair> b(6);
      b.head.sees = {.sinks = 70, .window = 200};
      b.add(128, 0, 1);
      b.add(320, 20, 1);
      b.add(50, 25, 0);
      CHECK(b.worst(shape(group), 1600, 30) < bound);
      CHECK(b.worst(shape(group), 1645, 5) < bound);
    }
    SECTION("nothing seen " + std::to_string(group)) {
      bench<Pair> b(7);
      b.add(64, 4, 1);
      b.add(10, 5, 0);
      CHECK(b.worst(shape(group), 254, 4) < bound);  // two rows before the first token, two that see some
      CHECK(b.blind == 2 * group);
      b.head.count = 0;
      CHECK(b.worst(shape(group), 10, 2) == 0);
    }
  }
}

}  // namespace

TEST_CASE("every feature of a run folds as the reference says on f32") { with_features<kv::raw_f32>(2e-5); }
TEST_CASE("every feature of a run folds as the reference says on int8") { with_features<int8_token>(5e-3); }
TEST_CASE("every feature of a run folds as the reference says on int4 Hadamard") { with_features<int4_hadamard>(2e-2); }

TEST_CASE("merging rows is the merge of core softmax on every row") {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (std::uint32_t width : {8u, 24u, 80u, 256u}) {
    const std::uint32_t rows_n = 5;
    std::vector<softmax_state> a(rows_n), b(rows_n);
    std::vector<float> oa(rows_n * width), ob(rows_n * width);
    for (std::uint32_t r = 0; r < rows_n; ++r) a[r] = {normal(random) * 20, 1.5f}, b[r] = {normal(random) * 20, 2.5f};
    for (float& x : oa) x = normal(random);
    for (float& x : ob) x = normal(random);
    a[1] = {}, b[2] = {}, a[3] = {}, b[3] = {};
    std::fill_n(&oa[width], width, 0.0f), std::fill_n(&ob[2 * width], width, 0.0f), std::fill_n(&oa[3 * width], width, 0.0f), std::fill_n(&ob[3 * width], width, 0.0f);
    auto want = a;
    auto want_o = oa;
    for (std::uint32_t r = 0; r < rows_n; ++r) merge_into(want[r], &want_o[r * width], b[r], &ob[r * width], width);
    const auto kept = oa;
    attention::cpu::merge_rows({a.data(), oa.data()}, {b.data(), ob.data()}, rows_n, width);
    for (std::uint32_t r = 0; r < rows_n; ++r) {
      CHECK(a[r].m == want[r].m);
      CHECK(a[r].l == want[r].l);
      for (std::uint32_t i = 0; i < width; ++i) {
        if (std::fabs(oa[r * width + i] - want_o[r * width + i]) > 1e-6f) FAIL("row " << r << " element " << i);
        if (r == 1 && oa[r * width + i] != ob[r * width + i]) FAIL("the identity on the left changed a bit");
        if (r == 2 && oa[r * width + i] != kept[r * width + i]) FAIL("the identity on the right changed a bit");
      }
    }
  }
}
