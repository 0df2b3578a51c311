// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "../core/status.hpp"
#include "request.hpp"

namespace quire::inline v0::schedule {

/// Limits of a scheduler; what may differ between policies is in `policy`. Unit: tokens, unless said.
struct scheduler_options {
  std::uint32_t max_running = 128;     ///< sequences with pages; a step holds at most max(budget, max_running) tokens
  std::uint32_t max_requests = 16384;  ///< requests known at one time, waiting or running
  std::uint32_t max_sequence = 1u << 20;  ///< rows of one sequence: prompt + max_new_tokens - 1
  bool reserve_prompt = true;             ///< room for the whole prompt at admission; false: chunk by chunk
  std::uint32_t headroom = 0;             ///< with it: further rows at admission, against early preemption
  std::uint32_t patience = 16;            ///< preemptions since its last token that make others the victim first
  std::uint32_t max_parked = 32;          ///< requests that one step sets aside because memory said not_ready
};

enum class phase : std::uint8_t { prefill, decode };

/// One sequence's part of a step: tokens [begin, begin + count) of prompt and generated tokens laid end to end.
struct entry {
  request_id id = 0;
  std::uint32_t begin = 0;
  std::uint32_t count = 0;
  schedule::phase phase = schedule::phase::prefill;
  bool wants_logits = false;  ///< the last known token is among them: a new one follows
};

/// Work whose pages are reserved. `entries` is valid until the scheduler's next `next()`; running sequences come before
/// those admitted in this step, and of the former decodes come first unless the batching puts prompts first.
struct step {
  std::span<const entry> entries;
  std::uint64_t number = 0;
  std::uint32_t tokens = 0;  ///< sum of counts
};

/// Why `next()` gave what it gave.
enum class outcome : std::uint8_t {
  idle,         ///< no requests
  step,         ///< a step was handed out
  blocked,      ///< memory has no room for anything, though this scheduler holds no more than `refused()` needs
  awaiting,     ///< the caller's turn: a step is uncommitted, or requests await token(), finish() or cancel()
  transferring  ///< memory's turn: rows or pages are on their way (not_ready); ask again when time has passed
};

/// A request that memory or the admission rule turned away.
struct refusal {
  request_id id = 0;
  status why{};
};

struct scheduler_counters {
  std::uint64_t steps = 0;
  std::uint64_t computed = 0;    ///< tokens of committed steps
  std::uint64_t recomputed = 0;  ///< of these, computed before and lost by preemption
  std::uint64_t generated = 0;
  std::uint64_t preempted = 0;  ///< pages taken for want of memory
  std::uint64_t yielded = 0;    ///< pages taken for a waiting request
  std::uint64_t swapped = 0;    ///< of both: memory said that it keeps the rows
  std::uint64_t parked = 0;     ///< times a request was set aside because memory said not_ready
  std::uint64_t relegated = 0;  ///< requests put behind the others
  std::uint64_t finished = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t failed = 0;  ///< ended by memory or by the admission rule
};

namespace detail {
inline const scheduler_options& checked(const scheduler_options& o) {
  const auto positive = [](std::uint32_t value, const char* name) {
    if (value == 0) throw std::invalid_argument(std::string("scheduler_options.") + name + " is 0, allowed 1 and more");
  };
  positive(o.max_running, "max_running");
  positive(o.max_sequence, "max_sequence");
  positive(o.max_parked, "max_parked");
  if (o.max_requests == 0 || o.max_requests == 0xffffffffu)
    throw std::invalid_argument("scheduler_options.max_requests is " + std::to_string(o.max_requests) +
                                ", allowed 1 to 4294967294");
  return o;
}
}  // namespace detail

}  // namespace quire::inline v0::schedule
