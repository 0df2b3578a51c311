// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "../core/config.hpp"

namespace quire::inline v0::schedule {

/// The caller's name for a request; unique among the live ones.
using request_id = std::uint64_t;

/// What a request has behind it. Written by the scheduler, read by policies. Stands still while the request waits.
struct progress {
  std::uint32_t computed = 0;     ///< tokens whose rows are in memory now; falls to what memory kept when preempted
  std::uint32_t generated = 0;    ///< tokens produced so far; never falls
  std::uint32_t preemptions = 0;  ///< times it lost its pages
  std::uint32_t resident = 0;     ///< of `computed`: rows that were there when it last got its pages
  std::uint64_t mark = 0;         ///< what the order's `arrived` answered
  bool running = false;           ///< has pages and a place in the batch; else it waits
  bool relegated = false;         ///< waits behind all that are not (verdict `behind`)
};

/// One prompt and how far it may be continued. Lengths are tokens.
struct request {
  request_id id = 0;
  double arrival = 0;  ///< seconds or a logical clock, as long as all requests use the same; finite
  std::uint32_t prompt_tokens = 0;
  std::uint32_t max_new_tokens = 1;
  std::int32_t priority = 0;                                  ///< larger is more urgent, for policies that look at it
  std::uint32_t tenant = 0;                                   ///< who asks, for policies that share between tenants
  double deadline = std::numeric_limits<double>::infinity();  ///< on the clock of `arrival`, for admission::deadline
  std::uint32_t group = 0;                                    ///< requests that share a planned prefix; 0: none
  std::uint64_t rank = 0;        ///< place in a planned order, small first, for order::prefix_grouped
  std::uint32_t hit_tokens = 0;  ///< rows a prefix cache is thought to hold already; a hint, never trusted
  progress so_far{};             ///< left empty by the caller

  /// Tokens whose values are known: the prompt and what was generated from it.
  constexpr std::uint32_t known_tokens() const noexcept { return prompt_tokens + so_far.generated; }
  /// Rows the cache ever needs: the last generated token is never fed back.
  constexpr std::uint64_t most_rows() const noexcept { return std::uint64_t{prompt_tokens} + max_new_tokens - 1; }
  /// Rows it may need within the next `steps` steps, once its prompt is computed.
  constexpr std::uint64_t rows_within(std::uint32_t steps) const noexcept {
    return std::min(most_rows(), std::uint64_t{known_tokens()} + steps);
  }
  /// Tokens a waiting request has to compute, if the hint is true; at least one, whose logits are wanted.
  constexpr std::uint32_t uncached() const noexcept {
    return known_tokens() - std::min(hit_tokens, known_tokens() - 1);
  }
};

}  // namespace quire::inline v0::schedule
