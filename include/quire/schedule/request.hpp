// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../core/config.hpp"

namespace quire::inline v0::schedule {

/// The caller's name for a request; unique among the live ones.
using request_id = std::uint64_t;

/// What a request has behind it. Written by the scheduler, read by policies.
struct progress {
  std::uint32_t computed = 0;     ///< tokens whose rows are in memory now; falls to what memory kept when preempted
  std::uint32_t generated = 0;    ///< tokens produced so far; never falls
  std::uint32_t preemptions = 0;  ///< times it lost its pages
};

/// One prompt and how far it may be continued. Lengths are tokens.
struct request {
  request_id id = 0;
  double arrival = 0;  ///< seconds or a logical clock, as long as all requests use the same; finite
  std::uint32_t prompt_tokens = 0;
  std::uint32_t max_new_tokens = 1;
  std::int32_t priority = 0;  ///< larger is more urgent, for policies that look at it
  std::uint32_t tenant = 0;   ///< who asks, for policies that share between tenants
  progress so_far{};          ///< left empty by the caller

  /// Tokens whose values are known: the prompt and what was generated from it.
  constexpr std::uint32_t known_tokens() const noexcept { return prompt_tokens + so_far.generated; }
  /// Rows the cache ever needs: the last generated token is never fed back.
  constexpr std::uint64_t most_rows() const noexcept { return std::uint64_t{prompt_tokens} + max_new_tokens - 1; }
};

}  // namespace quire::inline v0::schedule
