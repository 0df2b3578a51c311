// SPDX-License-Identifier: Apache-2.0
// What the axes of a policy are told about a step, and what they answer.
#pragma once

#include <cstdint>

#include "../core/status.hpp"

namespace quire::inline v0::schedule {

/// What a step finds. Rows of memory are 0 of 0 where the memory does not count them.
struct load {
  double now = 0;                    ///< as given to `next`
  std::uint32_t decodes = 0;         ///< sequences that produce a token in this step, memory permitting
  std::uint32_t prefills = 0;        ///< admitted sequences with prompt left
  std::uint32_t running = 0;         ///< sequences with pages, also those that can't be in this step
  std::uint32_t waiting = 0;         ///< requests without pages
  std::uint64_t decode_context = 0;  ///< rows the decodes read, summed
  std::uint64_t capacity = 0;        ///< rows of memory
  std::uint64_t free = 0;            ///< of these, unreserved
  std::uint64_t growth = 0;          ///< rows running sequences may need beyond their reservations, within horizon()
  bool prompts_last = false;         ///< the last step held prompt tokens

  constexpr bool alone() const noexcept { return std::uint64_t{running} + waiting == 1; }
  constexpr std::uint64_t used() const noexcept { return capacity - free; }
};

/// What a step may hold. No batching passes `tokens`, except that decodes are never left out for it. A batching that
/// counts by cost (CostingBatching) counts in tokens at the beginning of a sequence.
struct shape {
  static constexpr std::uint32_t unlimited = 0xffffffffu;
  std::uint32_t tokens = unlimited;      ///< of the step; 1 and more
  std::uint32_t per_prompt = unlimited;  ///< of one prompt; 1 and more
  bool prompts_first = false;            ///< prompts take their share before decodes do
  bool mixed = true;                     ///< false: decodes or prompts, whichever comes first and has something to do
  bool whole = false;                    ///< a prompt of at most `tokens` is computed in one step
  bool reserve_all = false;              ///< room for prompt and max_new_tokens at admission: never preempted for want
};

/// May a waiting request take pages?
enum class answer : std::uint8_t {
  now,     ///< if memory has room
  later,   ///< not before others finish; who stands behind it waits too. Taken as `now` when nothing runs
  behind,  ///< once, behind every other request; taken as `now` when it comes up again
  never    ///< it fails with `why`
};
struct verdict {
  schedule::answer answer = schedule::answer::now;
  status why{};
};

}  // namespace quire::inline v0::schedule
