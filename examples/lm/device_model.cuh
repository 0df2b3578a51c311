// SPDX-License-Identifier: Apache-2.0
// The llama forward pass on a GPU over any cache layout that has device kernels: what model.hpp is on a CPU, and answers the same calls.
#pragma once

#include "device_plans.hpp"
#include "device_upload.cuh"
#include "device_waves.hpp"
#include "device_weights.cuh"
#include "quire/kv/packed_view.hpp"
#include "step_rows.hpp"

namespace quire_lm {

/// Runs a model on stores of layout L whose pages lie in `memory`. A step sends what is new in one copy, launches its kernels on the memory's
/// stream and waits for them once, at its end. Owns weights, activations and scratch; borrows the memory, which outlives it.
/// One step at a time. A step has at most `max_rows` rows; their order and grouping change no bit of a row.
template <quire::kv::Layout L, std::uint32_t Dim>
class device_model {
 public:
  using store_type = quire::kv::store<L>;
  using layers = device_layers<L, Dim>;

  /// throws: std::bad_alloc, std::runtime_error (the device refused). precondition: layers::supports(weights.config)
  device_model(const model_weights& weights, const L& layout, quire::tier::device_memory& memory, std::uint32_t max_rows, std::uint32_t max_sequences, std::uint32_t max_tokens)
      : c_(weights.config), memory_(memory), max_rows_(max_rows), rows_(max_rows, max_sequences, c_.vocabulary), layout_(layout), weights_(weights, memory), layers_(c_),
        plans_(layout, shape_of(c_), limits(max_rows, max_sequences, max_tokens)), waves_(layout, shape_of(c_), limits(max_rows, max_sequences, max_tokens)), upload_(upload_bytes(max_sequences, max_tokens), memory), flags_(2 * sizeof(std::uint32_t)) {
    const std::size_t n = max_rows, widest = std::max({c_.width, c_.q_heads * c_.head_dim, c_.ffn}), qkv = (c_.q_heads + 2 * c_.kv_heads) * c_.head_dim;
    const quire::extents e = layout.extent();
    const quire::rope rotary{.dims = c_.rope_dims, .base = c_.rope_base, .factors = weights.rope_factors.empty() ? nullptr : weights.rope_factors.data()};
    std::vector<float> angles(std::size_t{max_tokens} * c_.rope_dims);
    quire::fill_rope(rotary, {0, max_tokens}, angles.data());
    const quire::attention::plan_view worst = plans_.worst();
    const std::size_t scratch = std::max(layers::decode_kernel::scratch_bytes(worst), layers::chunk_kernel::scratch_bytes(worst));
    const std::size_t staging = (quire::tiles_touched(max_rows) + max_sequences) * e.kv_heads * layout.raw().piece_bytes(e.head_dim);
    const std::size_t means = L::compensates ? staging + std::size_t{max_sequences} * e.kv_heads * layout.raw().piece_bytes(e.head_dim) : 0;
    const std::uint32_t score_tiles = 1 + layout.overlay_tiles(max_tokens), score_rows = std::min(max_rows, max_sequences * quire::tile_tokens);
    std::byte* scores = nullptr;
    for (int pass = 0; pass < 2; ++pass) {  // first how large all is
      std::size_t at = 0;
      const auto take = [&]<class T>(T*& to, std::size_t count) {
        if (pass == 1) to = reinterpret_cast<T*>(workspace_.data() + at);
        at += quire::round_up(count * sizeof(T), 256);
      };
      take(step_.x, n * c_.width), take(step_.h, n * widest), take(step_.wide, n * std::max<std::size_t>(qkv, 2 * c_.ffn));
      take(logits_, std::size_t{logit_rows} * c_.vocabulary), take(angles_, angles.size());
      take(step_.staging, staging), take(step_.means, means), take(step_.scratch, scratch), take(step_.arrivals, plans_.most_items());
      take(step_.not_finite, 2), take(slots_, e.heads());
      if (L::overlays) take(scores, quire::attention::cuda::score_rows::bytes(score_rows, c_.q_heads, score_tiles));
      if (pass == 0) workspace_ = quire::tier::arena(workspace_bytes_ = at, &memory);
    }
    if (L::overlays) step_.scores = quire::attention::cuda::score_rows::in(scores, score_rows, c_.q_heads, score_tiles);
    workspace_.clear(step_.means, means);
    workspace_.clear(step_.staging, staging);  // columns past a chunk's end are multiplied by zero: keep them finite
    workspace_.clear(reinterpret_cast<std::byte*>(step_.arrivals), plans_.most_items() * sizeof(std::uint32_t));
    require(workspace_.write(reinterpret_cast<std::byte*>(angles_), std::as_bytes(std::span(angles))));
    if constexpr (requires { layout.slots(); }) {
      require(workspace_.write(reinterpret_cast<std::byte*>(slots_), std::as_bytes(std::span(layout.slots(), e.heads()))));
      device_layout_ = layout.with_slots(slots_);
    } else {
      device_layout_ = layout;
    }
    step_.rotary = {.table = angles_, .dims = c_.rope_dims, .style = rotary.style};
    sequences_.reserve(max_sequences);
    later_.reserve(device_waves<L>::most(max_rows)), later_plans_.reserve(device_waves<L>::most(max_rows));
    require(memory.failure());
  }

  std::uint32_t vocabulary() const noexcept { return c_.vocabulary; }
  std::uint32_t max_rows() const noexcept { return max_rows_; }
  std::uint32_t width() const noexcept { return c_.width; }
  /// On the device, weights not counted.
  std::size_t scratch_bytes() const noexcept { return workspace_bytes_; }

  /// serve::Model: the last token of each input that wants logits.
  quire::status step(store_type& store, std::span<const quire::serve::model_input> inputs, float* logits) {
    if (const quire::status s = rows_.begin(store, inputs); !s) return s;
    rows_.want_last(inputs);
    return forward(store, {.logits = logits});
  }
  /// Logits of the tokens of one input from the `from`-th on: [tokens − from][vocabulary].
  quire::status step_all(store_type& store, const quire::serve::model_input& input, std::uint32_t from, float* logits) {
    if (const quire::status s = rows_.begin(store, {&input, 1}); !s) return s;
    rows_.want_from(from);
    return forward(store, {.logits = logits});
  }
  /// Their last hidden states instead, after the output norm: [tokens − from][width].
  quire::status step_hidden(store_type& store, const quire::serve::model_input& input, std::uint32_t from, float* hidden) {
    if (const quire::status s = rows_.begin(store, {&input, 1}); !s) return s;
    rows_.want_from(from);
    return forward(store, {.hidden = hidden});
  }

 private:
  static constexpr std::uint32_t logit_rows = 64;   ///< of which logits are on the device at a time

  struct target {
    float* logits = nullptr;
    float* hidden = nullptr;
  };
  static void require(const quire::status& s) {
    if (!s) throw std::runtime_error(quire::describe(s));
  }
  static plan_limits limits(std::uint32_t rows, std::uint32_t sequences, std::uint32_t tokens) {
    quire::device::machine m;
    require(quire::device::look(m));
    if (layers::shared_bytes() > m.shared_bytes)
      require({quire::errc::unsupported_shape, "shared memory of a block on this device", static_cast<std::int64_t>(m.shared_bytes), static_cast<std::int64_t>(layers::shared_bytes()), 1 << 20});
    return {.units = layers::decode_kernel::numbers.blocks * m.processors, .block_rows = {layers::decode_rows, layers::chunk_rows}, .rows = rows, .sequences = sequences, .tokens = tokens};
  }
  /// Tokens, wanted rows, spans, staged tiles and those spans stand in, packed view, plans.
  std::size_t upload_bytes(std::uint32_t sequences, std::uint32_t tokens) const noexcept {
    const std::uint32_t waves = device_waves<L>::most(max_rows_);
    const std::size_t rows = std::size_t{max_rows_} * (sizeof(std::int32_t) + sizeof(std::uint32_t)), spans = sequences * (sizeof(quire::attention::query_span) + 3 * sizeof(std::uint32_t));
    return device_upload::room(rows + waves * spans + quire::kv::packed_view_bytes(layout_, sequences, tokens) + plans_.most_bytes() + waves_.most_bytes(), 3 + 4 * waves);
  }

  quire::status forward(store_type& store, target to) {
    if (rows_.count() == 0) return {};
    QUIRE_ASSERT(store.options().memory == &memory_, "quire_lm::device_model: the store's pages lie in another memory");
    std::uint32_t flags[2] = {};
    const quire::status sent = enqueue(store, to), done = quire::device::wait(memory_.on());  // whatever was started must end: it reads what the next step writes
    if (sent && done) std::memcpy(flags, flags_.data(), sizeof flags);
    else workspace_.clear(reinterpret_cast<std::byte*>(step_.arrivals), plans_.most_items() * sizeof(std::uint32_t));  // a launch that did not end leaves counts
    if (!sent) return sent;
    if (!done) return done;
    if (!memory_.failure()) return memory_.failure();
    return flags[0] != 0 ? rows_.not_finite(store) : quire::status{};
  }

  /// Everything of a step up to its last copy.
  quire::status enqueue(store_type& store, target to) {
    const quire::device::stream on = memory_.on();
    upload_.begin();
    plans_.order(waves_.first(rows_.spans()));
    sequences_.clear();
    for (const auto& s : plans_.spans()) sequences_.push_back({s.sequence, waves_.end(rows_.spans(), s.sequence)});
    std::size_t bytes = 0;
    for (const auto& s : sequences_) bytes += quire::kv::packed_view_bytes(layout_, 1, s.tokens);
    const device_upload::place view = upload_.take(bytes);
    if (const quire::status s = quire::kv::pack_view(store.view(), std::span<const quire::kv::packed_sequence>(sequences_), view.host, view.device, step_.view); !s) return s;
    step_.view.layout = device_layout_;
    plans_.number();
    static_cast<device_wave&>(step_) = describe(plans_);
    const std::int32_t* const tokens = upload_.put(rows_.tokens());
    const std::uint32_t* const wanted = upload_.put(rows_.wanted());
    const auto place = [this](std::size_t n) {
      const device_upload::place p = upload_.take(n);
      return std::pair(p.host, p.device);
    };
    if (const quire::status s = plans_.make(place); !s) return s;
    later_.clear(), later_plans_.clear();
    if (const quire::status s = waves_.each_later(rows_.spans(), sequences_, [&](device_plans<L>& plans) {
          later_.push_back(describe(plans)), later_plans_.push_back(&plans);
          return plans.make(place);
        }); !s)
      return s;
    step_.later = later_;
    if (const quire::status s = upload_.send(); !s) return s;

    step_.rows = rows_.count();
    if (const quire::status s = quire::device::clear(step_.not_finite, 2 * sizeof(std::uint32_t), on); !s) return s;
    const quire::linear::cuda::embed_call<float> embed{.weights = weights_.embedding, .tokens = tokens, .n = step_.rows, .out = step_.x, .stride = c_.width, .outside = step_.not_finite + 1};
    if (const quire::status s = quire::linear::cuda::embed<float>(embed, on); !s) return s;
    for (std::uint32_t l = 0; l < c_.layers; ++l) {
      take_plans(step_, plans_, l);
      for (std::size_t w = 0; w < later_.size(); ++w) take_plans(later_[w], *later_plans_[w], l);
      if (const quire::status s = layers_.layer(weights_.layers[l], l, step_, on); !s) return s;
    }
    if (const quire::status s = fetch(wanted, to, on); !s) return s;
    return quire::device::copy(flags_.data(), step_.not_finite, 2 * sizeof(std::uint32_t), on);
  }

  /// What kernels need of a wave's spans besides their plans, into the upload.
  device_wave describe(const device_plans<L>& plans) noexcept {
    device_wave w;
    w.spans = upload_.put(plans.spans()), w.span_count = static_cast<std::uint32_t>(plans.spans().size());
    w.staged = upload_.put(plans.staged()), w.mean_tiles = upload_.put(plans.stands());
    if constexpr (L::overlays) w.score_rows = upload_.put(waves_.rows_before(plans.spans()));
    return w;
  }
  /// A wave's plans for one layer.
  static void take_plans(device_wave& w, const device_plans<L>& plans, std::uint32_t layer) noexcept {
    const std::uint32_t chunks = plans.first(span_part::chunk);
    w.decode = {plans.of(span_part::decode, layer), w.staged, w.mean_tiles, w.score_rows};
    w.chunk = {plans.of(span_part::chunk, layer), w.staged + chunks, w.mean_tiles + chunks, L::overlays ? w.score_rows + chunks : nullptr};
  }

  /// The wanted rows to the host, some at a time.
  quire::status fetch(const std::uint32_t* wanted, target to, quire::device::stream on) {
    const auto all = static_cast<std::uint32_t>(rows_.wanted().size());
    for (std::uint32_t at = 0, n = 0; at < all; at += n) {
      n = std::min(logit_rows, all - at);
      if (const quire::status s = layers_.finish(weights_.output_norm, step_, wanted + at, n, step_.h, on); !s) return s;
      if (to.hidden != nullptr)
        if (const quire::status s = quire::device::copy(to.hidden + std::size_t{at} * c_.width, step_.h, std::size_t{n} * c_.width * sizeof(float), on); !s) return s;
      if (to.logits == nullptr) continue;
      const quire::linear::cuda::multiply_call<float> head{.weights = weights_.head, .x = step_.h, .x_stride = c_.width, .n = n, .y = logits_, .y_stride = c_.vocabulary};
      if (const quire::status s = quire::linear::cuda::multiply<float>(head, on); !s) return s;
      if (const quire::status s = quire::device::copy(to.logits + std::size_t{at} * c_.vocabulary, logits_, std::size_t{n} * c_.vocabulary * sizeof(float), on); !s) return s;
    }
    return {};
  }

  model_config c_;
  quire::tier::device_memory& memory_;
  std::uint32_t max_rows_;
  step_rows<L> rows_;
  L layout_, device_layout_;   // the table of heads is the host's, and the device's
  device_weights weights_;
  layers layers_;
  device_plans<L> plans_;
  device_waves<L> waves_;
  device_upload upload_;
  quire::tier::pinned_bytes flags_;   // a row was not finite, a token outside of the vocabulary
  quire::tier::arena workspace_;
  std::size_t workspace_bytes_ = 0;
  device_step<L> step_;
  float *logits_ = nullptr, *angles_ = nullptr;
  quire::kv::head_slot* slots_ = nullptr;
  std::vector<quire::kv::packed_sequence> sequences_;
  std::vector<device_wave> later_;
  std::vector<const device_plans<L>*> later_plans_;
};

}  // namespace quire_lm
