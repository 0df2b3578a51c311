// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include "../core/status.hpp"

namespace quire::inline v0::serve {

/// One sequence's share of a step. `tokens` stand at positions [position, position + tokens.size()) of a sequence that
/// holds `position` rows; the store has room for theirs.
struct model_input {
  std::uint32_t sequence = 0;  ///< the store's handle
  std::uint32_t position = 0;
  std::span<const std::int32_t> tokens;  ///< never empty
  bool wants_logits = false;             ///< of the last token
};

/// What an engine asks of a store. Handles are the store's; lengths are rows.
template <class S>
concept SequenceStore = requires(S s, const S cs, std::uint32_t sequence, std::uint32_t& handle, std::uint32_t tokens) {
  { s.open(handle) } -> std::same_as<status>;  // an empty sequence
  {
    s.reserve(sequence, tokens)
    } -> std::same_as<status>;  // room for `tokens` rows past its length; all or nothing; out_of_pages
  { s.commit(sequence, tokens) } -> std::same_as<status>;  // the model has written `tokens` rows: the length grows
  { s.close(sequence) } -> std::same_as<void>;             // its pages go back
  { cs.length(sequence) } -> std::same_as<std::uint32_t>;
};

/// A store that can copy a sequence, sharing what will not change. fails: out_of_pages
template <class S>
concept ForkingStore = SequenceStore<S> && requires(S s, std::uint32_t from, std::uint32_t& to) {
  { s.fork(from, to) } -> std::same_as<status>;
};

/// A store that says how many rows it holds in all and how many more it could take now, for rules that look ahead.
template <class S>
concept CountedStore = SequenceStore<S> && requires(const S cs) {
  { cs.capacity_tokens() } -> std::same_as<std::uint64_t>;
  { cs.free_tokens() } -> std::same_as<std::uint64_t>;
};

/// Computes a step: appends the rows of every input to the store, without committing them, and writes one row of logits
/// for each input that wants it, in order of the inputs. shape: logits [inputs that want them][vocabulary()].
/// A failed step leaves the committed rows as they were and may be tried again.
template <class M, class Store>
concept Model = SequenceStore<Store> &&
    requires(M m, const M cm, Store& store, std::span<const model_input> inputs, float* logits) {
  { cm.vocabulary() } -> std::same_as<std::uint32_t>;
  { m.step(store, inputs, logits) } -> std::same_as<status>;
};

}  // namespace quire::inline v0::serve
