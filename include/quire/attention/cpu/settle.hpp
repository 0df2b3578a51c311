// SPDX-License-Identifier: Apache-2.0
// What a layout learns from a step: attention received by exact tokens, and, when a tile fills, which of them stay exact and
// what dropped ones leave behind. Runs between the tiles of a step, so the outcome never depends on the chunking.
#pragma once

#include <algorithm>
#include <cmath>

#include "../../core/simd.hpp"
#include "../../core/softmax.hpp"
#include "../../kv/dropped.hpp"
#include "../../kv/retain/importance.hpp"
#include "../sink.hpp"
#include "append.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

namespace hn = hwy::HWY_NAMESPACE;

/// to[64] ← w[64], as half floats.
inline void keep_weights(const float* w, std::uint16_t* to) noexcept {
  const simd::f32_tag d;
  for (std::uint32_t j = 0; j < tile_tokens; j += static_cast<std::uint32_t>(hn::Lanes(d))) simd::store_f16(d, hn::LoadU(d, w + j), to + j);
}

/// Keeps the weights of open and overlay tokens of a wave: rows [tokens of the wave][q_heads][tiles·64], of the open tile and
/// then of the overlay's. A wave is a list of spans that lie in one tile each. Weights are half floats: they go out to memory and
/// come back, which is most of what collecting costs, and a score needs no more than their 11 bits.
struct score_recorder {
  static constexpr bool active = true;
  std::uint16_t* rows = nullptr;    ///< exp(logit − top), f16
  float* tops = nullptr;            ///< [tokens of the wave][q_heads][tiles]
  softmax_state* states = nullptr;  ///< [tokens of the wave][q_heads]
  std::size_t tiles = 0;
  std::uint32_t q_heads = 0;
  std::span<const query_span> spans;

  std::size_t row_of(std::uint32_t sequence, std::uint32_t query, std::uint32_t q_head) const noexcept {
    std::size_t at = 0;
    for (const query_span& s : spans) {
      if (s.sequence == sequence) return (at + query - s.first) * q_heads + q_head;
      at += s.count;
    }
    return 0;
  }
  void weights(const score_tile& at, const float* w, float m) const noexcept {
    const std::uint32_t open = at.query / tile_tokens;
    if (at.slot < open) return;
    const std::size_t cell = row_of(at.sequence, at.query, at.q_head) * tiles + at.slot - open;
    keep_weights(w, rows + cell * tile_tokens);
    tops[cell] = m;
  }
  void row(const score_tile& at, float m, float l) const noexcept { states[row_of(at.sequence, at.query, at.q_head)] = {m, l}; }
};
static_assert(ScoreSink<score_recorder>);

/// Two sinks as one.
template <ScoreSink A, ScoreSink B>
struct both_sinks {
  static constexpr bool active = true;
  const A& a;
  const B& b;
  template <class S>
  static constexpr bool logits_for = S::active && TakesLogits<S>;
  template <class S>
  static constexpr bool weights_for = S::active && TakesWeights<S>;

  void logits(const score_tile& at, const float* x) const noexcept
    requires(logits_for<A> || logits_for<B>)
  {
    if constexpr (logits_for<A>) a.logits(at, x);
    if constexpr (logits_for<B>) b.logits(at, x);
  }
  void weights(const score_tile& at, const float* w, float m) const noexcept
    requires(weights_for<A> || weights_for<B>)
  {
    if constexpr (weights_for<A>) a.weights(at, w, m);
    if constexpr (weights_for<B>) b.weights(at, w, m);
  }
  void row(const score_tile& at, float m, float l) const noexcept {
    if constexpr (A::active) a.row(at, m, l);
    if constexpr (B::active) b.row(at, m, l);
  }
};

/// scores[64] += Σ over rows of the tokens' attention, the query heads of one kv head together. `tile`: of the recorder's.
inline void add_weights(const score_recorder& r, std::size_t first_row, std::uint32_t tokens, std::uint32_t first_head, std::uint32_t group, std::uint32_t tile,
                        float* scores) noexcept {
  const simd::f32_tag d;
  const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
  for (std::uint32_t t = 0; t < tokens; ++t)
    for (std::uint32_t h = first_head; h < first_head + group; ++h) {
      const std::size_t row = first_row + std::size_t{t} * r.q_heads + h, cell = row * r.tiles + tile;
      const softmax_state& s = r.states[row];
      const auto scale = hn::Set(d, s.l > 0 ? std::exp(r.tops[cell] - s.m) / s.l : 0.0f);
      for (std::uint32_t j = 0; j < tile_tokens; j += lanes)
        hn::StoreU(hn::MulAdd(simd::load_f16(d, r.rows + cell * tile_tokens + j), scale, hn::LoadU(d, scores + j)), d, scores + j);
    }
}

/// Adds what the open and overlay tokens of a wave received to their scores. Dealt to the team by tiles: a step of one
/// sequence has too few kv heads to occupy everyone. Scores lie pages apart, hence the look ahead.
template <kv::Layout L>
void collect_scores(const team& t, const kv::store_view<L>& view, const problem& p, std::uint32_t layer, const score_recorder& r) noexcept {
  constexpr std::uint64_t look_ahead = 4;
  const auto each_head = [&](auto&& f) {  // f(span, its first row, head, tiles): the open tile, then the overlay's
    std::size_t row = 0;
    for (const query_span& s : r.spans) {
      const std::uint32_t tiles = 1 + view.layout.overlay_tiles(s.first / tile_tokens * tile_tokens);
      for (std::uint32_t head = 0; head < p.kv_heads; ++head)
        if (view.layout.slot(layer, head).group == 0) f(s, row, head, tiles);
      row += std::size_t{s.count} * p.q_heads;
    }
  };
  std::uint64_t total = 0, before = 0;
  each_head([&](const query_span&, std::size_t, std::uint32_t, std::uint32_t tiles) { total += tiles; });
  const range mine = t.share(total);
  each_head([&](const query_span& s, std::size_t row, std::uint32_t head, std::uint32_t tiles) {
    const range here = intersect(mine, {before, before + tiles});
    const auto scores = [&](std::uint64_t i) {
      const auto tile = static_cast<std::uint32_t>(i - before);
      return tile == 0 ? view.state(s.sequence, layer, head).tail_scores : view.overlay(s.sequence, layer, head, tile - 1).scores;
    };
    for (std::uint64_t i = here.begin; i < here.end; ++i) {
      if (const std::uint64_t later = i + look_ahead; later < here.end)
        for (std::uint32_t j = 0; j < tile_tokens; j += 64 / sizeof(float)) simd::prefetch(scores(later) + j);
      add_weights(r, row, s.count, head * p.group(), p.group(), static_cast<std::uint32_t>(i - before), scores(i));
    }
    before += tiles;
  });
}

/// Chooses among the overlay and the tile that just filled, and moves what comes and goes. `scratch` holds a candidate for
/// each overlay token and 64 more.
template <kv::Layout L>
void choose_exact(const kv::store_view<L>& view, const query_span& s, std::uint32_t layer, std::uint32_t head, const std::byte* exact,
                  kv::retain::importance::candidate* scratch) noexcept {
  using candidate = kv::retain::importance::candidate;
  const std::uint32_t tile = s.first / tile_tokens, dim = view.layout.extent().head_dim, held = view.layout.policy().budget(tile * tile_tokens);
  const auto raw = view.layout.raw();
  const kv::head_state state = view.state(s.sequence, layer, head);
  const auto slot = [&](std::uint32_t i) { return view.overlay(s.sequence, layer, head, i / tile_tokens); };
  for (std::uint32_t i = 0; i < held; ++i) scratch[i] = {slot(i).scores[i % tile_tokens], slot(i).positions[i % tile_tokens], i};
  for (std::uint32_t j = 0; j < tile_tokens; ++j) scratch[held + j] = {state.tail_scores[j], tile * tile_tokens + j, held + j};
  const std::span<candidate> all(scratch, held + tile_tokens);
  const std::uint32_t keep = view.layout.policy().choose(all, (tile + 1) * tile_tokens);
  const auto by_place = [](const candidate& a, const candidate& b) { return a.place < b.place; };
  std::sort(all.begin(), all.begin() + keep, by_place);  // who stays where, whatever order the choice left
  std::sort(all.begin() + keep, all.end(), by_place);
  if (state.live != nullptr) state.live[tile] = ~std::uint64_t{0};
  auto gone = all.begin() + keep;
  std::uint32_t fresh = held;
  for (const candidate& c : all.first(keep)) {
    if (c.place < held) continue;
    std::uint32_t to = fresh;
    if (gone != all.end() && gone->place < held) {
      to = gone->place;
      if (state.live != nullptr) state.live[gone->position / tile_tokens] |= std::uint64_t{1} << gone->position % tile_tokens;
      ++gone;
    } else {
      ++fresh;
    }
    const kv::overlay_tile o = slot(to);
    const std::uint32_t j = c.place - held, k = to % tile_tokens;
    raw.key.copy(kv::side::key, dim, exact, j, o.piece, k);
    raw.value.copy(kv::side::value, dim, exact + raw.value_offset(dim), j, o.piece + raw.value_offset(dim), k);
    o.positions[k] = c.position, o.scores[k] = state.tail_scores[j];
    if (state.live != nullptr) state.live[tile] &= ~(std::uint64_t{1} << j);
  }
  QUIRE_ASSERT(gone == all.end() || gone->place >= held, "quire::attention: a budget never falls");
  std::fill_n(state.tail_scores, tile_tokens, 0.0f);
}

/// One span of a wave that filled its tile and one kv head, after all scores were added. `x` [head_dim × 64].
template <kv::Layout L>
void settle(const kv::store_view<L>& view, const query_span& s, std::uint32_t layer, std::uint32_t head, kv::retain::importance::candidate* scratch, float* x) noexcept {
  const std::uint32_t tile = s.first / tile_tokens, group = view.layout.slot(layer, head).group;
  if constexpr (L::overlays)
    if (group == 0) choose_exact(view, s, layer, head, view.tail(s.sequence, layer, head), scratch);
  if constexpr (L::compensates)
    if (group == 1) {
      const kv::visibility sees = view.layout.group_sees(1).whole_to(view.sequences[s.sequence].whole_until);
      kv::sum_dropped(view, s.sequence, layer, head, sees.dropped_tiles(tile), sees.dropped_tiles(tile + 1), x);
    }
  static_cast<void>(scratch), static_cast<void>(x);
}

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
