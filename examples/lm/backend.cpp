// SPDX-License-Identifier: Apache-2.0
// Compiled once per instruction set; QUIRE_LM_ENTRY is the one symbol that leaves the shared object.
#include "backend.hpp"

#include <cstring>
#include <vector>

#include "bench/bandwidth.hpp"
#include "model.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"

namespace quire_lm {
namespace {

using namespace quire;

template <kv::Layout L>
class backend_for final : public backend {
 public:
  backend_for(const model_weights& weights, const L& layout, std::unique_ptr<kv::head_classes> classes, const backend_options& o)
      : classes_(std::move(classes)),
        executor_(o.threads),
        store_(layout, store_options(layout, o)),
        model_(weights, layout, executor_, o.max_rows, o.sequences, o.max_tokens) {}

  status open(std::uint32_t& s) override { return store_.open(s); }
  status reserve(std::uint32_t s, std::uint32_t n) override { return store_.reserve(s, n); }
  status commit(std::uint32_t s, std::uint32_t n) override { return store_.commit(s, n); }
  status fork(std::uint32_t from, std::uint32_t& to) override { return store_.fork(from, to); }
  status truncate(std::uint32_t s, std::uint32_t n) override { return store_.truncate(s, n); }
  void close(std::uint32_t s) override { store_.close(s); }
  std::uint32_t length(std::uint32_t s) const override { return store_.length(s); }
  bool check() const override { return store_.check(); }
  std::uint32_t vocabulary() const override { return model_.vocabulary(); }
  std::uint32_t max_rows() const override { return model_.max_rows(); }
  status step(backend& store, std::span<const serve::model_input> inputs, float* logits) override {
    if (&store != this) return {errc::out_of_range, "store (a backend computes on its own)"};
    return model_.step(store_, inputs, logits);
  }
  status step_all(const serve::model_input& input, std::uint32_t from, float* logits) override {
    return model_.step_all(store_, input, from, logits);
  }
  std::size_t bytes(std::uint32_t s) const override { return store_.bytes(s); }
  std::size_t formula_bytes(std::uint32_t n) const override { return kv::sequence_bytes(store_.layout(), n); }
  double bytes_per_token() const override { return kv::bytes_per_token(store_.layout()); }
  std::size_t scratch_bytes() const override { return model_.scratch_bytes(); }
  double read_bandwidth() override {
    if (!buffer_) {
      buffer_ = std::make_unique<quire_bench::big_buffer>(std::size_t{256} << 20);
      std::memset(buffer_->data(), 1, buffer_->size());  // untouched memory is one page of zeros, which caches hold
    }
    std::vector<double> passes;
    for (int i = 0; i < 3; ++i) passes.push_back(quire_bench::read_bandwidth(executor_, buffer_->data(), buffer_->size()));
    return quire_bench::median(passes);
  }

 private:
  static kv::store_options<L> store_options(const L& layout, const backend_options& o) {
    kv::store_options<L> s = kv::pages_for(layout, o.sequences, o.max_tokens, o.max_rows);
    if (o.total_tokens != 0)
      for (std::uint32_t& pages : s.pages) pages = std::min<std::uint32_t>(pages, tiles_touched(static_cast<std::uint32_t>(o.total_tokens)));
    return s;
  }
  std::unique_ptr<kv::head_classes> classes_;
  thread_executor executor_;
  kv::store<L> store_;
  llama<L, thread_executor> model_;
  std::unique_ptr<quire_bench::big_buffer> buffer_;
};

template <class Sealed, class Raw = kv::raw_bf16>
std::unique_ptr<backend> paged(const model_weights& w, const backend_options& o) {
  using L = kv::paged<Sealed, Raw>;
  return std::make_unique<backend_for<L>>(w, L(w.config.cache_extents()), nullptr, o);
}

/// Static choice: every other (layer, head) streams.
template <class Sealed>
std::unique_ptr<backend> split(const model_weights& w, const backend_options& o) {
  using L = kv::head_split<Sealed, kv::raw_bf16>;
  const extents e = w.config.cache_extents();
  std::vector<std::uint8_t> retrieval(e.heads());
  for (std::uint32_t h = 0; h < e.heads(); ++h) retrieval[h] = h % 2 == 0;
  auto classes = std::make_unique<kv::head_classes>(e, retrieval);
  const L layout(e, *classes, {.sinks = 64, .window = 256});
  return std::make_unique<backend_for<L>>(w, layout, std::move(classes), o);
}

using kv::codec_pair;
using kv::hadamard;
using kv::integer;
using int8_token = codec_pair<integer<8, kv::group::column>, integer<8, kv::group::row>>;
using int4_token = codec_pair<integer<4, kv::group::column>, integer<4, kv::group::row>>;
using int4_channel = codec_pair<integer<4, kv::group::row>, integer<4, kv::group::row>>;
using int4_hadamard = codec_pair<hadamard<integer<4, kv::group::column>>, hadamard<integer<4, kv::group::row>>>;

}  // namespace

/// fails: bad_input (unknown cache), std::bad_alloc
__attribute__((visibility("default"))) std::unique_ptr<backend> QUIRE_LM_ENTRY(const model_weights& w, const backend_options& o) {
  if (o.kv == "f32") return paged<kv::raw_f32, kv::raw_f32>(w, o);
  if (o.kv == "bf16") return paged<kv::raw_bf16>(w, o);
  if (o.kv == "int8") return paged<int8_token>(w, o);
  if (o.kv == "int4") return paged<int4_token>(w, o);
  if (o.kv == "int4-channel") return paged<int4_channel>(w, o);
  if (o.kv == "int4-hadamard") return paged<int4_hadamard>(w, o);
  if (o.kv == "split") return split<kv::raw_bf16>(w, o);
  if (o.kv == "split-int4") return split<int4_hadamard>(w, o);
  std::string known;
  for (const cache_name& c : cache_names) known += (known.empty() ? "" : ", ") + std::string(c.name);
  throw bad_input("kv is " + quoted(o.kv) + ", allowed " + known);
}

}  // namespace quire_lm
