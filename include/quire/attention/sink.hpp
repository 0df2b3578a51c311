// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include "../core/config.hpp"

namespace quire::inline v0::attention {

/// What a score sink learns about a row of logits: which query, and which 64 tokens.
struct score_tile {
  std::uint32_t sequence, layer, q_head;
  std::uint32_t query;   ///< position
  std::uint32_t slot;    ///< tile slot of the head
};

/// Receives logits [tile_tokens] as the fold makes them; masked ones are −inf.
template <class S>
concept TakesLogits = requires(const S s, const score_tile& at, const float* logits) {
  { s.logits(at, logits) } noexcept;
};

/// Receives weights exp(logit − m) [tile_tokens], which the fold needs anyway; `m` is the largest logit of their piece.
template <class S>
concept TakesWeights = requires(const S s, const score_tile& at, const float* weights, float m) {
  { s.weights(at, weights, m) } noexcept;
};

/// Takes either, from any worker, each tile once per row. With the state (m, l) of the merged row, which arrives last, a token's
/// share of the attention is exp(logit − m) / l.
template <class S>
concept ScoreSink = (TakesLogits<S> || TakesWeights<S>) && requires(const S s, const score_tile& at, float m, float l) {
  { S::active } -> std::convertible_to<bool>;
  { s.row(at, m, l) } noexcept;
};

/// No scores wanted; compiles away.
struct null_sink {
  static constexpr bool active = false;
  void logits(const score_tile&, const float*) const noexcept {}
  void row(const score_tile&, float, float) const noexcept {}
};
static_assert(ScoreSink<null_sink>);

}  // namespace quire::inline v0::attention
