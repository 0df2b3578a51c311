// SPDX-License-Identifier: Apache-2.0
// A model with one cache layout behind virtual functions: what is compiled once per instruction set (backend.cpp). The rest
// of the program is compiled once, without -m flags, and is the same for every layout.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "cache.hpp"
#include "quire/calibrate/repeat_scores.hpp"
#include "quire/core/status.hpp"
#include "quire/kv/prefix_counters.hpp"
#include "quire/kv/residence.hpp"
#include "quire/serve/model.hpp"
#include "quire/tier/file_pool.hpp"

namespace quire_lm {

class model_weights;

struct backend_options {
  std::string_view kv = "bf16";        ///< a cache by name, with parameters (cache.hpp)
  std::uint32_t threads = 2;
  std::uint32_t max_rows = 256;        ///< rows of one step: prefill chunks and decode rows together
  std::uint32_t sequences = 1;
  std::uint32_t max_tokens = 4096;     ///< of one sequence
  std::uint64_t total_tokens = 0;      ///< over all sequences; 0: sequences × max_tokens
  std::uint64_t remembered_tokens = 0; ///< of past sequences, for others to begin with (caches without dropped tokens); 0: none
  std::uint32_t away = 0;              ///< sequences of full length that fit the host when they are swapped out; 0: none is
  std::string_view spill = {};         ///< folder for files that they are swapped to; empty: memory
  bool reuse = true;                   ///< host copies of what came back are kept
  bool whole_prompts = false;          ///< prompts that are announced are read whole, and there is room for that
  std::uint32_t group_pages = 8;       ///< pages that a sequence takes side by side
  bool page_copies = false;            ///< adjacent pages are not joined to one copy
  std::span<const std::uint8_t> whole_heads = {};  ///< [layers × kv_heads] of head splits: 1 keeps everything; empty: what the cache chooses
};

/// Store and model in one object: models serve::Model<backend, backend>, serve::SequenceStore and all that goes beyond it.
/// One thread at a time. Handles, errors and rules are those of serve::kept_store and serve::Model.
class backend {
 public:
  virtual ~backend() = default;
  virtual quire::status open(std::uint32_t& sequence) = 0;
  virtual quire::status open(std::span<const std::int32_t> tokens, std::uint32_t& sequence) = 0;
  virtual quire::status reserve(std::uint32_t sequence, std::uint32_t tokens) = 0;
  virtual quire::status commit(std::uint32_t sequence, std::uint32_t tokens) = 0;
  virtual quire::status fork(std::uint32_t from, std::uint32_t& to) = 0;
  virtual quire::status truncate(std::uint32_t sequence, std::uint32_t length) = 0;
  /// Queries before `tokens` see everything, and only then the sequence is cut down (kv::store::read_whole_until). Caches that
  /// drop nothing never notice. fails: as there.
  virtual quire::status read_whole_until(std::uint32_t sequence, std::uint32_t tokens) = 0;
  /// serve::PromptedStore: with backend_options::whole_prompts the prompt is read whole. fails: as read_whole_until
  virtual quire::status announce(std::uint32_t sequence, std::uint32_t prompt) = 0;
  virtual void close(std::uint32_t sequence) = 0;
  virtual std::uint32_t length(std::uint32_t sequence) const = 0;
  virtual bool check() const = 0;

  virtual quire::status remember(std::uint32_t sequence, std::span<const std::int32_t> tokens) = 0;
  virtual std::uint32_t hit(std::span<const std::int32_t> tokens) const = 0;
  virtual bool coming(std::span<const std::int32_t> tokens) const = 0;
  virtual std::uint64_t pin(std::span<const std::int32_t> tokens) = 0;
  virtual void unpin(std::uint64_t ticket) = 0;
  virtual quire::kv::prefix_counters prefix_counts() const = 0;
  virtual quire::status swap_out(std::uint32_t sequence) = 0;
  virtual quire::status swap_in(std::uint32_t sequence) = 0;
  virtual bool present(std::uint32_t sequence) const = 0;
  virtual std::uint64_t leaving_tokens() const = 0;
  virtual bool relieve() = 0;
  virtual void poll() = 0;
  virtual void wait() = 0;
  virtual quire::kv::swap_counts swap_counts() const = 0;
  virtual quire::tier::spill_found spill_found() const = 0;

  /// Whether a sequence of so many rows fits an otherwise empty store. fails: out_of_range, out_of_pages
  virtual quire::status fits(std::uint32_t tokens) const = 0;
  virtual bool keeps_all() const = 0;  ///< no head forgets: a prompt needs pages for all its tokens, else for a few steps' at a time
  virtual std::uint64_t capacity_tokens() const = 0;  ///< rows of sequences that keep every token, as far as pages go
  virtual std::uint64_t free_tokens() const = 0;
  virtual std::uint32_t pages() const = 0;       ///< over all pools, tails and overlays included
  virtual std::uint32_t free_pages() const = 0;  ///< of these, needed by no sequence

  virtual std::uint32_t vocabulary() const = 0;
  virtual std::uint32_t max_rows() const = 0;
  virtual quire::status step(backend& store, std::span<const quire::serve::model_input> inputs, float* logits) = 0;
  /// Logits of the tokens of one input from the `from`-th on: [tokens − from][vocabulary].
  virtual quire::status step_all(const quire::serve::model_input& input, std::uint32_t from, float* logits) = 0;

  /// Last hidden states, after the output norm: [tokens − from][width].
  virtual quire::status step_hidden(const quire::serve::model_input& input, std::uint32_t from, float* hidden) = 0;
  virtual std::uint32_t width() const = 0;
  /// A step whose attention weights a calibration looks at. fails: unsupported_shape for caches but f32 and bf16.
  virtual quire::status probe(const quire::serve::model_input& input, quire::calibrate::repeat_scores& to) = 0;

  virtual std::size_t image_bytes(std::uint32_t sequence) const = 0;      ///< of `export_to`
  virtual quire::status export_to(std::uint32_t sequence, std::span<std::byte> image) const = 0;
  virtual quire::status import_from(std::span<const std::byte> image, std::uint32_t& sequence) = 0;

  virtual std::size_t bytes(std::uint32_t sequence) const = 0;            ///< measured: pages, tails and state held now
  virtual std::size_t formula_bytes(std::uint32_t tokens) const = 0;      ///< by formula, for a sequence of that length
  virtual double bytes_per_token() const = 0;                             ///< growth in the long run
  virtual std::size_t scratch_bytes() const = 0;
  /// Bytes a second that the same threads read from a buffer larger than the caches (median of a few passes).
  virtual double read_bandwidth() = 0;
};

using make_backend = std::unique_ptr<backend> (*)(const model_weights&, const backend_options&);

/// The instruction set chosen for this machine (best first; `forced` names one, empty: automatic) and its factory.
/// The factory throws bad_input for a cache it can't make and std::bad_alloc. fails: bad_input for an unknown or unsupported set.
struct instruction_set {
  std::string_view name;
  make_backend make;
};
instruction_set choose_instruction_set(std::string_view forced = {});
/// A GPU in its place, named "cuda". fails: bad_input where the program was built without, or no device answers.
instruction_set choose_cuda();

}  // namespace quire_lm
