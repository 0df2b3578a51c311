// SPDX-License-Identifier: Apache-2.0
// Policies by name: each a point in the five axes of the scheduler and a way to keep rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quire_sim {

/// Names of one model of each axis, and what memory does.
struct policy_spec {
  std::string name, about;
  std::string order = "fcfs", batching = "chunked", admission = "watermark", victim = "newest", preemption = "recompute";
  enum class memory : std::uint8_t { plain, cached, swapped } keeps = memory::plain;
  enum class plan : std::uint8_t { none, groups, ratio } planned = plan::none;  ///< ahead of time: who shares, in which order
  bool pins = false;                                  ///< a group's rows stay until it has ended
  bool waits = false;                                 ///< who would compute what another computes waits for it
  bool groups = false, overlap = false, reuse = false;  ///< how rows are swapped
};

/// All that have a name.
const std::vector<policy_spec>& known_policies();
/// fails: bad_input that names `flag`.
policy_spec find_policy(const std::string& name, const std::string& flag);

/// Names of the models of each axis, for flags that override a policy's.
struct axis_names {
  static constexpr const char* order[] = {"fcfs", "priority", "shortest-prefill", "longest-prefix", "prefix-grouped", "fair", "fair-priority", "drawn"};
  static constexpr const char* batching[] = {"whole", "prefill-first", "chunked", "chunked-apart", "memory-centric"};
  static constexpr const char* admission[] = {"when-it-fits", "watermark", "projected", "deadline"};
  static constexpr const char* victim[] = {"newest", "lowest-priority", "least-lost-work", "drawn"};
  static constexpr const char* preemption[] = {"recompute", "swap", "cheaper"};
};

}  // namespace quire_sim
