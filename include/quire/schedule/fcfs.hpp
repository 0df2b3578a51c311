// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "policy.hpp"

namespace quire::inline v0::schedule {

/// First come, first served; the newest arrival is preempted first. The oldest request is never preempted for another.
struct fcfs {
  bool admit_before(const request& a, const request& b) const noexcept { return a.arrival < b.arrival; }
  bool evict_before(const request& a, const request& b) const noexcept { return b.arrival < a.arrival; }
  bool yields(const request&, const request&) const noexcept { return false; }
  void served(const request&, std::uint32_t) noexcept {}
};
static_assert(SchedulerPolicy<fcfs>);

}  // namespace quire::inline v0::schedule
