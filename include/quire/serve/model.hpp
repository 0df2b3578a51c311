// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include "store.hpp"

namespace quire::inline v0::serve {

/// One sequence's share of a step. `tokens` stand at positions [position, position + tokens.size()) of a sequence that
/// holds `position` rows; the store has room for theirs.
struct model_input {
  std::uint32_t sequence = 0;  ///< the store's handle
  std::uint32_t position = 0;
  std::span<const std::int32_t> tokens;  ///< never empty
  bool wants_logits = false;             ///< of the last token
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
