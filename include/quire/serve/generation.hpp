// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "../core/status.hpp"
#include "../schedule/request.hpp"

namespace quire::inline v0::serve {

using schedule::request_id;

/// Why a text ended.
enum class ending : std::uint8_t { length, stop, cancelled, failed };

struct result {
  serve::ending ending = serve::ending::length;
  status why{};                             ///< not ok exactly when it failed or was cancelled
  std::span<const std::int32_t> generated;  ///< valid during the call
};

/// What to continue and how. Callbacks run inside `engine::run_step` (`on_done` also inside `cancel`), in order of
/// generation; they may submit and cancel, but not step. One that throws loses nothing: the exception leaves run_step,
/// and the next run_step goes on where it stood.
struct generation {
  std::vector<std::int32_t> prompt{};  ///< 1 token and more, each in [0, vocabulary)
  std::uint32_t max_new_tokens = 1;
  std::vector<std::int32_t> stop{};  ///< tokens that end the text; they are not delivered
  /// The next token from logits [vocabulary] and what was generated so far; empty: the largest logit, the first of
  /// equals.
  std::function<std::int32_t(std::span<const float> logits, std::span<const std::int32_t> generated)> sampler{};
  std::function<void(request_id, std::int32_t token)> on_token{};
  std::function<void(request_id, const result&)> on_done{};  ///< once, after the last on_token
  double arrival = 0;                                        ///< as schedule::request
  std::int32_t priority = 0;
  std::uint32_t tenant = 0;
  double deadline = std::numeric_limits<double>::infinity();
  std::uint32_t group = 0;          ///< texts whose first `shared_tokens` tokens are the same, planned ahead; 0: none
  std::uint64_t rank = 0;           ///< place in the planned order
  std::uint32_t shared_tokens = 0;  ///< kept, where the store remembers prefixes, while any text of the group lives
  /// Another continuation of the prompt of this live request (0: none), which must not be computed yet; `prompt` is not
  /// looked at, and max_new_tokens is at most the other's. The prompt is computed once: where the store can fork, each
  /// text goes on from the same rows, and all draw their first token from the same logits.
  request_id beside = 0;
};

/// The index of the largest logit, the first of equals; -1 when there is none (all NaN).
inline std::int32_t greedy(std::span<const float> logits) noexcept {
  std::int32_t best = -1;
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (best < 0 ? logits[i] == logits[i] : logits[i] > logits[static_cast<std::size_t>(best)])
      best = static_cast<std::int32_t>(i);
  return best;
}

}  // namespace quire::inline v0::serve
