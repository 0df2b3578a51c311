// SPDX-License-Identifier: Apache-2.0
// Exact tokens over sealed or dropped ones: rows that read them, what they learn from attention and whom they choose, on a device beside the CPU.
#pragma once

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"
#include "quire/attention/cpu/attend.hpp"
#include "quire/kv/layout/overlay.hpp"

namespace overlay_check {

using namespace cuda_fixture;
using kv::retain::importance;
template <int Bits>
using balanced = kv::codec_pair<kv::balanced<kv::integer<Bits, kv::group::column>>, kv::integer<Bits, kv::group::row>>;

/// The CPU's own step over the same rows: appends what stands there already, folds, scores and chooses. Returns its rows.
template <kv::Layout L>
std::vector<float> attend_on_cpu(step<L>& s) {
  const attention::problem& p = s.shape();
  const auto sequences = static_cast<std::uint32_t>(s.spans().size());
  attention::cpu::workspace<L> work(s.layout(), p, 1, std::max(1u, s.row_count()), sequences, s.store().options().max_tokens);
  const std::size_t width = std::size_t{p.q_heads} * p.dim_k, kv_width = std::size_t{p.kv_heads} * p.dim_k;
  const auto q = s.queries();
  std::vector<float> k, v, out(s.row_count() * width);
  for (const query_span& span : s.spans()) {
    const auto& from = s.rows_of(span.sequence);
    k.insert(k.end(), from.k.begin() + static_cast<std::ptrdiff_t>(span.first * kv_width), from.k.begin() + static_cast<std::ptrdiff_t>((span.first + span.count) * kv_width));
    v.insert(v.end(), from.v.begin() + static_cast<std::ptrdiff_t>(span.first * kv_width), from.v.begin() + static_cast<std::ptrdiff_t>((span.first + span.count) * kv_width));
  }
  attention::cpu::layer_call<L> c{s.store().view(), p, s.layer, s.spans()};
  c.q = q.data(), c.k = k.data(), c.v = v.data(), c.ldq = c.ldo = width, c.ldkv = kv_width, c.out = out.data();
  thread_executor pool(1);
  pool.run([&](const team& t) { attention::cpu::attend(t, c, work); });
  return out;
}

/// Rows that end before, in and at the end of tiles. Each span lies in one: a wave. `few`: of decodes.
template <kv::Layout L>
void add_wave(step<L>& s, bool few) {
  s.add(300, 1, 1);
  s.add(few ? 318 : 256, few ? 2 : 64, 2);   // fills a tile, or is one
  s.add(191, 1, 3);                          // fills one
  s.add(420, few ? 3 : 28, 4);
  s.add(60, 0, 5);
  s.add(3, 2, 6);                            // nothing is sealed yet
}

/// Rows within `bound` of the double reference, and the same bits of them, of scores and of choices for any number of blocks; scores within `score_bound`
/// of the CPU's, relative, and the same tokens chosen.
template <std::uint32_t Rows, kv::Layout L>
void check(const L& layout, const attention::problem& p, double bound, double score_bound, const attention::problem* on_device = nullptr) {
  constexpr std::uint32_t dim = 64;
  const attention::problem& device = on_device == nullptr ? p : *on_device;   // with pointers of the device's
  step<L> s(layout, p, 6, 460);
  add_wave(s, Rows < 8);
  const device_cache<L> cache(s.store());
  using kernel = cuda::attend<L, dim, Rows>;
  any_plan plan(s, Rows);
  plan.cut_evenly(1);
  const auto alone = run<kernel>(s, cache, plan, device);
  const auto states = [&] {
    std::vector<std::byte> all = cache.overlay().download();
    for (std::uint32_t i = 0; i < s.spans().size(); ++i)
      for (std::byte b : cache.state(i).download()) all.push_back(b);
    return all;
  };
  const auto kept = states();
  INFO("largest error " << worst(s, alone));
  CHECK(worst(s, alone) < bound);
  device_test::order(17);
  plan.cut_evenly(17);
  CHECK(run<kernel>(s, cache, plan, device) == alone);
  CHECK((states() == kept));
  const auto cpu = attend_on_cpu(s);
  for (std::size_t i = 0; i < cpu.size(); ++i)
    if (!(std::fabs(cpu[i] - alone[i]) < 0.05)) FAIL("element " << i << " of the step's rows is " << alone[i] << ", on the CPU " << cpu[i]);
  const auto host = s.store().view();
  auto there = host;  // the host's view of the bytes that came back
  const auto overlays = cache.overlay().download();
  there.overlay_base = const_cast<std::byte*>(overlays.data());
  std::vector<typename kv::store_view<L>::record> records(host.sequences, host.sequences + s.store().options().sequences);
  std::vector<std::vector<std::byte>> blocks;
  for (std::uint32_t i = 0; i < s.spans().size(); ++i) blocks.push_back(cache.state(i).download()), records[i].state = blocks[i].data();
  there.sequences = records.data();
  double most = 0;
  for (const query_span& span : s.spans())
    for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
      if (layout.slot(s.layer, h).group != 0) continue;
      const std::uint32_t end = span.first + span.count, held = layout.policy().budget(end / tile_tokens * tile_tokens);
      CAPTURE(span.sequence, h, end);
      const auto same_score = [&](float want, float got) {
        const double d = std::fabs(static_cast<double>(want) - static_cast<double>(got)) / (1e-3 + std::fabs(static_cast<double>(want)));
        most = d <= most ? most : d;
      };
      const kv::head_state a = host.state(span.sequence, s.layer, h), b = there.state(span.sequence, s.layer, h);
      for (std::uint32_t j = 0; j < tile_tokens; ++j) same_score(a.tail_scores[j], b.tail_scores[j]);
      for (std::uint32_t i = 0; i < held; ++i) {
        const kv::overlay_tile x = host.overlay(span.sequence, s.layer, h, i / tile_tokens), y = there.overlay(span.sequence, s.layer, h, i / tile_tokens);
        if (x.positions[i % tile_tokens] != y.positions[i % tile_tokens]) FAIL("overlay token " << i << " is " << y.positions[i % tile_tokens] << " and not " << x.positions[i % tile_tokens]);
        same_score(x.scores[i % tile_tokens], y.scores[i % tile_tokens]);
      }
      for (std::uint32_t i = 0; i < held; i += tile_tokens) CHECK(std::memcmp(host.overlay(span.sequence, s.layer, h, i / tile_tokens).piece, there.overlay(span.sequence, s.layer, h, i / tile_tokens).piece, layout.raw().piece_bytes(dim)) == 0);
      if (a.live != nullptr) CHECK(std::equal(a.live, a.live + end / tile_tokens, b.live));
    }
  INFO("largest relative difference of a score " << most);
  CHECK(most < score_bound);
  CHECK(most == most);
}

/// The choice alone, from scores as they stand: every byte of overlays and state blocks is the CPU's. `level`: scores are multiples of 1 / level, so
/// that some are equal.
template <kv::Layout L>
void check_choice(const L& layout, const attention::problem& p, std::uint32_t tiles, int level) {
  step<L> s(layout, p, 2, (tiles + 2) * tile_tokens);
  s.add(tiles * tile_tokens, tile_tokens, 7);
  s.add(tile_tokens, tile_tokens / 2, 8);   // fills none
  std::mt19937 random(tiles);
  const auto view = s.store().view();
  const auto score = [&] { return static_cast<float>(random() % 50) / static_cast<float>(level); };
  for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
    if (layout.slot(s.layer, h).group != 0) continue;
    for (std::uint32_t j = 0; j < tile_tokens; ++j) view.state(0, s.layer, h).tail_scores[j] = score();
    for (std::uint32_t i = 0; i < layout.policy().budget(tiles * tile_tokens); ++i) view.overlay(0, s.layer, h, i / tile_tokens).scores[i % tile_tokens] = score();
  }
  const device_cache<L> cache(s.store());
  cache.begin();
  const std::uint32_t score_tiles = 1 + layout.overlay_tiles(s.store().options().max_tokens);
  const device_array<std::byte> nothing(std::vector<std::byte>(cuda::score_rows::bytes(s.row_count(), p.q_heads, score_tiles)), "weights of rows that saw nothing");
  const device_array<std::uint32_t> first(std::vector<std::uint32_t>{s.spans()[0].row, s.spans()[1].row}, "first rows");
  const device_array<query_span> spans(s.spans(), "spans");
  cuda::overlay_call<L> c{cache.view(), p, s.layer, spans.data(), 2, cuda::score_rows::in(nothing.data(), s.row_count(), p.q_heads, score_tiles)};
  c.scores.first = first.data();
  const status settled = cuda::settle_overlay(c, {});
  finish();
  REQUIRE(settled);
  std::vector<importance::candidate> all(layout.policy().budget(tiles * tile_tokens) + tile_tokens);
  for (std::uint32_t h = 0; h < p.kv_heads; ++h)
    if (layout.slot(s.layer, h).group == 0) attention::cpu::choose_exact(view, s.spans()[0], s.layer, h, view.tail(0, s.layer, h), all.data());
  CAPTURE(tiles, level, layout.policy().share, layout.policy().least);
  const auto overlays = cache.overlay().download();
  CHECK(std::memcmp(overlays.data(), view.overlay_base, s.store().options().overlay_pages * kv::overlay_page_bytes(layout)) == 0);
  for (std::uint32_t i = 0; i < 2; ++i) CHECK(std::memcmp(cache.state(i).download().data(), view.sequences[i].state, layout.state().bytes()) == 0);
}

}  // namespace overlay_check
