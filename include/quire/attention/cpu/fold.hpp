// SPDX-License-Identifier: Apache-2.0
// Folding one piece: the logits of four tiles, one maximum, one exponential, then the values. The leaf of the merge tree.
#pragma once

#include <algorithm>
#include <limits>

#include "../../core/softmax.hpp"
#include "../plan.hpp"
#include "../reference.hpp"
#include "../sink.hpp"
#include "product.hpp"
#include "product_balanced.hpp"
#include "product_fp8.hpp"
#include "product_gear.hpp"
#include "product_integer.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// Running states of the rows of one item: state [rows], o [rows][dim_v].
struct row_states {
  softmax_state* state = nullptr;
  float* o = nullptr;
};

/// a ← a ⊕ b for `rows` rows, with the arithmetic of core/softmax.hpp in one fixed vector order.
inline void merge_rows(row_states a, row_states b, std::uint32_t rows, std::uint32_t dim) noexcept {
  const simd::f32_tag d;
  const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
  for (std::uint32_t r = 0; r < rows; ++r) {
    const merge_weights w = merge(a.state[r], b.state[r]);
    a.state[r] = w.state;
    float *x = a.o + r * dim, *y = b.o + r * dim;
    std::uint32_t i = 0;
    const auto left = hn::Set(d, w.left), right = hn::Set(d, w.right);
    for (; i + lanes <= dim; i += lanes)
      hn::StoreU(hn::MulAdd(hn::LoadU(d, y + i), right, hn::Mul(hn::LoadU(d, x + i), left)), d, x + i);
    for (; i < dim; ++i) x[i] = std::fma(y[i], w.right, x[i] * w.left);
  }
}

/// Query rows of one item, ready for every form of the layout. One per worker, reused.
/// Row r is query token r / group, head r % group of the kv head's group.
template <kv::Layout L>
class piece_folder {
 public:
  static constexpr std::uint32_t forms = 2;

  /// Bytes of scratch for items of at most `rows` rows.
  static std::size_t scratch_bytes(const problem& p, std::uint32_t rows) noexcept { return layout_scratch(p, rows, nullptr, nullptr); }

  piece_folder(const kv::store_view<L>& view, const problem& p, std::uint32_t rows, std::byte* scratch) noexcept : view_(view), p_(p) {
    layout_scratch(p, rows, scratch, this);
  }
  ~piece_folder() { amx::release(); }

  /// Takes the item's queries: q row of token i and head h at row_of(i) + h·dim_k.
  template <class RowOf>
  void begin(const work_item& item, std::uint32_t sequence, std::uint32_t layer, const kv::head_view& head, RowOf&& row_of) noexcept {
    item_ = item, sequence_ = sequence, layer_ = layer, head_ = &head;
    rows_ = item.count * p_.group();
    const float scale = p_.scale_or_default();
    for (std::uint32_t r = 0; r < rows_; ++r) {
      const float* from = row_of(r / p_.group()) + (item.head * p_.group() + r % p_.group()) * p_.dim_k;
      for (std::uint32_t i = 0; i < p_.dim_k; ++i) q_[0][r * p_.dim_k + i] = from[i] * scale;
    }
    each_form([&](std::uint8_t form, const auto& pair) {
      using key = typename std::remove_cvref_t<decltype(pair)>::key_codec;
      if constexpr (kv::RotatingCodec<key>) {
        std::copy_n(q_[0], rows_ * p_.dim_k, q_[form]);
        for (std::uint32_t r = 0; r < rows_; ++r) pair.key.rotate(q_[form] + r * p_.dim_k, p_.dim_k);
      }
      if (multiplier<key>::tile_free) prepare_query(pair.key, view_.context(sequence_, layer_, item_.head, 0, kv::side::key), nullptr, form, 0, prepared_[form]);
    });
  }

  /// Folds piece `piece` into out (overwritten). Rows that see nothing get the identity. `next` is the piece folded after
  /// it, a hint; o stays in the basis of the layout's sealed values (see `finish_row`).
  template <ScoreSink Sink>
  void fold(std::uint32_t piece, std::uint32_t next, row_states out, const Sink& sink) noexcept {
    const std::uint32_t first = piece * piece_tiles;
    tile_at tiles[piece_tiles + 1];
    for (std::uint32_t k = 0; k < piece_tiles; ++k) tiles[k] = find(first + k);
    tiles[piece_tiles] = find(next * piece_tiles);
    for (std::uint32_t k = 0; k < piece_tiles; ++k)
      score(tiles[k], first + k, k * tile_tokens, k + 1 < piece_tiles && tiles[k + 1].run ? tiles[k + 1].keys() : tiles[0].values(), sink);
    for (std::uint32_t r = 0; r < rows_; ++r) soften(logits_ + r * piece_tokens, out.state[r]);
    if constexpr (Sink::active && TakesWeights<Sink>)
      for (std::uint32_t k = 0; k < piece_tiles; ++k)
        for (std::uint32_t r = 0; r < rows_ && tiles[k].run != nullptr; ++r) sink.weights(place_of(r, first + k), logits_ + r * piece_tokens + k * tile_tokens, out.state[r].m);
    std::fill_n(out.o, rows_ * p_.dim_v, 0.0f);
    bool turned = false;
    for (std::uint32_t k = 0; k < piece_tiles; ++k)
      if (tiles[k].seen)
        accumulate(tiles[k], k * tile_tokens, k + 1 < piece_tiles && tiles[k + 1].seen ? tiles[k + 1].values() : tiles[piece_tiles].keys(), out.o, turned);
    if (turned) turn_over(out.o);
  }

  /// Brings a finished row o [dim_v] into the channels' own basis.
  static void finish_row(const L& layout, float* o, std::uint32_t dim) noexcept {
    if constexpr (rotated_values) layout.sealed().value.rotate(o, dim);
  }

  std::uint32_t rows() const noexcept { return rows_; }

 private:
  struct tile_at {
    const kv::run* run = nullptr;
    std::uint32_t index = 0;
    bool seen = false;
    const std::byte* keys() const noexcept { return run ? run->tile(index) : nullptr; }
    const std::byte* values() const noexcept { return run ? keys() + run->value_offset : nullptr; }
  };
  static constexpr bool rotated_values = kv::RotatingCodec<typename L::sealed_pair::value_codec>;
  static_assert(!kv::RotatingCodec<typename L::raw_pair::value_codec>, "quire::attention: open tails keep channels as they are");

  tile_at find(std::uint32_t slot) const noexcept {
    for (std::uint32_t i = 0; i < head_->count; ++i) {
      const kv::run& r = head_->runs[i];
      if (slot >= r.slot && slot < r.slot + r.tiles()) return {&r, slot - r.slot, false};
    }
    return {};
  }

  template <class F>
  void each_form(F&& f) const noexcept {
    f(std::uint8_t{0}, view_.layout.raw());
    f(std::uint8_t{1}, view_.layout.sealed());
  }
  template <class F>
  void with_form(std::uint8_t form, F&& f) const noexcept {
    if (form == 0) f(view_.layout.raw());
    else f(view_.layout.sealed());
  }
  std::uint32_t query_of(std::uint32_t row) const noexcept { return item_.first + row / p_.group(); }
  score_tile place_of(std::uint32_t row, std::uint32_t slot) const noexcept {
    return {sequence_, layer_, item_.head * p_.group() + row % p_.group(), query_of(row), slot};
  }

  /// Queries as the key codec's multiplier wants them; `steps` ≠ 0 rotates them by −steps positions first.
  template <class Key>
  void prepare_query(const Key& codec, const kv::codec_context& at, const std::byte* tile, std::uint8_t form, std::int32_t steps, std::byte* to) noexcept {
    const float* q = kv::RotatingCodec<Key> ? q_[form] : q_[0];
    if (steps != 0) {
      std::copy_n(q_[0], rows_ * p_.dim_k, turned_);
      for (std::uint32_t r = 0; r < rows_; ++r) {
        rotate_query(p_.rotary, turned_ + r * p_.dim_k, -steps);
        if constexpr (kv::RotatingCodec<Key>) codec.rotate(turned_ + r * p_.dim_k, p_.dim_k);
      }
      q = turned_;
    }
    multiplier<Key>::prepare(codec, at, kv::shape_of(kv::side::key, p_.dim_k), tile, q, p_.dim_k, rows_, to);
  }

  /// Bits of the tile's tokens that row's query sees.
  std::uint64_t visible(const kv::run& r, std::uint32_t tile, std::uint32_t query) const noexcept {
    std::uint64_t bits = r.live_bits(tile);
    const kv::visibility model{0, p_.window};
    if (r.exempt && !model.limited()) return bits;
    if (r.scattered()) {
      for (std::uint32_t j = 0; j < tile_tokens; ++j)
        if (bits >> j & 1) {
          const auto key = static_cast<std::uint32_t>(r.position_of(tile * tile_tokens + j));
          if ((!r.exempt && !head_->sees.sees(query, key)) || !model.sees(query, key)) bits &= ~(std::uint64_t{1} << j);
        }
      return bits;
    }
    const std::int64_t start = r.position_of(tile * tile_tokens);
    const auto below = [&](std::int64_t end) -> std::uint64_t {  // tokens at positions < end
      const std::int64_t n = end - start;
      return n <= 0 ? 0 : n >= tile_tokens ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
    };
    bits &= below(std::int64_t{query} + 1);
    if (head_->sees.limited() && !r.exempt) bits &= ~below(head_->sees.window_begin(query)) | below(head_->sees.sinks);
    if (model.limited()) bits &= ~below(model.window_begin(query));
    return bits;
  }

  template <ScoreSink Sink>
  void score(tile_at& t, std::uint32_t slot, std::uint32_t column, const std::byte* next, const Sink& sink) noexcept {
    constexpr float masked = -std::numeric_limits<float>::infinity();
    std::uint64_t any = 0;
    for (std::uint32_t r = 0; t.run != nullptr && r < rows_; r += p_.group()) {
      const std::uint64_t bits = visible(*t.run, t.index, query_of(r));
      masks_[r / p_.group()] = bits;
      any |= bits;
    }
    if (any == 0) {
      for (std::uint32_t r = 0; r < rows_; ++r) std::fill_n(logits_ + r * piece_tokens + column, tile_tokens, masked);
      return;
    }
    t.seen = true;
    for (std::uint32_t r = 0; r < rows_; ++r) std::fill_n(logits_ + r * piece_tokens + column, tile_tokens, 0.0f);
    with_form(t.run->form, [&](const auto& pair) {
      using key = typename std::remove_cvref_t<decltype(pair)>::key_codec;
      const std::byte* tile = t.run->tile(t.index);
      const kv::codec_context at = view_.context(sequence_, layer_, item_.head, slot, kv::side::key);
      const std::byte* a = prepared_[t.run->form];
      if (!multiplier<key>::tile_free || t.run->rotation != 0) {
        prepare_query(pair.key, at, tile, t.run->form, t.run->rotation, prepared_tile_);
        a = prepared_tile_;
      }
      multiplier<key>::multiply(pair.key, at, kv::shape_of(kv::side::key, p_.dim_k), tile, a,
                                rows_, logits_ + column, piece_tokens, decoded_, next);
    });
    const bool plain = p_.softcap == 0 && p_.alibi == nullptr && t.run->bias == 0;
    for (std::uint32_t r = 0; r < rows_; ++r) {
      float* s = logits_ + r * piece_tokens + column;
      if (!plain) adjust(t, r, s);
      if (~masks_[r / p_.group()] != 0) hide(s, masks_[r / p_.group()]);
      if constexpr (Sink::active && TakesLogits<Sink>) sink.logits(place_of(r, slot), s);
    }
  }

  /// Softcap, ALiBi and run bias, in the order of attention/problem.hpp.
  void adjust(const tile_at& t, std::uint32_t row, float* s) const noexcept {
    const float slope = p_.alibi ? p_.alibi[item_.head * p_.group() + row % p_.group()] : 0.0f;
    const std::uint32_t held = std::min(tile_tokens, t.run->tokens - t.index * tile_tokens);  // `positions` ends there
    for (std::uint32_t j = 0; j < held; ++j) {
      float x = s[j];
      if (p_.softcap != 0) x = p_.softcap * std::tanh(x / p_.softcap);
      if (p_.alibi) x += slope * static_cast<float>(t.run->position_of(t.index * tile_tokens + j) - static_cast<std::int32_t>(query_of(row)));
      s[j] = x + t.run->bias;
    }
  }
  static void hide(float* s, std::uint64_t seen) noexcept {
    for (std::uint64_t hidden = ~seen; hidden != 0; hidden &= hidden - 1)
      s[std::countr_zero(hidden)] = -std::numeric_limits<float>::infinity();
  }

  /// Logits [piece_tokens] → weights exp(logit − m) in place.
  static void soften(float* s, softmax_state& state) noexcept {
    const simd::f32_tag d;
    const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
    auto most = hn::LoadU(d, s);
    for (std::uint32_t j = lanes; j < piece_tokens; j += lanes) most = hn::Max(most, hn::LoadU(d, s + j));
    const float m = hn::GetLane(hn::MaxOfLanes(d, most));
    if (!(m > -std::numeric_limits<float>::infinity())) {
      std::fill_n(s, piece_tokens, 0.0f);
      state = {};
      return;
    }
    auto sum = hn::Zero(d);
    for (std::uint32_t j = 0; j < piece_tokens; j += lanes) {
      const auto e = simd::exp(d, hn::Sub(hn::LoadU(d, s + j), hn::Set(d, m)));
      sum = hn::Add(sum, e);
      hn::StoreU(e, d, s + j);
    }
    state = {m, hn::GetLane(hn::SumOfLanes(d, sum))};
  }

  void accumulate(const tile_at& t, std::uint32_t column, const std::byte* next, float* o, bool& turned) noexcept {
    with_form(t.run->form, [&](const auto& pair) {
      using value = typename std::remove_cvref_t<decltype(pair)>::value_codec;
      const kv::tile_shape s = kv::shape_of(kv::side::value, p_.dim_v);
      const std::byte* tile = t.run->tile(t.index) + t.run->value_offset;
      const kv::codec_context at = view_.context(sequence_, layer_, item_.head, t.run->slot + t.index, kv::side::value);
      multiplier<value>::prepare(pair.value, at, s, tile, logits_ + column, piece_tokens, rows_, prepared_tile_);
      float* to = o;
      if constexpr (rotated_values && !kv::RotatingCodec<value>) {  // exact rows join a rotated sum
        if (!turned) std::fill_n(turned_, rows_ * p_.dim_v, 0.0f);
        turned = true;
        to = turned_;
      }
      multiplier<value>::multiply(pair.value, at, s, tile, prepared_tile_, rows_, to, p_.dim_v, decoded_, next);
    });
  }
  /// Adds what was accumulated in the channels' own basis to o, which stands in the sealed values' basis.
  void turn_over(float* o) noexcept {
    if constexpr (rotated_values)
      for (std::uint32_t r = 0; r < rows_; ++r) {
        view_.layout.sealed().value.rotate(turned_ + r * p_.dim_v, p_.dim_v);
        for (std::uint32_t i = 0; i < p_.dim_v; ++i) o[r * p_.dim_v + i] += turned_[r * p_.dim_v + i];
      }
  }

  template <class Pair>
  static std::size_t prepared_row(const problem& p) noexcept {
    return std::max(multiplier<typename Pair::key_codec>::prepared_bytes(kv::shape_of(kv::side::key, p.dim_k)),
                    multiplier<typename Pair::value_codec>::prepared_bytes(kv::shape_of(kv::side::value, p.dim_v)));
  }
  template <class Pair>
  static std::size_t decoded(const problem& p) noexcept {
    return std::max(multiplier<typename Pair::key_codec>::scratch_bytes(kv::shape_of(kv::side::key, p.dim_k)),
                    multiplier<typename Pair::value_codec>::scratch_bytes(kv::shape_of(kv::side::value, p.dim_v)));
  }
  /// One walk gives both the size and the addresses.
  static std::size_t layout_scratch(const problem& p, std::uint32_t rows, std::byte* base, piece_folder* to) noexcept {
    std::size_t at = 0;
    const auto take = [&](std::size_t bytes) {
      std::byte* here = base + at;
      at += round_up(bytes, 64);
      return here;
    };
    const std::size_t prepared = std::max(prepared_row<typename L::raw_pair>(p), prepared_row<typename L::sealed_pair>(p)) * rows;
    const std::size_t dim = std::max(p.dim_k, p.dim_v);
    std::byte* parts[] = {take(rows * dim * 4), take(rows * dim * 4), take(rows * dim * 4), take(std::size_t{rows} * piece_tokens * 4), take(tile_tokens * 8),
                          take(prepared), take(prepared), take(prepared),
                          take(std::max(decoded<typename L::raw_pair>(p), decoded<typename L::sealed_pair>(p)))};
    if (to != nullptr) {
      to->q_[0] = reinterpret_cast<float*>(parts[0]);
      to->q_[1] = reinterpret_cast<float*>(parts[1]);
      to->turned_ = reinterpret_cast<float*>(parts[2]);
      to->logits_ = reinterpret_cast<float*>(parts[3]);
      to->masks_ = reinterpret_cast<std::uint64_t*>(parts[4]);
      to->prepared_[0] = parts[5], to->prepared_[1] = parts[6], to->prepared_tile_ = parts[7], to->decoded_ = parts[8];
    }
    return at;
  }

  const kv::store_view<L>& view_;
  const problem& p_;
  work_item item_{};
  std::uint32_t sequence_ = 0, layer_ = 0, rows_ = 0;
  const kv::head_view* head_ = nullptr;
  float* q_[forms] = {};                                        // [rows][dim_k] in the basis of each form's keys
  float *turned_ = nullptr, *logits_ = nullptr;                 // [rows][dim], [rows][piece_tokens]
  std::uint64_t* masks_ = nullptr;                              // [query tokens]
  std::byte *prepared_[forms] = {}, *prepared_tile_ = nullptr, *decoded_ = nullptr;
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
