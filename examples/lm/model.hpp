// SPDX-License-Identifier: Apache-2.0
// The llama forward pass over any cache layout: one parallel region per step, every worker walks the same layers.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "quire/attention/cpu/attend.hpp"
#include "quire/kv/store.hpp"
#include "quire/linear/cpu/activations.hpp"
#include "quire/linear/cpu/elementwise.hpp"
#include "quire/linear/cpu/multiply.hpp"
#include "step_rows.hpp"
#include "weights.hpp"

namespace quire_lm {

/// Runs a llama-architecture model on stores of layout L. Owns activations and scratch, borrows weights and executor, which
/// must outlive it. One step at a time. A step has at most `max_rows` rows; their order and grouping change no bit.
template <quire::kv::Layout L, quire::Executor E>
class llama {
 public:
  using store_type = quire::kv::store<L>;

  /// throws: std::bad_alloc
  llama(const model_weights& weights, const L& layout, E& executor, std::uint32_t max_rows, std::uint32_t max_sequences, std::uint32_t max_tokens)
      : w_(weights),
        executor_(executor),
        max_rows_(max_rows),
        rows_(max_rows, max_sequences, weights.config.vocabulary),
        shape_(shape_of(weights.config)),
        attention_(layout, shape_, executor.workers(), max_rows, max_sequences, max_tokens),
        cohorts_(max_sequences) {
    const model_config& c = w_.config;
    const std::size_t n = max_rows;
    qkv_width_ = (c.q_heads + 2 * c.kv_heads) * c.head_dim;
    x_.resize(n * c.width);
    h_.resize(n * std::max<std::size_t>({c.width, c.q_heads * c.head_dim, c.ffn}));
    wide_.resize(n * std::max<std::size_t>(qkv_width_, 2 * c.ffn));
    rotary_ = {.dims = c.rope_dims, .base = c.rope_base, .factors = w_.rope_factors.empty() ? nullptr : w_.rope_factors.data()};
    angles_.resize(std::size_t{max_tokens} * c.rope_dims);
    quire::fill_rope(rotary_, {0, max_tokens}, angles_.data());
    const std::uint32_t cols = std::max({c.width, c.q_heads * c.head_dim, c.ffn});
    codes_.resize(quire::linear::cpu::activations::workspace_bytes(max_rows, (cols + 31) / 32 * 32) + 64);
  }

  std::uint32_t vocabulary() const noexcept { return w_.config.vocabulary; }
  std::uint32_t max_rows() const noexcept { return max_rows_; }
  std::uint32_t width() const noexcept { return w_.config.width; }
  const quire::attention::problem& shape() const noexcept { return shape_; }
  std::size_t scratch_bytes() const noexcept {
    return attention_.bytes() + codes_.size() + (x_.size() + h_.size() + wide_.size() + angles_.size()) * sizeof(float);
  }

  /// serve::Model: the last token of each input that wants logits.
  quire::status step(store_type& store, std::span<const quire::serve::model_input> inputs, float* logits) {
    if (quire::status s = rows_.begin(store, inputs); !s) return s;
    rows_.want_last(inputs);
    return forward(store, {.logits = logits});
  }
  /// Logits of the tokens of one input from the `from`-th on: [tokens − from][vocabulary].
  quire::status step_all(store_type& store, const quire::serve::model_input& input, std::uint32_t from, float* logits) {
    if (quire::status s = rows_.begin(store, {&input, 1}); !s) return s;
    rows_.want_from(from);
    return forward(store, {.logits = logits});
  }
  /// Their last hidden states instead, after the output norm: [tokens − from][width].
  quire::status step_hidden(store_type& store, const quire::serve::model_input& input, std::uint32_t from, float* hidden) {
    if (quire::status s = rows_.begin(store, {&input, 1}); !s) return s;
    rows_.want_from(from);
    return forward(store, {.hidden = hidden});
  }
  /// A step for the sake of what `sink` sees of its attention.
  template <quire::attention::ScoreSink Sink>
  quire::status step_watched(store_type& store, const quire::serve::model_input& input, const Sink& sink) {
    if (quire::status s = rows_.begin(store, {&input, 1}); !s) return s;
    return forward(store, {}, sink);
  }

 private:
  /// Where the wanted rows go: one of the two.
  struct target {
    float* logits = nullptr;
    float* hidden = nullptr;
  };

  template <quire::attention::ScoreSink Sink = quire::attention::null_sink>
  quire::status forward(store_type& store, target to, const Sink& sink = {}) {
    if (rows_.count() == 0) return {};
    const auto view = store.view();
    cohorts_.find(view, rows_.spans(), quire::attention::block_tokens(shape_));
    executor_.run([&](const quire::team& t) { work(t, view, to, sink); });
    return attention_.take_not_finite() ? rows_.not_finite(store) : quire::status{};
  }

  template <quire::attention::ScoreSink Sink>
  void work(const quire::team& t, const quire::kv::store_view<L>& view, target to, const Sink& sink) {
    namespace ln = quire::linear;
    namespace lc = quire::linear::cpu;
    const model_config& c = w_.config;
    const std::uint32_t rows = rows_.count();
    const quire::range mine = t.share(rows);
    const std::uint32_t q_width = c.q_heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
    const auto each_row = [&](auto&& f) {
      for (auto r = static_cast<std::uint32_t>(mine.begin); r < mine.end; ++r) f(r);
    };
    /// y = (or +=) W · rows of `in`, quantizing them first where W is quantized; starts after a barrier's worth of sync.
    const auto product = [&](const ln::matrix& m, const float* in, std::uint32_t n, float* y, std::size_t stride, lc::store_mode mode) {
      const lc::activations a{in, m.cols, n, m.cols, codes_.data() + (64 - reinterpret_cast<std::uintptr_t>(codes_.data()) % 64) % 64};
      if (m.type == ln::weight_type::q4_1 || m.type == ln::weight_type::q8_0) static_cast<void>(lc::quantize(a, t.share(n)));
      t.barrier();
      lc::multiply(t, m, a, y, stride, mode);
      t.barrier();
    };
    each_row([&](std::uint32_t r) {
      ln::row(w_.embedding, static_cast<std::uint32_t>(rows_.tokens()[r]), x_.data() + std::size_t{r} * c.width);
    });
    for (std::uint32_t l = 0; l < c.layers; ++l) {
      const layer_weights& w = w_.layers[l];
      each_row([&](std::uint32_t r) { lc::rms_norm(x_row(r), w.attention_norm.data(), c.width, c.norm_epsilon, h_.data() + std::size_t{r} * c.width); });
      product(w.qkv, h_.data(), rows, wide_.data(), qkv_width_, lc::store_mode::assign);
      each_row([&](std::uint32_t r) {
        float* q = wide_.data() + std::size_t{r} * qkv_width_;
        lc::apply_rope(rotary_, angles_.data() + std::size_t{rows_.positions()[r]} * c.rope_dims, q, c.q_heads + c.kv_heads, c.head_dim);
      });
      t.barrier();
      quire::attention::cpu::layer_call<L> call{view, shape_, l, rows_.spans()};
      call.q = wide_.data(), call.k = wide_.data() + q_width, call.v = wide_.data() + q_width + kv_width;
      call.ldq = call.ldkv = qkv_width_, call.out = h_.data(), call.ldo = q_width, call.cohorts = &cohorts_;
      quire::attention::cpu::attend(t, call, attention_, sink);
      product(w.output, h_.data(), rows, x_.data(), c.width, lc::store_mode::add);
      each_row([&](std::uint32_t r) { lc::rms_norm(x_row(r), w.ffn_norm.data(), c.width, c.norm_epsilon, h_.data() + std::size_t{r} * c.width); });
      product(w.gate_up, h_.data(), rows, wide_.data(), 2 * std::size_t{c.ffn}, lc::store_mode::assign);
      each_row([&](std::uint32_t r) {
        const float* gate = wide_.data() + std::size_t{r} * 2 * c.ffn;
        lc::silu_mul(gate, gate + c.ffn, c.ffn, h_.data() + std::size_t{r} * c.ffn);
      });
      product(w.down, h_.data(), rows, x_.data(), c.width, lc::store_mode::add);
    }
    const auto wanted = static_cast<std::uint32_t>(rows_.wanted().size());
    if (wanted == 0) return;
    const quire::range share = t.share(wanted);
    for (auto i = static_cast<std::uint32_t>(share.begin); i < share.end; ++i)
      lc::rms_norm(x_row(rows_.wanted()[i]), w_.output_norm.data(), c.width, c.norm_epsilon, (to.hidden ? to.hidden : h_.data()) + std::size_t{i} * c.width);
    if (to.logits) product(w_.head, h_.data(), wanted, to.logits, c.vocabulary, lc::store_mode::assign);
  }

  float* x_row(std::uint32_t r) noexcept { return x_.data() + std::size_t{r} * w_.config.width; }

  const model_weights& w_;
  E& executor_;
  std::uint32_t max_rows_, qkv_width_ = 0;
  step_rows<L> rows_;
  quire::attention::problem shape_;
  quire::attention::cpu::workspace<L> attention_;
  quire::attention::cohort_plan cohorts_;
  quire::rope rotary_;
  std::vector<float> x_, h_, wide_, angles_;   // [rows][width], [rows][widest input], [rows][qkv or gate and up], [max_tokens][rope_dims]
  std::vector<std::byte> codes_;
};

}  // namespace quire_lm
