// SPDX-License-Identifier: Apache-2.0
// One policy on one workload.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "costs.hpp"
#include "policies.hpp"
#include "quire/serve/simulate/cached_memory.hpp"
#include "quire/serve/simulate/metrics.hpp"
#include "quire/serve/simulate/priorities.hpp"
#include "quire/serve/simulate/run.hpp"
#include "quire/serve/simulate/swapped_memory.hpp"

namespace quire_sim {

/// What is the same for all policies of a comparison.
struct engine_options {
  std::uint32_t rows = 438000;        ///< of memory for keys and values
  std::uint32_t block = 16;           ///< rows of a block
  std::uint32_t max_running = 128;    ///< sequences at once, but for memory-centric batching
  std::uint32_t most_running = 1024;  ///< with it
  std::uint32_t tau = 512;            ///< tokens of a step, for chunked batching
  std::uint32_t max_batched = 8192;   ///< tokens of a step that takes whole prompts
  std::uint32_t guard = 8192;         ///< tokens of a step bounded by memory
  double theta = 0.95;                ///< share of memory that it fills
  std::uint32_t horizon = 64;         ///< steps ahead for which it has room
  bool fold = true;                   ///< attention reads rows that a planned group shares once
  double until = std::numeric_limits<double>::infinity();
  // swapping
  std::uint32_t host_rows = 480000, pieces = 64, group_blocks = 64;
  std::uint64_t row_bytes = 0;  ///< keys and values of a token; 0: as the cost model's machine
  double link_bandwidth = 25e9, launch = 5e-6;
  // priorities that are drawn
  quire::serve::simulate::priority_pattern::options pattern{};
};

struct outcome {
  policy_spec policy;
  quire::serve::simulate::report report;
  quire::serve::simulate::cached_memory_counters cache{};
  quire::serve::simulate::swapped_memory_counters swap{};
  quire::schedule::scheduler_counters scheduler{};
  std::uint64_t groups = 0;        ///< planned
  std::uint64_t plan_saves = 0;    ///< tokens that the plan computes once instead of again
  double wall_seconds = 0;         ///< that the simulation took
};

using watcher = std::function<void(const quire::serve::simulate::step_event&)>;

/// Runs `policy` over a copy of `w`. fails: bad_input (axis names, parameters out of range, named as the flags are).
outcome simulate(const policy_spec& policy, quire::serve::simulate::workload w, const cost_model& cost, const engine_options& o, const watcher& watch = {});

}  // namespace quire_sim
