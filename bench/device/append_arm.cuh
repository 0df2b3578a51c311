// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "arm.hpp"
#include "cache.cuh"
#include "codecs.hpp"
#include "quire/attention/cuda/append.cuh"

namespace device_bench {

/// attention::cuda::append on a step: rotary embedding, exact rows into tails, full tiles sealed.
template <kv::Layout L, std::uint32_t Dim>
class append_arm final : public arm {
 public:
  using row = quire::bf16;

  append_arm(machine& m, const workload& w)
      : machine_(m), work_(w), spans_(w.spans()), layout_({w.layers, w.kv_heads, Dim}), cache_(m, layout_, spans_, 0, 12) {
    const std::size_t width = std::size_t{w.kv_heads} * Dim, rows = spans_.back().row + spans_.back().count;
    std::mt19937 random(6);
    std::normal_distribution<float> normal;
    keys_.resize(rows * width), values_.resize(rows * width);
    for (row& x : keys_) x = row::from(normal(random));
    for (row& x : values_) x = row::from(normal(random));
    device_keys_ = {m, std::span<const row>(keys_), "keys"}, device_values_ = {m, std::span<const row>(values_), "values"};
    std::uint32_t longest = 0;
    std::vector<std::uint32_t> staged;
    std::uint32_t tiles = 0;
    for (const auto& s : spans_) {
      staged.push_back(tiles);
      tiles += cache_.newest_tile(s) - s.first / tile_tokens;
      longest = std::max(longest, s.first + s.count);
      const std::uint64_t full = (s.first + s.count) / tile_tokens - s.first / tile_tokens;
      bytes += w.kv_heads * (std::uint64_t{s.count} * 4 * Dim + full * (layout_.sealed().key_bytes(Dim) + layout_.sealed().value_bytes(Dim)));
    }
    table_.resize(std::size_t{longest} * Dim);
    fill_rope(rotary_, {0, longest}, table_.data());
    device_table_ = {m, std::span<const float>(table_), "rotary table"};
    staging_ = cache_.staging(tiles);
    staged_ = {m, std::span<const std::uint32_t>(staged), "staged"};
    device_spans_ = {m, std::span<const attention::query_span>(spans_), "spans"};
    flag_ = {m, std::span<const std::uint32_t>(std::vector<std::uint32_t>(1, 0)), "not finite"};
    held_bytes = cache_.bytes(), layers = w.layers, resident_blocks = 1;
    call_.view = cache_.view(), call_.spans = device_spans_.data(), call_.span_count = static_cast<std::uint32_t>(spans_.size());
    call_.k = device_keys_.data(), call_.v = device_values_.data(), call_.ldkv = width, call_.rotary = {device_table_.data(), Dim, rotary_.style};
    call_.staging = staging_.data(), call_.staged = staged_.data(), call_.not_finite = flag_.data();
  }

  std::vector<std::string> plans() const override { return {"span x head"}; }
  plan_facts plan(const std::string&) override { return {call_.span_count * work_.kv_heads, call_.span_count * work_.kv_heads, 0, 0}; }
  status launch(std::uint32_t layer) override {
    auto c = call_;
    c.layer = layer;
    return attention::cuda::append(c, machine_.stream());
  }

  /// Newest rows of tails, and for chunks a tile that was sealed from rows of the step alone, against the codecs on the host.
  double error(std::uint32_t layer) override {
    machine_.finish();
    double most = flag_.download()[0] == 0 ? 0 : std::numeric_limits<double>::infinity();
    for (const std::size_t span : {std::size_t{0}, spans_.size() - 1}) {
      const attention::query_span& s = spans_[span];
      const auto sequence = static_cast<std::uint32_t>(span), head = work_.kv_heads - 1, last = s.first + s.count - 1;
      most = std::max(most, tile_error(layout_.raw(), cache_.read(cache_.tail(sequence, layer, head), layout_.raw().piece_bytes(Dim)), s, layer, head, last / tile_tokens * tile_tokens, last));
      const std::uint32_t whole = (s.first + tile_tokens - 1) / tile_tokens;
      if (whole < cache_.pages_of(s))
        most = std::max(most, tile_error(layout_.sealed(), cache_.sealed(sequence, layer, head, whole), s, layer, head, whole * tile_tokens, whole * tile_tokens + tile_tokens - 1));
    }
    return most;
  }
  std::vector<std::byte> result() override { return {}; }

  static std::uint64_t layer_bytes(const workload& w) {
    const L layout({1, w.kv_heads, Dim});
    std::uint64_t pages = 0;
    for (const auto& s : w.spans()) pages += synthetic_cache<L>::pages_of(s);
    return pages * kv::page_bytes(layout, 0) + std::uint64_t{w.batch} * kv::tail_bytes(layout);
  }
  static std::unique_ptr<arm> make(machine& m, const workload& w) { return std::make_unique<append_arm>(m, w); }
  static kernel_entry entry(const char* part, const char* codec) { return {part, codec, Dim, &layer_bytes, &make, static_cast<std::uint32_t>(attention::cuda::appender<L, row>::shared_bytes(Dim)), 0, 0, 0, 0}; }

 private:
  /// Tokens [first, last] of a tile that begins at token `first / 64 · 64`, as far as the step brought them; sealed tiles are compared as
  /// codes of the same rows.
  template <class Pair>
  double tile_error(const Pair& pair, const std::vector<std::byte>& piece, const attention::query_span& s, std::uint32_t layer, std::uint32_t head, std::uint32_t begin,
                    std::uint32_t last) const {
    const std::uint32_t first = std::max(begin, s.first), width = work_.kv_heads * Dim;
    relative_error e;
    for (const kv::side which : {kv::side::key, kv::side::value}) {
      const kv::tile_shape shape = kv::shape_of(which, Dim);
      const auto element = [&](std::vector<float>& x, std::uint32_t token, std::uint32_t channel) -> float& {
        return which == kv::side::key ? x[channel * tile_tokens + token] : x[token * Dim + channel];
      };
      std::vector<float> rows(shape.elements()), want(shape.elements()), got(shape.elements());
      for (std::uint32_t p = first; p <= last; ++p) {
        const row* from = (which == kv::side::key ? keys_ : values_).data() + std::size_t{s.row + p - s.first} * width + head * Dim;
        const float* angles = table_.data() + std::size_t{p} * Dim;
        for (std::uint32_t i = 0; i < Dim; ++i) {
          const float a = from[i & ~1u].to_float(), b = from[i | 1u].to_float(), c = angles[i / 2], d = angles[Dim / 2 + i / 2];
          const float x = which == kv::side::value ? from[i].to_float() : i % 2 == 0 ? a * c - b * d : a * d + b * c;
          element(rows, p % tile_tokens, i) = quire::bf16::from(x).to_float();
        }
      }
      const kv::codec_context at = cache_.view().context(0, layer, head, begin / tile_tokens, which);  // what factors begin with depends on the place
      std::vector<std::byte> encoded(piece.size());
      const auto through = [&](const auto& codec, const std::byte* tile) {
        codec.encode(at, shape, rows.data(), encoded.data());
        codec.decode(at, shape, encoded.data(), want.data());
        codec.decode(at, shape, tile, got.data());
      };
      if (which == kv::side::key) through(pair.key, piece.data());
      else through(pair.value, piece.data() + pair.value_offset(Dim));
      for (std::uint32_t p = first; p <= last; ++p)
        for (std::uint32_t i = 0; i < Dim; ++i) e.add(static_cast<double>(element(got, p % tile_tokens, i)), static_cast<double>(element(want, p % tile_tokens, i)));
    }
    return e.value();
  }

  machine& machine_;
  workload work_;
  std::vector<attention::query_span> spans_;
  rope rotary_{.dims = Dim};
  L layout_;
  synthetic_cache<L> cache_;
  std::vector<row> keys_, values_;
  std::vector<float> table_;
  device_block<row> device_keys_, device_values_;
  device_block<float> device_table_;
  device_block<std::byte> staging_;
  device_block<std::uint32_t> staged_, flag_;
  device_block<attention::query_span> device_spans_;
  attention::cuda::append_call<L, row> call_;
};

}  // namespace device_bench
