// SPDX-License-Identifier: Apache-2.0
// The llama forward pass on a GPU, a layer at a time: the same steps as model.hpp, in launches on one stream. Nothing is
// allocated or waited for, so a whole step can be captured.
#pragma once

#include "quire/attention/cuda/append.cuh"
#include "quire/attention/cuda/attend.cuh"
#include "quire/linear/cuda/dequantize.cuh"
#include "quire/linear/cuda/elementwise.cuh"
#include "quire/linear/cuda/multiply.cuh"
#include "weights.hpp"

namespace quire_lm {

/// layer_weights in device memory.
struct device_layer {
  quire::linear::matrix qkv, output, gate_up, down;
  const float *attention_norm = nullptr, *ffn_norm = nullptr;
};

/// What a step works on; pointers are the device's, rows begin at multiples of 16 bytes.
template <quire::kv::Layout L>
struct device_step {
  quire::kv::store_view<L> view;
  quire::attention::plan_view plan{};        ///< of this layer's class
  std::uint32_t rows = 0;
  quire::attention::cuda::rotation rotary{};
  std::byte* staging = nullptr;              ///< staging, staged, scratch, arrivals: as in attention's layer_call
  const std::uint32_t* staged = nullptr;
  std::byte* scratch = nullptr;
  std::uint32_t* arrivals = nullptr;
  float* x = nullptr;                        ///< [rows][width] hidden states, in place
  float* h = nullptr;                        ///< [rows][widest input of a product]
  float* wide = nullptr;                     ///< [rows][q + k + v, or gate and up]
  std::uint32_t* not_finite = nullptr;       ///< set to 1 by a key or value row that holds NaN or infinity
};

/// Layers of a model of one head size over caches of layout L; `Rows` is the plan's limit of query rows an item.
template <quire::kv::Layout L, std::uint32_t Dim, std::uint32_t Rows = 16>
class device_llama {
 public:
  using kernel = quire::attention::cuda::attend<L, Dim, Rows>;

  explicit device_llama(const model_config& c) noexcept : c_(c) {}

  static quire::attention::problem shape_of(const model_config& c) noexcept {
    return {.q_heads = c.q_heads, .kv_heads = c.kv_heads, .dim_k = c.head_dim, .dim_v = c.head_dim,
            .rotary = {.dims = c.rope_dims, .base = c.rope_base}};
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

  quire::status attend(const device_layer& w, std::uint32_t l, const device_step<L>& s, quire::device::stream on) const noexcept {
    namespace ac = quire::attention::cuda;
    using quire::linear::store_mode;
    const std::size_t q = std::size_t{c_.q_heads} * Dim, kv = std::size_t{c_.kv_heads} * Dim, row = q + 2 * kv;
    if (const quire::status r = norm(w.attention_norm, s, on); !r) return r;
    if (const quire::status r = product(w.qkv, s, s.wide, store_mode::assign, on); !r) return r;
    ac::append_call<L, float> append{.view = s.view, .layer = l, .spans = s.plan.spans, .span_count = s.plan.span_count, .k = s.wide + q, .v = s.wide + q + kv,
                                     .ldkv = row, .rotary = s.rotary, .staging = s.staging, .staged = s.staged, .not_finite = s.not_finite};
    if (const quire::status r = ac::append(append, on); !r) return r;
    const ac::rotate_call<float> rotate{.spans = s.plan.spans, .span_count = s.plan.span_count, .heads = c_.q_heads, .dim = Dim, .x = s.wide, .ld = row, .rotary = s.rotary};
    if (const quire::status r = ac::rotate(rotate, on); !r) return r;
    const typename kernel::call call{.view = s.view, .shape = shape_of(c_), .layer = l, .plan = s.plan, .q = s.wide, .ldq = row, .out = s.h, .ldo = q,
                                     .staging = s.staging, .staged = s.staged, .scratch = s.scratch, .arrivals = s.arrivals};
    if (const quire::status r = kernel::launch(call, on); !r) return r;
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
