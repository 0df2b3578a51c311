// SPDX-License-Identifier: Apache-2.0
// The backend of one layout, whatever computes: a store, what it keeps beyond its sequences, and a model.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "backend.hpp"
#include "error.hpp"
#include "quire/kv/image.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/serve/kept_store.hpp"

namespace quire_lm {

using namespace quire;

/// `Model` answers the calls of llama (model.hpp) and probe, read_bandwidth and memory(), where its store's pages lie (null: the host's).
template <kv::Layout L, class Model>
class store_backend final : public backend {
 public:
  store_backend(std::unique_ptr<Model> model, const L& layout, std::unique_ptr<kv::head_classes> classes, const backend_options& o)
      : whole_prompts_(o.whole_prompts),
        classes_(std::move(classes)),
        model_(std::move(model)),
        store_(layout, store_options(layout, o, model_->memory())),
        kept_(store_, {.prefix_tiles = tiles_filled(static_cast<std::uint32_t>(o.remembered_tokens)), .space = kv::prefix_space(layout, 1), .away = o.away, .reuse = o.reuse,
                       .spill = std::string(o.spill), .transfers = {.copy_bytes = o.page_copies ? 0 : tier::transfer_options{}.copy_bytes}}) {
    inputs_.reserve(o.max_rows);
    if (std::uint32_t any = 0; whole_prompts_ && store_.open(any)) {
      const status can = store_.read_whole_until(any, 0);
      store_.close(any);
      if (!can) throw bad_input("--whole-prompts with kv " + quoted(o.kv) + ", allowed for caches without overlays: " + describe(can));
    }
  }

  status open(std::uint32_t& s) override { return kept_.open(s); }
  status open(std::span<const std::int32_t> tokens, std::uint32_t& s) override { return kept_.open(tokens, s); }
  status reserve(std::uint32_t s, std::uint32_t n) override { return kept_.reserve(s, n); }
  status commit(std::uint32_t s, std::uint32_t n) override { return kept_.commit(s, n); }
  status fork(std::uint32_t from, std::uint32_t& to) override { return kept_.fork(from, to); }
  status truncate(std::uint32_t s, std::uint32_t n) override { return kept_.truncate(s, n); }
  status read_whole_until(std::uint32_t s, std::uint32_t n) override { return store_.read_whole_until(kept_.sequence(s), n); }
  status announce(std::uint32_t s, std::uint32_t prompt) override { return whole_prompts_ && prompt > length(s) ? read_whole_until(s, prompt) : status{}; }
  void close(std::uint32_t s) override { kept_.close(s); }
  std::uint32_t length(std::uint32_t s) const override { return kept_.length(s); }
  bool check() const override { return kept_.check(); }
  status remember(std::uint32_t s, std::span<const std::int32_t> tokens) override { return kept_.remember(s, tokens); }
  std::uint32_t hit(std::span<const std::int32_t> tokens) const override { return kept_.hit(tokens); }
  bool coming(std::span<const std::int32_t> tokens) const override { return kept_.coming(tokens); }
  std::uint64_t pin(std::span<const std::int32_t> tokens) override { return kept_.pin(tokens); }
  void unpin(std::uint64_t ticket) override { kept_.unpin(ticket); }
  kv::prefix_counters prefix_counts() const override { return kept_.prefix_counts(); }
  status swap_out(std::uint32_t s) override { return kept_.swap_out(s); }
  status swap_in(std::uint32_t s) override { return kept_.swap_in(s); }
  bool present(std::uint32_t s) const override { return kept_.present(s); }
  std::uint64_t leaving_tokens() const override { return kept_.leaving_tokens(); }
  bool relieve() override { return kept_.relieve(); }
  void poll() override { kept_.poll(); }
  void wait() override { kept_.wait(); }
  kv::swap_counts swap_counts() const override { return kept_.swap_counts(); }
  tier::spill_found spill_found() const override { return kept_.spill_found(); }
  status fits(std::uint32_t n) const override {
    const kv::store_options<L>& have = store_.options();
    if (n > have.max_tokens) return {errc::out_of_range, "tokens of the sequence", n, 1, have.max_tokens};
    const kv::store_options<L> need = kv::pages_for(store_.layout(), 1, n, whole_prompts_ ? n : model_->max_rows());
    for (std::uint32_t g = 0; g < store_.layout().groups(); ++g)
      if (need.pages[g] > have.pages[g]) return {errc::out_of_pages, "pages of the sequence", need.pages[g], 0, have.pages[g]};
    return {};
  }
  bool keeps_all() const override {
    if (whole_prompts_) return true;
    for (std::uint32_t g = 0; g < store_.layout().groups(); ++g)
      if (store_.layout().group_sees(g).limited()) return false;
    return true;
  }
  std::uint64_t capacity_tokens() const override {
    return rows([this](std::uint32_t g) { return store_.options().pages[g]; }, store_.options().sequences);
  }
  std::uint64_t free_tokens() const override {
    return rows([this](std::uint32_t g) { return store_.free_pages(g) + kept_.forgettable(); }, store_.free_pages(kv::store<L>::tails));
  }
  std::uint32_t pages() const override { return pages_; }
  std::uint32_t free_pages() const override {
    std::uint32_t n = kept_.forgettable();
    for (std::uint32_t p = 0; p < kv::store<L>::pools; ++p) n += store_.free_pages(p);
    return n;
  }
  std::uint32_t vocabulary() const override { return model_->vocabulary(); }
  std::uint32_t max_rows() const override { return model_->max_rows(); }
  status step(backend& store, std::span<const serve::model_input> inputs, float* logits) override {
    if (&store != this) return {errc::out_of_range, "store (a backend computes on its own)"};
    return model_->step(store_, inner(inputs), logits);
  }
  status step_all(const serve::model_input& input, std::uint32_t from, float* logits) override {
    return model_->step_all(store_, inner({&input, 1})[0], from, logits);
  }
  status step_hidden(const serve::model_input& input, std::uint32_t from, float* hidden) override { return model_->step_hidden(store_, inner({&input, 1})[0], from, hidden); }
  std::uint32_t width() const override { return model_->width(); }
  status probe(const serve::model_input& input, calibrate::repeat_scores& to) override { return model_->probe(store_, inner({&input, 1})[0], to); }
  std::size_t image_bytes(std::uint32_t s) const override { return kv::image_bytes(store_, kept_.sequence(s)); }
  status export_to(std::uint32_t s, std::span<std::byte> image) const override { return kv::export_sequence(store_, kept_.sequence(s), image); }
  status import_from(std::span<const std::byte> image, std::uint32_t& s) override { 
    std::uint32_t sequence = 0;
    if (const status done = kv::import_sequence(store_, image, sequence); !done) return done;
    const status taken = kept_.take(sequence, s);
    if (!taken) store_.close(sequence);
    return taken;
  }
  std::size_t bytes(std::uint32_t s) const override { return store_.bytes(kept_.sequence(s)); }
  std::size_t formula_bytes(std::uint32_t n) const override { return kv::sequence_bytes(store_.layout(), n); }
  double bytes_per_token() const override { return kv::bytes_per_token(store_.layout()); }
  std::size_t scratch_bytes() const override { return model_->scratch_bytes(); }
  double read_bandwidth() override { return model_->read_bandwidth(); }

 private:
  /// The inputs by the store's own sequences. One that is not here keeps a number that the store does not know.
  std::span<const serve::model_input> inner(std::span<const serve::model_input> inputs) {
    inputs_.assign(inputs.begin(), inputs.end());
    for (serve::model_input& in : inputs_) in.sequence = kept_.sequence(in.sequence);
    return inputs_;
  }
  /// Of the group that runs out first; where all heads forget, of so many sequences at their longest.
  template <class F>
  std::uint64_t rows(F&& pages, std::uint32_t sequences) const {
    std::uint64_t least = std::uint64_t{sequences} * store_.options().max_tokens;
    for (std::uint32_t g = 0; g < store_.layout().groups(); ++g)
      if (!store_.layout().group_sees(g).limited()) least = std::min<std::uint64_t>(least, std::uint64_t{pages(g)} * tile_tokens);
    return least;
  }
  static kv::store_options<L> store_options(const L& layout, const backend_options& o, tier::memory* memory) {
    kv::store_options<L> s = kv::pages_for(layout, o.sequences, o.max_tokens, o.whole_prompts ? o.max_tokens : o.max_rows);
    s.memory = memory;
    if (o.total_tokens != 0)
      for (std::uint32_t& pages : s.pages) pages = std::min<std::uint32_t>(pages, tiles_touched(static_cast<std::uint32_t>(o.total_tokens)));
    s.group_pages = o.group_pages;
    return s;
  }
  bool whole_prompts_;
  std::unique_ptr<kv::head_classes> classes_;
  std::unique_ptr<Model> model_;
  kv::store<L> store_;
  serve::kept_store<L> kept_;
  std::vector<serve::model_input> inputs_;
  std::uint32_t pages_ = free_pages();  ///< of the empty store
};

}  // namespace quire_lm
