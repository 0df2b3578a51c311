// SPDX-License-Identifier: Apache-2.0
// One layer of attention for a step: append, fold the pieces dealt to each worker, merge along the fixed tree. Decode and
// chunked prefill are the same call; results are bit-identical for any number of workers, chunking and batch. Where a layout
// is stepwise the step is taken in waves, the rows of one tile of each sequence at a time.
#pragma once

#include <memory>
#include <new>
#include <vector>

#include "cascade.hpp"
#include "settle.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// What one layer's call reads and writes. Rows are f32; q and out [rows][q_heads·dim], k and v [rows][kv_heads·dim], after
/// rotary embedding. `spans` name the rows of each sequence; their tokens are reserved in the store but not committed.
template <kv::Layout L>
struct layer_call {
  kv::store_view<L> view;
  problem shape;
  std::uint32_t layer = 0;
  std::span<const query_span> spans;
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  std::size_t ldq = 0, ldkv = 0;   ///< floats between rows
  float* out = nullptr;
  std::size_t ldo = 0;
  const cohort_plan* cohorts = nullptr;   ///< prefixes to fold once for several spans; null: every span folds its own
  lean dealing{};                         ///< changes speed, never a result
};

/// The cohorts of a call, if its arithmetic lets rows at different positions share a tile: no window, no ALiBi, no score sink.
template <class Sink, kv::Layout L>
const cohort_plan* usable_cohorts(const layer_call<L>& c) noexcept {
  if (L::stepwise || Sink::active || !shares_prefixes(c.shape)) return nullptr;
  return c.cohorts != nullptr && !c.cohorts->cohorts().empty() ? c.cohorts : nullptr;
}

/// Scratch of `attend` for up to `rows` query rows a step and sequences of up to `max_tokens`. Made once, no allocation
/// later. One step at a time. throws: std::bad_alloc.
template <kv::Layout L>
class workspace {
 public:
  workspace(const L& layout, const problem& p, std::uint32_t workers, std::uint32_t rows, std::uint32_t sequences, std::uint32_t max_tokens)
      : workers_(workers),
        depth_(2 * static_cast<std::uint32_t>(std::bit_width((tiles_touched(max_tokens) + layout.overlay_tiles(max_tokens) + 1) / piece_tiles + 1)) + 2),
        rows_(item_rows(p)),
        dim_(p.dim_v),
        sequences_(sequences) {
    const std::size_t states = depth_ * split_items * rows_ * (sizeof(softmax_state) + dim_ * sizeof(float));
    fold_bytes_ = round_up(piece_folder<L>::scratch_bytes(p, rows_), 64);
    seal_bytes_ = round_up(std::size_t{p.dim_k} * tile_tokens * sizeof(float), 64);
    const extents e = layout.extent();
    const std::uint32_t overlay = layout.overlay_tiles(max_tokens);
    states_bytes_ = round_up(states, 64);
    mean_bytes_ = L::compensates ? layout.raw().piece_bytes(e.head_dim) : 0;
    choice_bytes_ = L::overlays ? round_up((overlay + 1) * tile_tokens * sizeof(kv::retain::importance::candidate), 64) : 0;
    worker_bytes_ = fold_bytes_ + seal_bytes_ + states_bytes_ + mean_bytes_ + choice_bytes_;
    staging_bytes_ = (tiles_touched(rows) + sequences) * e.kv_heads * layout.raw().piece_bytes(e.head_dim);
    if (L::stepwise) staging_bytes_ = 0;  // a wave never leaves the open tile
    bytes_ = worker_bytes_ * workers + staging_bytes_;
    if constexpr (L::overlays) {
      score_rows_ = std::size_t{std::min(rows, sequences * tile_tokens)} * p.q_heads;
      score_tiles_ = overlay + 2;
      scores_at_ = bytes_;
      bytes_ += score_rows_ * (score_tiles_ * (tile_tokens * sizeof(std::uint16_t) + sizeof(float)) + sizeof(softmax_state));
    }
    memory_.reset(static_cast<std::byte*>(::operator new(bytes_, std::align_val_t{64})));
    std::memset(memory_.get(), 0, worker_bytes_ * workers + staging_bytes_);  // columns past a chunk's end are multiplied by zero: keep them finite
    if constexpr (!L::stepwise) prefixes_ = prefix_states(std::min(rows, sequences) * p.q_heads, tiles_touched(max_tokens) / piece_tiles, p.dim_v);
    if constexpr (L::stepwise) waves_.resize(std::size_t{workers} * sequences);
    shares_.resize(workers * split_items);
    for (share& s : shares_) s.nodes.resize(depth_);
  }
  std::size_t bytes() const noexcept { return bytes_ + prefixes_.bytes(); }
  /// Whether a key or value row since the last call held NaN or infinity.
  bool take_not_finite() noexcept { return not_finite_.exchange(false); }

 private:
  template <kv::Layout M, ScoreSink Sink>
  friend void attend(const team&, const layer_call<M>&, workspace<M>&, const Sink&);
  template <kv::Layout M, ScoreSink Sink>
  friend void attend_wave(const team&, const layer_call<M>&, workspace<M>&, const Sink&);

  /// Subtrees of one item that one worker folded; `item` numbers items in plan order.
  struct share {
    std::uint32_t item = ~0u, count = 0;
    bool first = false;   ///< holds the item's first live piece: this worker merges and writes the output
    std::vector<tree_node> nodes;
  };
  struct aligned_delete {
    void operator()(std::byte* p) const noexcept { ::operator delete(p, std::align_val_t{64}); }
  };
  std::byte* fold_scratch(std::uint32_t w) noexcept { return memory_.get() + w * worker_bytes_; }
  float* seal_scratch(std::uint32_t w) noexcept { return reinterpret_cast<float*>(fold_scratch(w) + fold_bytes_); }
  std::byte* staging() noexcept { return memory_.get() + workers_ * worker_bytes_; }
  row_states states(std::uint32_t w, std::uint32_t which, std::uint32_t level) noexcept {
    auto* base = reinterpret_cast<float*>(fold_scratch(w) + fold_bytes_ + seal_bytes_);
    base += (which * depth_ + level) * rows_ * (dim_ + 2);
    return {reinterpret_cast<softmax_state*>(base), base + 2 * rows_};
  }
  share& of(std::uint32_t w, std::uint32_t which) noexcept { return shares_[w * split_items + which]; }
  std::byte* mean_tile(std::uint32_t w) noexcept { return L::compensates ? fold_scratch(w) + fold_bytes_ + seal_bytes_ + states_bytes_ : nullptr; }
  kv::retain::importance::candidate* choice(std::uint32_t w) noexcept {
    return reinterpret_cast<kv::retain::importance::candidate*>(fold_scratch(w) + fold_bytes_ + seal_bytes_ + states_bytes_ + mean_bytes_);
  }
  score_recorder recorder(std::uint32_t q_heads, std::span<const query_span> spans) noexcept {
    auto* rows = reinterpret_cast<std::uint16_t*>(memory_.get() + scores_at_);
    auto* tops = reinterpret_cast<float*>(rows + score_rows_ * score_tiles_ * tile_tokens);
    return {rows, tops, reinterpret_cast<softmax_state*>(tops + score_rows_ * score_tiles_), score_tiles_, q_heads, spans};
  }

  std::uint32_t workers_, depth_, rows_, dim_, sequences_;
  std::size_t fold_bytes_, seal_bytes_, states_bytes_, mean_bytes_, choice_bytes_, worker_bytes_, staging_bytes_, bytes_;
  std::size_t score_rows_ = 0, score_tiles_ = 0, scores_at_ = 0;
  std::vector<query_span> waves_;   // [workers][sequences]
  prefix_states prefixes_;
  std::unique_ptr<std::byte, aligned_delete> memory_;
  std::vector<share> shares_;
  std::atomic<bool> not_finite_{false};
};

/// out row = o / l, with the sink logit in the denominator only.
template <kv::Layout L, ScoreSink Sink>
void write_output(const layer_call<L>& c, const work_item& item, const row_states& s, const Sink& sink) noexcept {
  const problem& p = c.shape;
  const query_span& span = c.spans[item.span];
  for (std::uint32_t r = 0; r < item.count * p.group(); ++r) {
    const std::uint32_t head = item.head * p.group() + r % p.group(), query = item.first + r / p.group();
    softmax_state state = s.state[r];
    if constexpr (Sink::active) sink.row(score_tile{span.sequence, c.layer, head, query, 0}, state.m, state.l);
    float scale = normalizer(state);
    if (p.sink_logits) {
      const merge_weights w = merge(state, {p.sink_logits[head], 1.0f});
      scale = w.left * normalizer(w.state);
    }
    float* out = c.out + (span.row + query - span.first) * c.ldo + head * p.dim_v;
    for (std::uint32_t i = 0; i < p.dim_v; ++i) out[i] = s.o[r * p.dim_v + i] * scale;
    piece_folder<L>::finish_row(c.view.layout, out, p.dim_v);
  }
}

/// Appends and folds all rows of a call at once; a stepwise layout's call lies in one tile of each sequence.
template <kv::Layout L, ScoreSink Sink>
void attend_wave(const team& t, const layer_call<L>& c, workspace<L>& w, const Sink& sink) {
  const problem& p = c.shape;
  const auto each_span = [&](auto&& f) {
    std::uint32_t staged = 0;
    for (const query_span& s : c.spans) {
      if (s.count == 0) continue;
      f(s, raw_tiles<L>{c.view, w.staging(), staged});
      staged += (s.first + s.count - 1) / tile_tokens - s.first / tile_tokens;
    }
  };
  std::uint32_t unit = 0;
  each_span([&](const query_span& s, const raw_tiles<L>& raws) {
    for (std::uint32_t h = 0; h < p.kv_heads; ++h, ++unit)
      if (unit % t.workers == t.worker) {
        const std::size_t at = s.row * c.ldkv + h * p.dim_k;
        if constexpr (kv::balances<typename L::sealed_pair>) note_query_peak(c.view.state(s.sequence, c.layer, h), p, s, h, c.q + s.row * c.ldq, c.ldq);
        if (!append(raws, s, c.layer, h, c.k + at, c.v + at, c.ldkv, w.seal_scratch(t.worker), p.rotary)) w.not_finite_.store(true, std::memory_order_relaxed);
      }
  });
  for (std::uint32_t i = 0; i < split_items; ++i) w.of(t.worker, i).item = ~0u;
  piece_folder<L> folder(c.view, p, w.rows_, w.fold_scratch(t.worker));
  const cohort_plan* const cohorts = usable_cohorts<Sink>(c);
  const auto shared = [cohorts](std::uint32_t span) { return cohorts ? cohorts->pieces(span) : 0; };
  if (cohorts) fold_prefixes(t, c, *cohorts, folder, w.prefixes_, [&](std::uint32_t level) { return w.states(t.worker, 0, level); });
  const auto each_item = [&](auto&& f) { return for_each_item(c.view.layout, p, c.layer, c.spans, block_tokens(p), c.dealing, f, shared); };
  const range mine = t.share(each_item([](const work_item&, item_load, std::uint64_t) {}));
  t.barrier();

  std::uint32_t number = 0, staged = 0, last_span = 0;
  each_item([&](const work_item& item, item_load load, std::uint64_t before) {
    const std::uint32_t id = number++;
    for (; last_span < item.span; ++last_span) {
      const query_span& s = c.spans[last_span];
      if (s.count != 0) staged += (s.first + s.count - 1) / tile_tokens - s.first / tile_tokens;
    }
    const range here = share_of(c.dealing, load, before, mine);
    if (here.empty()) return;
    const query_span& s = c.spans[item.span];
    const std::uint32_t tile = item.first / tile_tokens;
    const raw_tiles<L> raws{c.view, w.staging(), staged};
    const kv::head_view head = c.view.head(s.sequence, c.layer, item.head, tile, raws.at(s, c.layer, item.head, tile),
                                           std::min(s.first + s.count, (tile + 1) * tile_tokens) - tile * tile_tokens, w.mean_tile(t.worker));
    folder.begin(item, s.sequence, c.layer, head, [&](std::uint32_t i) { return c.q + (s.row + item.first - s.first + i) * c.ldq; });
    const bool whole = here.size() == load.pieces, first = here.begin == 0;
    const std::uint32_t which = before < mine.begin ? 0 : 1;
    auto& share = w.of(t.worker, which);
    const auto states = [&](std::uint32_t level) { return w.states(t.worker, which, level); };
    const std::uint32_t start = item.pieces.piece(static_cast<std::uint32_t>(here.begin));
    subtree_stack stack(first ? 0 : start, folder.rows(), p.dim_v);
    if (first && item.prefix != 0) push_prefix(t, stack, states, *cohorts, item, p, w.prefixes_);
    for (std::uint64_t i = here.begin; i < here.end; ++i) {
      const std::uint32_t piece = item.pieces.piece(static_cast<std::uint32_t>(i));
      const std::uint32_t next = item.pieces.piece(static_cast<std::uint32_t>(std::min(i + 1, here.end - 1)));
      stack.skip_to(piece, states);
      folder.fold(piece, next, states(stack.filled()), sink);
      stack.push({0, piece}, states);
    }
    if (whole) {
      stack.finish(states);
      write_output(c, item, states(0), sink);
    } else {
      share.item = id, share.count = stack.list(share.nodes.data()), share.first = first;
    }
  });
  t.barrier();

  for (std::uint32_t which = 0; which < split_items; ++which) {  // shared items: the worker with the first piece merges
    auto& own = w.of(t.worker, which);
    if (own.item == ~0u || !own.first) continue;
    std::uint32_t at = 0;
    each_item([&](const work_item& item, item_load, std::uint64_t) {
      if (at++ != own.item) return;
      const std::uint32_t rows = item.count * p.group();
      const auto states = [&](std::uint32_t level) { return w.states(t.worker, which, level); };
      subtree_stack stack(0, rows, p.dim_v);
      for (std::uint32_t i = 0; i < own.count; ++i) {  // they lie in place
        stack.skip_to(own.nodes[i].pieces().begin, states);
        stack.push(own.nodes[i], states);
      }
      for (std::uint32_t other = t.worker + 1; other < t.workers; ++other) {
        const auto& theirs = w.of(other, 0);
        if (theirs.item == ~0u) continue;  // more workers than pieces: some have none
        if (theirs.item != own.item) break;
        for (std::uint32_t i = 0; i < theirs.count; ++i) {
          stack.skip_to(theirs.nodes[i].pieces().begin, states);
          copy_rows(w.states(other, 0, i), states(stack.filled()), rows, p.dim_v);
          stack.push(theirs.nodes[i], states);
        }
      }
      stack.finish(states);
      write_output(c, item, states(0), sink);
    });
  }
  t.barrier();
}

/// Called by every worker of a team with the same arguments. Outputs are complete on return; another worker may still be adding
/// the last wave's scores, which the next call's first barrier or the region's end waits for.
/// precondition: supports(shape), every span reserved, rows within the workspace. cost: three barriers a wave, one wave unless
/// the layout is stepwise, and two more where a tile of such a layout fills.
template <kv::Layout L, ScoreSink Sink = null_sink>
void attend(const team& t, const layer_call<L>& c, workspace<L>& w, const Sink& sink = {}) {
  if constexpr (!L::stepwise) {
    attend_wave(t, c, w, sink);
  } else {
    query_span* const spans = w.waves_.data() + std::size_t{t.worker} * w.sequences_;
    for (std::uint32_t k = 0;; ++k) {
      std::uint32_t count = 0;
      for (const query_span& s : c.spans)
        if (const query_span rows = rows_in_tile(s, k); rows.count != 0) spans[count++] = rows;
      if (count == 0) return;
      layer_call<L> wave = c;
      wave.spans = {spans, count};
      const score_recorder scores = L::overlays ? w.recorder(c.shape.q_heads, wave.spans) : score_recorder{};
      if constexpr (L::overlays) attend_wave(t, wave, w, both_sinks<score_recorder, Sink>{scores, sink});
      else attend_wave(t, wave, w, sink);
      if constexpr (L::overlays) collect_scores(t, c.view, c.shape, c.layer, scores);
      const auto full = [](const query_span& s) { return (s.first + s.count) % tile_tokens == 0; };
      if (std::none_of(wave.spans.begin(), wave.spans.end(), full)) return;  // the last wave
      t.barrier();
      std::uint32_t unit = 0;
      for (const query_span& s : wave.spans)
        for (std::uint32_t h = 0; h < c.shape.kv_heads && full(s); ++h, ++unit)
          if (unit % t.workers == t.worker) settle(c.view, s, c.layer, h, w.choice(t.worker), w.seal_scratch(t.worker));
      t.barrier();
    }
  }
}

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
