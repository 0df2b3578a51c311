// SPDX-License-Identifier: Apache-2.0
// The llama forward pass on a GPU over any cache layout that has device kernels: what model.hpp is on a CPU, and answers the same calls.
#pragma once

#include "device_plans.hpp"
#include "device_recordings.cuh"
#include "device_upload.cuh"
#include "device_waves.hpp"
#include "device_weights.cuh"
#include "quire/kv/packed_view.hpp"
#include "step_rows.hpp"

namespace quire_lm {

/// Choices that change speed; the last one rounding as well.
struct device_choices {
  bool record = true;   ///< decode steps like earlier ones are one launch; the memory's stream is not the default one then
  std::uint32_t shortest_prefix = quire::attention::shortest_prefix;   ///< pieces; not measured on a device
  std::uint32_t wide_rows = 0;   ///< steps with chunks and this many rows multiply weights and rows rounded to bf16 (device_wide.cuh); 0: none does
};

/// Runs a model on stores of layout L whose pages lie in `memory`. A step sends what is new in one copy, launches its kernels on the memory's
/// stream and waits for them once, at its end. Launches of a step of decodes are recorded when a step of its shape (step_shape) comes for the second time;
/// from then on they are one, and what differs from step to step stands in the copy. Owns weights, activations and scratch; borrows the memory, which outlives it.
/// One step at a time. A step has at most `max_rows` rows; their order and grouping change no bit of a row, but for steps of `wide_rows` and more.
template <quire::kv::Layout L, std::uint32_t Dim>
class device_model {
 public:
  using store_type = quire::kv::store<L>;
  using layers = device_layers<L, Dim>;

  /// throws: std::bad_alloc, std::runtime_error (the device refused). precondition: layers::supports(weights.config)
  device_model(const model_weights& weights, const L& layout, quire::tier::device_memory& memory, std::uint32_t max_rows, std::uint32_t max_sequences, std::uint32_t max_tokens, const device_choices& choices = {})
      : c_(weights.config), choices_(choices), memory_(memory), max_rows_(max_rows), rows_(max_rows, max_sequences, c_.vocabulary), layout_(layout), weights_(weights, memory), layers_(c_),
        plans_(layout, shape_of(c_), limits(max_rows, max_sequences, max_tokens, choices)), waves_(layout, shape_of(c_), limits(max_rows, max_sequences, max_tokens, choices)),
        upload_(upload_bytes(max_sequences, max_tokens), memory), flags_(2 * sizeof(std::uint32_t)) {
    if (choices.wide_rows != 0 && choices.wide_rows <= max_rows) wide_ = wide_products(products(), choices.wide_rows, max_rows, memory);
    const std::size_t n = quire::round_up(max_rows, wide_products::unit), widest = std::max({c_.width, c_.q_heads * c_.head_dim, c_.ffn}), qkv = (c_.q_heads + 2 * c_.kv_heads) * c_.head_dim;
    const quire::extents e = layout.extent();
    const quire::rope rotary{.dims = c_.rope_dims, .base = c_.rope_base, .factors = weights.rope_factors.empty() ? nullptr : weights.rope_factors.data()};
    std::vector<float> angles(std::size_t{max_tokens} * c_.rope_dims);
    quire::fill_rope(rotary, {0, max_tokens}, angles.data());
    const quire::attention::plan_view worst = plans_.worst();
    const std::size_t scratch = std::max({layers::decode_kernel::scratch_bytes(worst), layers::prefix_kernel::scratch_bytes(plans_.worst_with_prefixes()), layers::chunk_kernel::scratch_bytes(worst)});
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
    workspace_.clear(reinterpret_cast<std::byte*>(step_.x), static_cast<std::size_t>(reinterpret_cast<std::byte*>(logits_) - reinterpret_cast<std::byte*>(step_.x)));  // rounded steps have rows that nobody wrote
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
  std::size_t scratch_bytes() const noexcept { return workspace_bytes_ + wide_.bytes(); }
  /// Steps that were one launch.
  std::uint64_t replayed() const noexcept { return recordings_.replayed(); }
  /// Steps whose decodes folded a prefix together.
  std::uint64_t shared() const noexcept { return shared_; }

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
  static plan_limits limits(std::uint32_t rows, std::uint32_t sequences, std::uint32_t tokens, const device_choices& choices) {
    quire::device::machine m;
    require(quire::device::look(m));
    if (layers::shared_bytes() > m.shared_bytes)
      require({quire::errc::unsupported_shape, "shared memory of a block on this device", static_cast<std::int64_t>(m.shared_bytes), static_cast<std::int64_t>(layers::shared_bytes()), 1 << 20});
    return {.units = layers::decode_kernel::numbers.blocks * m.processors, .block_rows = {layers::decode_rows, layers::chunk_rows}, .rows = rows, .sequences = sequences, .tokens = tokens,
            .prefix_rows = layers::prefix_rows, .prefix_units = layers::prefix_kernel::numbers.blocks * m.processors, .shortest_prefix = choices.shortest_prefix};
  }
  /// Tokens, wanted rows, spans, staged tiles and those spans stand in, packed view, plans.
  std::size_t upload_bytes(std::uint32_t sequences, std::uint32_t tokens) const noexcept {
    const std::uint32_t waves = device_waves<L>::most(max_rows_);
    const std::size_t rows = std::size_t{max_rows_} * (sizeof(std::int32_t) + sizeof(std::uint32_t)), spans = sequences * (sizeof(quire::attention::query_span) + 3 * sizeof(std::uint32_t));
    return device_upload::room(rows + waves * spans + quire::kv::packed_view_bytes(layout_, sequences, tokens) + plans_.most_bytes() + waves_.most_bytes(), 3 + 4 * waves);
  }

  /// Of a layer; all layers have the same.
  std::array<wide_shape, 4> products() const noexcept {
    const device_layer& l = weights_.layers.front();
    const auto of = [](const quire::linear::matrix& m, quire::linear::store_mode mode) { return wide_shape{.outputs = m.rows, .inputs = m.cols, .mode = mode}; };
    using enum quire::linear::store_mode;
    return {of(l.qkv, assign), of(l.output, add), of(l.gate_up, assign), of(l.down, add)};
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
    plans_.order(store.view(), waves_.first(rows_.spans()));
    const bool decodes = plans_.only_decodes() && !waves_.more(rows_.spans());
    const bool alike = choices_.record && decodes && to.hidden == nullptr && !rows_.wanted().empty() && rows_.count() <= logit_rows;
    const step_shape shape = plans_.measure(rows_.count(), alike);
    step_.products = wide_.bytes() != 0 && !decodes ? &wide_ : nullptr;
    shared_ += shape.prefixes != 0;
    if (const quire::status s = send(store, shape); !s) return s;
    if (!alike) {
      if (const quire::status s = work(on); !s) return s;
      if (const quire::status s = fetch(wanted_, to, on); !s) return s;
    } else {
      if (const quire::status s = repeat(shape, on); !s) return s;
      if (const quire::status s = quire::device::copy(to.logits, logits_, rows_.wanted().size() * c_.vocabulary * sizeof(float), on); !s) return s;
    }
    return quire::device::copy(flags_.data(), step_.not_finite, 2 * sizeof(std::uint32_t), on);
  }

  /// What is new goes over. Places depend on the shape and on plans' rooms, which it gives; what has another length in every step comes last.
  quire::status send(store_type& store, const step_shape& shape) {
    upload_.begin();
    sequences_.clear();
    for (const auto& s : plans_.spans()) sequences_.push_back({s.sequence, waves_.end(rows_.spans(), s.sequence)});
    plans_.number();
    step_.rows = shape.rows;
    static_cast<device_wave&>(step_) = describe(plans_, shape.spans);
    tokens_ = upload_.put(rows_.tokens(), shape.rows);
    wanted_ = upload_.put(rows_.wanted(), shape.rows);
    const auto place = [this](std::size_t n) {
      const device_upload::place p = upload_.take(n);
      return std::pair(p.host, p.device);
    };
    if (const quire::status s = plans_.make(place); !s) return s;
    later_.clear(), later_plans_.clear();
    if (const quire::status s = waves_.each_later(store.view(), rows_.spans(), sequences_, [&](device_plans<L>& plans) {
          const step_shape own = plans.measure(rows_.count(), false);
          later_.push_back(describe(plans, own.spans)), later_plans_.push_back(&plans);
          return plans.make(place);
        }); !s)
      return s;
    step_.later = later_;
    std::size_t bytes = 0;
    for (const auto& s : sequences_) bytes += quire::kv::packed_view_bytes(layout_, 1, s.tokens);
    const device_upload::place view = upload_.take(bytes);
    if (const quire::status s = quire::kv::pack_view(store.view(), std::span<const quire::kv::packed_sequence>(sequences_), view.host, view.device, step_.view); !s) return s;
    step_.view.layout = device_layout_;
    return upload_.send();
  }

  /// From tokens to hidden states.
  quire::status work(quire::device::stream on) {
    if (const quire::status s = quire::device::clear(step_.not_finite, 2 * sizeof(std::uint32_t), on); !s) return s;
    const quire::linear::cuda::embed_call<float> embed{.weights = weights_.embedding, .tokens = tokens_, .n = step_.rows, .out = step_.x, .stride = c_.width, .outside = step_.not_finite + 1};
    if (const quire::status s = quire::linear::cuda::embed<float>(embed, on); !s) return s;
    for (std::uint32_t l = 0; l < c_.layers; ++l) {
      take_plans(step_, plans_, l);
      for (std::size_t w = 0; w < later_.size(); ++w) take_plans(later_[w], *later_plans_[w], l);
      if (const quire::status s = layers_.layer(weights_.layers[l], l, step_, on); !s) return s;
    }
    return {};
  }
  /// The same, and logits of as many wanted rows, for a step of decodes.
  quire::status repeat(const step_shape& shape, quire::device::stream on) {
    const auto all = [&] {
      if (const quire::status s = work(on); !s) return s;
      return logits_of(wanted_, shape.rows, on);
    };
    return recordings_.run({shape, step_.view}, on, all);
  }

  /// What kernels need of a wave's spans besides their plans, into the upload.
  /// `count`: of spans, those past the wave's have no rows.
  device_wave describe(const device_plans<L>& plans, std::uint32_t count) noexcept {
    device_wave w;
    w.spans = upload_.put(plans.spans(), count), w.span_count = count;
    w.staged = upload_.put(plans.staged(), count), w.mean_tiles = upload_.put(plans.stands(), count);
    if constexpr (L::overlays) w.score_rows = upload_.put(waves_.rows_before(plans.spans()), count);
    return w;
  }
  /// A wave's plans for one layer.
  static void take_plans(device_wave& w, const device_plans<L>& plans, std::uint32_t layer) noexcept {
    const std::uint32_t chunks = plans.first(span_part::chunk);
    w.decode = {plans.of(span_part::decode, layer), w.staged, w.mean_tiles, w.score_rows};
    w.chunk = {plans.of(span_part::chunk, layer), w.staged + chunks, w.mean_tiles + chunks, L::overlays ? w.score_rows + chunks : nullptr};
  }

  /// Logits of n wanted rows, at most logit_rows.
  quire::status logits_of(const std::uint32_t* wanted, std::uint32_t n, quire::device::stream on) {
    if (const quire::status s = layers_.finish(weights_.output_norm, step_, wanted, n, step_.h, on); !s) return s;
    const quire::linear::cuda::multiply_call<float> head{.weights = weights_.head, .x = step_.h, .x_stride = c_.width, .n = n, .y = logits_, .y_stride = c_.vocabulary};
    return quire::linear::cuda::multiply<float>(head, on);
  }
  /// The wanted rows to the host, some at a time.
  quire::status fetch(const std::uint32_t* wanted, target to, quire::device::stream on) {
    const auto all = static_cast<std::uint32_t>(rows_.wanted().size());
    for (std::uint32_t at = 0, n = 0; at < all; at += n) {
      n = std::min(logit_rows, all - at);
      if (to.hidden != nullptr) {
        if (const quire::status s = layers_.finish(weights_.output_norm, step_, wanted + at, n, step_.h, on); !s) return s;
        if (const quire::status s = quire::device::copy(to.hidden + std::size_t{at} * c_.width, step_.h, std::size_t{n} * c_.width * sizeof(float), on); !s) return s;
        continue;
      }
      if (const quire::status s = logits_of(wanted + at, n, on); !s) return s;
      if (const quire::status s = quire::device::copy(to.logits + std::size_t{at} * c_.vocabulary, logits_, std::size_t{n} * c_.vocabulary * sizeof(float), on); !s) return s;
    }
    return {};
  }

  /// What launches of a step have baked in: its shape, and where the store's pages and the step's records are.
  struct baked {
    step_shape shape;
    quire::kv::store_view<L> view;
    bool operator==(const baked& o) const noexcept {
      const auto &a = view, &b = o.view;
      return shape == o.shape && std::equal(std::begin(a.base), std::end(a.base), std::begin(b.base)) && a.overlay_base == b.overlay_base && a.sequences == b.sequences && a.seed == b.seed && a.params == b.params;
    }
  };

  model_config c_;
  device_choices choices_;
  quire::tier::device_memory& memory_;
  std::uint32_t max_rows_;
  step_rows<L> rows_;
  L layout_, device_layout_;   // the table of heads is the host's, and the device's
  device_weights weights_;
  wide_products wide_;
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
  const std::int32_t* tokens_ = nullptr;
  const std::uint32_t* wanted_ = nullptr;
  std::vector<quire::kv::packed_sequence> sequences_;
  std::vector<device_wave> later_;
  std::vector<const device_plans<L>*> later_plans_;
  device_recordings<baked> recordings_{16};
  std::uint64_t shared_ = 0;
};

}  // namespace quire_lm
