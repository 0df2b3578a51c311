// SPDX-License-Identifier: Apache-2.0
// The backend of one layout on the CPU. Compiled once per instruction set and layout, in the units of caches/.
#pragma once

#include <cstring>

#include "bench/bandwidth.hpp"
#include "model.hpp"
#include "store_backend.hpp"

namespace quire_lm {
namespace {

struct own_threads {
  thread_executor executor;
};

/// A llama with its threads.
template <kv::Layout L>
class cpu_model : own_threads, public llama<L, thread_executor> {
 public:
  using base = llama<L, thread_executor>;
  cpu_model(const model_weights& w, const L& layout, const backend_options& o) : own_threads{thread_executor(o.threads)}, base(w, layout, executor, o.max_rows, o.sequences, o.max_tokens) {}

  tier::memory* memory() const noexcept { return nullptr; }
  using link_type = tier::copy_thread;
  static std::unique_ptr<link_type> link(std::span<const tier::pool_ref> pools) { return std::make_unique<link_type>(pools); }
  status probe(kv::store<L>& store, const serve::model_input& input, calibrate::repeat_scores& to) {
    if constexpr (std::is_same_v<L, kv::paged<kv::raw_bf16>> || std::is_same_v<L, kv::paged<kv::raw_f32, kv::raw_f32>>)
      return base::step_watched(store, input, calibrate::repeat_scores::sink(to));
    return {errc::unsupported_shape, "cache of a probe (f32 and bf16 alone)", static_cast<std::int64_t>(to.shape().layers)};
  }
  double read_bandwidth() {
    if (!buffer_) {
      buffer_ = std::make_unique<quire_bench::big_buffer>(std::size_t{256} << 20);
      std::memset(buffer_->data(), 1, buffer_->size());  // untouched memory is one page of zeros, which caches hold
    }
    std::vector<double> passes;
    for (int i = 0; i < 3; ++i) passes.push_back(quire_bench::read_bandwidth(executor, buffer_->data(), buffer_->size()));
    return quire_bench::median(passes);
  }

 private:
  std::unique_ptr<quire_bench::big_buffer> buffer_;
};

template <kv::Layout L>
std::unique_ptr<backend> on_cpu(const L& layout, std::unique_ptr<kv::head_classes> classes, const model_weights& w, const backend_options& o) {
  return std::make_unique<store_backend<L, cpu_model<L>>>(std::make_unique<cpu_model<L>>(w, layout, o), layout, std::move(classes), o);
}

}  // namespace

/// The families of caches; null for a name that is not theirs. fails: bad_input, std::bad_alloc
std::unique_ptr<backend> make_plain(const cache_spec& c, const model_weights& w, const backend_options& o);
std::unique_ptr<backend> make_split(const cache_spec& c, const model_weights& w, const backend_options& o);
std::unique_ptr<backend> make_scored(const cache_spec& c, const model_weights& w, const backend_options& o);

}  // namespace quire_lm
