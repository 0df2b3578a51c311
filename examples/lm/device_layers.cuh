// SPDX-License-Identifier: Apache-2.0
// The llama forward pass on a GPU, a layer at a time: the same steps as model.hpp, in launches on one stream. Nothing is
// allocated or waited for, so a whole step can be captured.
#pragma once

#include <span>

#include "device_linear.cuh"
#include "quire/attention/cuda/append.cuh"
#include "quire/attention/cuda/attend.cuh"
#include "quire/attention/cuda/operand_balanced.cuh"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_gear.cuh"
#include "quire/attention/cuda/operand_integer.cuh"
#include "quire/attention/cuda/operand_split.cuh"
#include "quire/attention/cuda/overlay.cuh"
#include "quire/attention/cuda/settle.cuh"
#include "weights.hpp"

namespace quire_lm {

/// layer_weights in device memory.
struct device_layer {
  quire::linear::matrix qkv, output, gate_up, down;
  const float *attention_norm = nullptr, *ffn_norm = nullptr;
};

/// Spans that one kernel folds, a stretch of the step's: a plan of each class of layers, `staged`, `mean_tiles` and `score_rows` from their first span on.
struct device_part {
  quire::attention::plan_view plan{};
  const std::uint32_t* staged = nullptr;
  const std::uint32_t* mean_tiles = nullptr;
  const std::uint32_t* score_rows = nullptr;
};

/// The spans of a step, or of one wave of it, where a layout takes steps tile by tile. Spans of few rows come first.
struct device_wave {
  const quire::attention::query_span* spans = nullptr;
  std::uint32_t span_count = 0;
  const std::uint32_t* staged = nullptr;     ///< staged, mean_tiles: as in attention's layer_call; score_rows: as `first` of its scores
  const std::uint32_t* mean_tiles = nullptr;
  const std::uint32_t* score_rows = nullptr;
  device_part decode, chunk;                 ///< of this layer's class; a part without items is not launched
};

/// What a layer of a step works on; pointers are the device's, rows begin at multiples of 16 bytes. The step's own spans are its first wave.
template <quire::kv::Layout L>
struct device_step : device_wave {
  quire::kv::store_view<L> view;
  std::span<const device_wave> later;        ///< where the layout has overlays: the host's, one for each further tile
  std::uint32_t rows = 0;
  quire::attention::cuda::rotation rotary{};
  std::byte* staging = nullptr;              ///< staging, means, scores, scratch, arrivals: as in attention's layer_call
  std::byte* means = nullptr;
  quire::attention::cuda::score_rows scores{};
  std::byte* scratch = nullptr;
  std::uint32_t* arrivals = nullptr;
  float* x = nullptr;                        ///< [rows][width] hidden states, in place
  float* h = nullptr;                        ///< [rows][widest input of a product]
  float* wide = nullptr;                     ///< [rows][q + k + v, or gate and up]
  std::uint32_t* not_finite = nullptr;       ///< set to 1 by a key or value row that holds NaN or infinity
};

/// Layers of a model of one head size over caches of layout L. Two kernels fold: one for spans of few query rows (decodes), one for
/// chunks of prompts.
template <quire::kv::Layout L, std::uint32_t Dim>
class device_layers {
 public:
  static constexpr std::uint32_t decode_rows = 16, chunk_rows = Dim <= 64 ? 64 : 32;   ///< query rows (tokens × group) of an item
  using decode_kernel = quire::attention::cuda::attend<L, Dim, decode_rows>;
  using chunk_kernel = quire::attention::cuda::attend<L, Dim, chunk_rows>;

  explicit device_layers(const model_config& c) noexcept : c_(c) {}

  static constexpr std::size_t shared_bytes() noexcept { return decode_kernel::shared_bytes() > chunk_kernel::shared_bytes() ? decode_kernel::shared_bytes() : chunk_kernel::shared_bytes(); }
  /// fails: unsupported_shape
  static quire::status supports(const model_config& c) noexcept {
    if (const quire::status s = decode_kernel::supports(shape_of(c)); !s) return s;
    return chunk_kernel::supports(shape_of(c));
  }

  /// x ← layer `l` of x: attention, then the gated network, each added to what it read. fails: unsupported_shape, out_of_range,
  /// device; the launches before the failure run.
  quire::status layer(const device_layer& w, std::uint32_t l, const device_step<L>& s, quire::device::stream on) const noexcept {
    if (const quire::status r = attend(w, l, s, on); !r) return r;
    return feed(w, s, on);
  }

  /// out [n][width] ← output norm of rows `which` of x.
  quire::status finish(const float* weight, const device_step<L>& s, const std::uint32_t* which, std::uint32_t n, float* out, quire::device::stream on) const noexcept {
    return quire::linear::cuda::rms_norm<float>({.x = s.x, .x_stride = c_.width, .which = which, .weight = weight, .n = n, .width = c_.width,
                                                 .epsilon = c_.norm_epsilon, .out = out, .out_stride = c_.width}, on);
  }

 private:
  quire::status norm(const float* weight, const device_step<L>& s, quire::device::stream on) const noexcept { return finish(weight, s, nullptr, s.rows, s.h, on); }

  static quire::status product(const quire::linear::matrix& m, const device_step<L>& s, float* y, quire::linear::store_mode mode, quire::device::stream on) noexcept {
    return quire::linear::cuda::multiply<float>({.weights = m, .x = s.h, .x_stride = m.cols, .n = s.rows, .y = y, .y_stride = m.rows, .mode = mode}, on);
  }

  template <class Kernel>
  quire::status fold(const device_part& part, std::uint32_t l, const device_step<L>& s, quire::device::stream on) const noexcept {
    const std::size_t q = std::size_t{c_.q_heads} * Dim, row = q + std::size_t{2} * c_.kv_heads * Dim;
    const typename Kernel::call call{.view = s.view, .shape = shape_of(c_), .layer = l, .plan = part.plan, .q = s.wide, .ldq = row, .out = s.h, .ldo = q,
                                     .staging = s.staging, .staged = part.staged, .means = s.means, .mean_tiles = part.mean_tiles, .scores = scores_of(s, part.score_rows), .scratch = s.scratch, .arrivals = s.arrivals};
    return Kernel::launch(call, on);
  }

  static quire::attention::cuda::score_rows scores_of(const device_step<L>& s, const std::uint32_t* first) noexcept {
    auto scores = s.scores;
    scores.first = first;
    return scores;
  }

  /// Keys and values of a wave's rows into the cache, then attention of those rows.
  quire::status attend_wave(const device_wave& w, std::uint32_t l, const device_step<L>& s, quire::device::stream on) const noexcept {
    namespace ac = quire::attention::cuda;
    const std::size_t q = std::size_t{c_.q_heads} * Dim, kv = std::size_t{c_.kv_heads} * Dim, row = q + 2 * kv;
    const ac::rotate_call<float> rotate{.spans = w.spans, .span_count = w.span_count, .heads = c_.q_heads, .dim = Dim, .x = s.wide, .ld = row, .rotary = s.rotary};
    if (const quire::status r = ac::rotate(rotate, on); !r) return r;
    const ac::append_call<L, float> append{.view = s.view, .layer = l, .spans = w.spans, .span_count = w.span_count, .k = s.wide + q, .v = s.wide + q + kv,
                                           .ldkv = row, .rotary = s.rotary, .q = s.wide, .ldq = row, .group = c_.q_heads / c_.kv_heads,
                                           .staging = s.staging, .staged = w.staged, .not_finite = s.not_finite};
    if (const quire::status r = ac::append(append, on); !r) return r;
    if (const quire::status r = ac::settle(ac::settle_call<L>{s.view, l, w.spans, w.span_count, s.means, w.mean_tiles}, on); !r) return r;
    if (const quire::status r = fold<decode_kernel>(w.decode, l, s, on); !r) return r;
    if (const quire::status r = fold<chunk_kernel>(w.chunk, l, s, on); !r) return r;
    return ac::settle_overlay(ac::overlay_call<L>{s.view, shape_of(c_), l, w.spans, w.span_count, scores_of(s, w.score_rows)}, on);
  }

  quire::status attend(const device_layer& w, std::uint32_t l, const device_step<L>& s, quire::device::stream on) const noexcept {
    using quire::linear::store_mode;
    if (const quire::status r = norm(w.attention_norm, s, on); !r) return r;
    if (const quire::status r = product(w.qkv, s, s.wide, store_mode::assign, on); !r) return r;
    if (const quire::status r = attend_wave(s, l, s, on); !r) return r;
    for (const device_wave& later : s.later)
      if (const quire::status r = attend_wave(later, l, s, on); !r) return r;
    return product(w.output, s, s.x, store_mode::add, on);
  }

  quire::status feed(const device_layer& w, const device_step<L>& s, quire::device::stream on) const noexcept {
    namespace lc = quire::linear::cuda;
    using quire::linear::store_mode;
    if (const quire::status r = norm(w.ffn_norm, s, on); !r) return r;
    if (const quire::status r = product(w.gate_up, s, s.wide, store_mode::assign, on); !r) return r;
    const lc::pair_call<float> gate{.how = lc::pairing::silu_mul, .a = s.wide, .b = s.wide + c_.ffn, .stride = std::size_t{2} * c_.ffn, .n = s.rows, .width = c_.ffn,
                                    .out = s.h, .out_stride = c_.ffn};
    if (const quire::status r = lc::combine(gate, on); !r) return r;
    return product(w.down, s, s.x, store_mode::add, on);
  }

  model_config c_;
};

}  // namespace quire_lm
