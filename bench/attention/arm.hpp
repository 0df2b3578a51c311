// SPDX-License-Identifier: Apache-2.0
// One cache with one long sequence, and the time of one decode step of attention over it: 9 query heads, 3 kv heads of 64.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../bandwidth.hpp"
#include "quire/attention/cpu/attend.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/store.hpp"

namespace quire_bench {

using namespace quire;

inline constexpr attention::problem shape{.q_heads = 9, .kv_heads = 3};
inline constexpr extents heads{1, 3, 64};

struct arm {
  std::string name;
  double token_bytes = 0, bits = 0;
  std::uint32_t tokens = 0;
  virtual ~arm() = default;
  /// Seconds per step over `repeat` steps in one parallel region.
  virtual double step(int repeat) = 0;
  virtual double read() = 0;   ///< bytes a second of plain loads over the sealed tiles
  double ns_per_token(int repeat) { return step(repeat) * 1e9 / tokens; }
};

/// Rows like a model's: keys with a few large channels, values with one; heavy tokens now and then.
inline void draw(kv::tile_shape s, kv::side which, std::mt19937& random, float* x) {
  std::normal_distribution<float> normal;
  for (std::uint32_t r = 0; r < s.rows; ++r)
    for (std::uint32_t c = 0; c < s.columns; ++c) {
      const std::uint32_t channel = which == kv::side::key ? r : c, token = which == kv::side::key ? c : r;
      const bool large = which == kv::side::key ? channel % 29 == 3 : channel % 61 == 5;
      x[r * s.columns + c] = normal(random) * (large ? 8.0f : 1.0f) * (token % 31 == 7 ? 3.0f : 1.0f);
    }
}

/// Any layout of these heads, filled by hand. `step_with` hands scores to a sink and calls `after` on every worker of a step.
template <kv::Layout L>
class cache_arm : public arm {
 public:
  cache_arm(const char* title, thread_executor& pool, const L& layout, std::uint32_t length)
      : layout_(layout), length_(length), store_(layout_, kv::pages_for(layout_, 1, length + tile_tokens, length)), work_(layout_, shape, pool.workers(), 1, 1, length_ + tile_tokens),
        pool_(pool) {
    name = title, tokens = length_;
    bits = (kv::bits_per_element(layout_.sealed().key, kv::shape_of(kv::side::key, heads.head_dim)) +
            kv::bits_per_element(layout_.sealed().value, kv::shape_of(kv::side::value, heads.head_dim))) / 2;
    if (!store_.open(sequence_) || !store_.reserve(sequence_, length_)) std::abort();
    fill();
    if (!store_.commit(sequence_, length_) || !store_.reserve(sequence_, 1)) std::abort();
    token_bytes = static_cast<double>(kv::sequence_bytes(layout_, length_)) / length_;
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    q_.resize(shape.q_heads * 64), k_.resize(shape.kv_heads * 64), v_ = k_, out_ = q_;
    for (auto* row : {&q_, &k_, &v_})
      for (float& x : *row) x = normal(random);
  }
  double step(int repeat) override { return step_with(repeat, attention::null_sink{}, [](const team&) {}); }
  template <attention::ScoreSink Sink, class After>
  double step_with(int repeat, const Sink& sink, After&& after) {
    const attention::query_span span{sequence_, length_, 1, 0};
    attention::cpu::layer_call<L> c{store_.view(), shape, 0, {&span, 1}};
    c.q = q_.data(), c.k = k_.data(), c.v = v_.data(), c.out = out_.data();
    c.ldq = c.ldo = q_.size(), c.ldkv = k_.size();
    const double start = seconds();
    pool_.run([&](const team& t) {
      for (int i = 0; i < repeat; ++i) {
        attention::cpu::attend(t, c, work_, sink);
        after(t);
      }
    });
    return (seconds() - start) / repeat;
  }
  double read() override { return read_bandwidth(pool_, store_.view().base[0], std::size_t{store_.options().pages[0]} * kv::page_bytes(layout_, 0)); }

 private:
  /// Seals a few hundred tiles and repeats their bytes. Overlays hold every n-th token, which the masks hide.
  void fill() {
    const auto pair = layout_.sealed();
    const std::size_t piece = pair.piece_bytes(heads.head_dim), raw_piece = layout_.raw().piece_bytes(heads.head_dim);
    const std::uint32_t tiles = length_ / tile_tokens, distinct = std::min<std::uint32_t>(256, tiles * heads.kv_heads);
    std::vector<std::byte> pieces(piece * distinct), exact(raw_piece);
    std::vector<float> x(64 * 64);
    std::mt19937 random(1);
    const auto view = store_.view();
    const auto seal = [&](const auto& codecs, std::uint32_t tile, std::byte* to) {
      for (kv::side which : {kv::side::key, kv::side::value}) {
        const kv::tile_shape s = kv::shape_of(which, heads.head_dim);
        draw(s, which, random, x.data());
        if (which == kv::side::key) codecs.key.encode(view.context(sequence_, 0, 0, tile, which), s, x.data(), to);
        else codecs.value.encode(view.context(sequence_, 0, 0, tile, which), s, x.data(), to + codecs.value_offset(heads.head_dim));
      }
    };
    for (std::uint32_t i = 0; i < distinct; ++i) seal(pair, i, pieces.data() + i * piece);
    seal(layout_.raw(), 0, exact.data());
    for (std::uint32_t t = 0, i = 0; t < tiles; ++t)
      for (std::uint32_t h = 0; h < heads.kv_heads; ++h, ++i) std::memcpy(view.sealed(sequence_, 0, h, t), pieces.data() + i % distinct * piece, piece);
    if constexpr (L::overlays)
      for (std::uint32_t h = 0; h < heads.kv_heads; ++h) {
        if (layout_.slot(0, h).group != 0) continue;
        const kv::head_state state = view.state(sequence_, 0, h);
        const std::uint32_t held = layout_.policy().budget(tiles * tile_tokens);
        for (std::uint32_t t = 0; t < tiles && state.live != nullptr; ++t) state.live[t] = ~std::uint64_t{0};
        for (std::uint32_t i = 0; i < held; ++i) {
          const kv::overlay_tile o = view.overlay(sequence_, 0, h, i / tile_tokens);
          const auto position = static_cast<std::uint32_t>(std::uint64_t{i} * tiles * tile_tokens / held);
          if (i % tile_tokens == 0) std::memcpy(o.piece, exact.data(), raw_piece);
          o.positions[i % tile_tokens] = position, o.scores[i % tile_tokens] = 0;
          if (state.live != nullptr) state.live[position / tile_tokens] &= ~(std::uint64_t{1} << position % tile_tokens);
        }
      }
  }

  L layout_;
  std::uint32_t length_, sequence_ = 0;
  kv::store<L> store_;
  attention::cpu::workspace<L> work_;
  thread_executor& pool_;
  std::vector<float> q_, k_, v_, out_;
};

/// Tokens, whole pieces, whose sealed tiles take about `bytes` in a layout of pages.
template <class Pair>
std::uint32_t tokens_for(std::size_t bytes) {
  const kv::paged<Pair> l(heads);
  return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(bytes / (kv::page_bytes(l, 0) * piece_tiles))) * piece_tokens;
}

}  // namespace quire_bench
