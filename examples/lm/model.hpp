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
#include "quire/serve/model.hpp"
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
    tokens_.reserve(n), positions_.reserve(n), logit_rows_.reserve(n), spans_.reserve(max_sequences), damaged_.resize(max_sequences);
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
    if (quire::status s = begin(store, inputs); !s) return s;
    std::uint32_t row = 0;
    for (const auto& in : inputs) {
      row += static_cast<std::uint32_t>(in.tokens.size());
      if (in.wants_logits) logit_rows_.push_back(row - 1);
    }
    return forward(store, {.logits = logits});
  }
  /// Logits of the tokens of one input from the `from`-th on: [tokens − from][vocabulary].
  quire::status step_all(store_type& store, const quire::serve::model_input& input, std::uint32_t from, float* logits) {
    if (quire::status s = begin(store, {&input, 1}); !s) return s;
    for (std::uint32_t r = from; r < input.tokens.size(); ++r) logit_rows_.push_back(r);
    return forward(store, {.logits = logits});
  }
  /// Their last hidden states instead, after the output norm: [tokens − from][width].
  quire::status step_hidden(store_type& store, const quire::serve::model_input& input, std::uint32_t from, float* hidden) {
    if (quire::status s = begin(store, {&input, 1}); !s) return s;
    for (std::uint32_t r = from; r < input.tokens.size(); ++r) logit_rows_.push_back(r);
    return forward(store, {.hidden = hidden});
  }
  /// A step for the sake of what `sink` sees of its attention.
  template <quire::attention::ScoreSink Sink>
  quire::status step_watched(store_type& store, const quire::serve::model_input& input, const Sink& sink) {
    if (quire::status s = begin(store, {&input, 1}); !s) return s;
    return forward(store, {}, sink);
  }

 private:
  static quire::attention::problem shape_of(const model_config& c) {
    return {.q_heads = c.q_heads, .kv_heads = c.kv_heads, .dim_k = c.head_dim, .dim_v = c.head_dim,
            .rotary = {.dims = c.rope_dims, .base = c.rope_base}};
  }

  /// Checks the inputs and lists their rows.
  quire::status begin(const store_type& store, std::span<const quire::serve::model_input> inputs) {
    using quire::errc;
    tokens_.clear(), positions_.clear(), spans_.clear(), logit_rows_.clear();
    for (const auto& in : inputs) {
      if (tokens_.size() + in.tokens.size() > max_rows_)
        return {errc::out_of_range, "rows of a step", static_cast<std::int64_t>(tokens_.size() + in.tokens.size()), 1, max_rows_};
      if (!store.known(in.sequence) || in.sequence >= damaged_.size()) return {errc::unknown_sequence, "sequence of an input", in.sequence};
      if (store.length(in.sequence) != in.position)
        return {errc::out_of_range, "position of an input", in.position, store.length(in.sequence), store.length(in.sequence)};
      if (in.position == 0) damaged_[in.sequence] = false;
      if (damaged_[in.sequence]) return {errc::corrupt, "sequence whose last step failed inside a tile (close it)", in.sequence};
      const auto rows = static_cast<std::uint32_t>(in.tokens.size());
      spans_.push_back({in.sequence, in.position, rows, static_cast<std::uint32_t>(tokens_.size()), store.whole_until(in.sequence)});
      for (std::uint32_t i = 0; i < rows; ++i) {
        if (in.tokens[i] < 0 || static_cast<std::uint32_t>(in.tokens[i]) >= vocabulary())
          return {errc::out_of_range, "token", in.tokens[i], 0, std::int64_t{vocabulary()} - 1};
        tokens_.push_back(in.tokens[i]);
        positions_.push_back(in.position + i);
      }
    }
    return {};
  }

  /// Where the rows of `logit_rows_` go: one of the two.
  struct target {
    float* logits = nullptr;
    float* hidden = nullptr;
  };

  template <quire::attention::ScoreSink Sink = quire::attention::null_sink>
  quire::status forward(store_type& store, target to, const Sink& sink = {}) {
    if (tokens_.empty()) return {};
    const auto view = store.view();
    cohorts_.find(view, spans_, quire::attention::block_tokens(shape_));
    executor_.run([&](const quire::team& t) { work(t, view, to, sink); });
    if (!attention_.take_not_finite()) return {};
    constexpr bool remembers = L::stepwise || quire::kv::balances<typename L::sealed_pair>;
    for (const auto& s : spans_) {  // what moved on will not be committed: a tail in the next tile, scores, sums
      if (s.first == 0) static_cast<void>(store.truncate(s.sequence, 0));
      else if (remembers || (s.first % quire::tile_tokens != 0 && (s.first + s.count - 1) / quire::tile_tokens != s.first / quire::tile_tokens)) damaged_[s.sequence] = true;
    }
    return {quire::errc::not_finite, "key or value row"};
  }

  template <quire::attention::ScoreSink Sink>
  void work(const quire::team& t, const quire::kv::store_view<L>& view, target to, const Sink& sink) {
    namespace ln = quire::linear;
    namespace lc = quire::linear::cpu;
    const model_config& c = w_.config;
    const auto rows = static_cast<std::uint32_t>(tokens_.size());
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
      ln::row(w_.embedding, static_cast<std::uint32_t>(tokens_[r]), x_.data() + std::size_t{r} * c.width);
    });
    for (std::uint32_t l = 0; l < c.layers; ++l) {
      const layer_weights& w = w_.layers[l];
      each_row([&](std::uint32_t r) { lc::rms_norm(x_row(r), w.attention_norm.data(), c.width, c.norm_epsilon, h_.data() + std::size_t{r} * c.width); });
      product(w.qkv, h_.data(), rows, wide_.data(), qkv_width_, lc::store_mode::assign);
      each_row([&](std::uint32_t r) {
        float* q = wide_.data() + std::size_t{r} * qkv_width_;
        lc::apply_rope(rotary_, angles_.data() + std::size_t{positions_[r]} * c.rope_dims, q, c.q_heads + c.kv_heads, c.head_dim);
      });
      t.barrier();
      quire::attention::cpu::layer_call<L> call{view, shape_, l, spans_};
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
    const auto wanted = static_cast<std::uint32_t>(logit_rows_.size());
    if (wanted == 0) return;
    const quire::range share = t.share(wanted);
    for (auto i = static_cast<std::uint32_t>(share.begin); i < share.end; ++i)
      lc::rms_norm(x_row(logit_rows_[i]), w_.output_norm.data(), c.width, c.norm_epsilon, (to.hidden ? to.hidden : h_.data()) + std::size_t{i} * c.width);
    if (to.logits) product(w_.head, h_.data(), wanted, to.logits, c.vocabulary, lc::store_mode::assign);
  }

  float* x_row(std::uint32_t r) noexcept { return x_.data() + std::size_t{r} * w_.config.width; }

  const model_weights& w_;
  E& executor_;
  std::uint32_t max_rows_, qkv_width_ = 0;
  quire::attention::problem shape_;
  quire::attention::cpu::workspace<L> attention_;
  quire::attention::cohort_plan cohorts_;
  quire::rope rotary_;
  std::vector<float> x_, h_, wide_, angles_;   // [rows][width], [rows][widest input], [rows][qkv or gate and up], [max_tokens][rope_dims]
  std::vector<std::byte> codes_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::uint32_t> positions_, logit_rows_;
  std::vector<quire::attention::query_span> spans_;
  std::vector<bool> damaged_;                  // by sequence
};

}  // namespace quire_lm
