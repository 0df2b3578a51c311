// SPDX-License-Identifier: Apache-2.0
// What a unit of caches/cuda/ instantiates for its layout.
#pragma once

#include "device_caches.hpp"
#include "device_model.cuh"
#include "quire/tier/cuda/stream_link.cuh"

namespace quire_lm {

template <quire::kv::Layout L, std::uint32_t Dim>
class gpu_model_of final : public gpu_model<L> {
 public:
  using store = quire::kv::store<L>;
  using input = quire::serve::model_input;

  gpu_model_of(const model_weights& w, const L& layout, const backend_options& o) : model_(w, layout, memory_, o.max_rows, o.sequences, o.max_tokens, {.wide_rows = o.wide_rows}) {}

  quire::tier::memory* memory() noexcept override { return &memory_; }
  std::unique_ptr<device_link> link(std::span<const quire::tier::pool_ref> pools) override { return std::make_unique<link_of>(pools, memory_.on()); }
  std::uint32_t vocabulary() const noexcept override { return model_.vocabulary(); }
  std::uint32_t max_rows() const noexcept override { return model_.max_rows(); }
  std::uint32_t width() const noexcept override { return model_.width(); }
  std::size_t scratch_bytes() const noexcept override { return model_.scratch_bytes(); }
  quire::status step(store& s, std::span<const input> inputs, float* logits) override { return model_.step(s, inputs, logits); }
  quire::status step_all(store& s, const input& in, std::uint32_t from, float* logits) override { return model_.step_all(s, in, from, logits); }
  quire::status step_hidden(store& s, const input& in, std::uint32_t from, float* hidden) override { return model_.step_hidden(s, in, from, hidden); }
  double read_bandwidth() override { return device_read_bandwidth(memory_); }

  static std::unique_ptr<gpu_model<L>> made(const model_weights& w, const L& layout, const backend_options& o) {
    if (const quire::status s = device_layers<L, Dim>::supports(w.config); !s) throw bad_input("the model can't run with --device cuda: " + quire::describe(s));
    return std::make_unique<gpu_model_of>(w, layout, o);
  }

 private:
  class link_of final : public device_link {
   public:
    link_of(std::span<const quire::tier::pool_ref> pools, quire::device::stream on) : link_(pools, static_cast<std::uint32_t>(pools.size() / 2), on) {}
    bool start(std::uint32_t id, const quire::tier::copy& c, double now) noexcept override { return link_.start(id, c, now); }
    std::optional<quire::tier::landing> poll(double now) noexcept override { return link_.poll(now); }
    double wait(double now) noexcept override { return link_.wait(now); }

   private:
    quire::tier::stream_link link_;
  };
  static quire::device::own_stream opened() {
    quire::device::own_stream s;
    if (const quire::status opened = s.open(); !opened) throw std::runtime_error(quire::describe(opened));
    return s;
  }
  quire::device::own_stream stream_ = opened();   // the default one can't be recorded
  quire::tier::device_memory memory_{stream_.get()};
  device_model<L, Dim> model_;
};

template <class L>
std::unique_ptr<gpu_model<L>> make_gpu_model(const model_weights& w, const L& layout, const backend_options& o) {
  if (w.config.head_dim == 64) return gpu_model_of<L, 64>::made(w, layout, o);
  if (w.config.head_dim == 128) return gpu_model_of<L, 128>::made(w, layout, o);
  throw bad_input("head size is " + std::to_string(w.config.head_dim) + ", allowed with --device cuda 64 or 128");
}

}  // namespace quire_lm
