// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "../core/status.hpp"
#include "request.hpp"

namespace quire::inline v0::schedule {

/// Limits of a scheduler. Unit: tokens, unless said.
struct scheduler_options {
  std::uint32_t max_tokens = 512;         ///< per step; bounds the time between two tokens of a running request
  std::uint32_t max_running = 128;        ///< sequences with pages; cut to max_tokens, so that all decodes fit a step
  std::uint32_t max_requests = 16384;     ///< requests known at one time, waiting or running
  std::uint32_t max_sequence = 1u << 20;  ///< rows of one sequence: prompt + max_new_tokens - 1
  std::uint32_t max_chunk = 0xffffffffu;  ///< of one prompt in one step while there are other requests
  bool reserve_prompt = true;             ///< room for the whole prompt at admission; false: chunk by chunk
  std::uint32_t headroom = 0;             ///< with it: further rows at admission, against early preemption
  std::uint32_t patience = 16;            ///< preemptions since its last token that make others the victim first
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

/// Work whose pages are reserved. `entries` is valid until the scheduler's next `next()`; running decodes come first,
/// then running prompts, then requests admitted in this step.
struct step {
  std::span<const entry> entries;
  std::uint64_t number = 0;
  std::uint32_t tokens = 0;  ///< sum of counts
};

/// Why `next()` gave what it gave.
enum class outcome : std::uint8_t {
  idle,     ///< no requests
  step,     ///< a step was handed out
  blocked,  ///< memory has no room for anything, though this scheduler holds no more than `refused()` needs
  awaiting  ///< a step is uncommitted, or all running requests await token(), finish() or cancel()
};

/// A request that memory turned away.
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
  std::uint64_t finished = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t failed = 0;
};

namespace detail {
inline const scheduler_options& checked(const scheduler_options& o) {
  if (o.max_tokens == 0) throw std::invalid_argument("scheduler_options.max_tokens is 0, allowed 1 and more");
  if (o.max_running == 0) throw std::invalid_argument("scheduler_options.max_running is 0, allowed 1 and more");
  if (o.max_requests == 0 || o.max_requests == 0xffffffffu)
    throw std::invalid_argument("scheduler_options.max_requests is " + std::to_string(o.max_requests) +
                                ", allowed 1 to 4294967294");
  if (o.max_sequence == 0) throw std::invalid_argument("scheduler_options.max_sequence is 0, allowed 1 and more");
  if (o.max_chunk == 0) throw std::invalid_argument("scheduler_options.max_chunk is 0, allowed 1 and more");
  return o;
}
}  // namespace detail

}  // namespace quire::inline v0::schedule
