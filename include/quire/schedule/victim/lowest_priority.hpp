// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../axes.hpp"

namespace quire::inline v0::schedule::victim {

/// The least urgent; among equals the last to arrive. test: tests/schedule/victim/lowest_priority.cpp
struct lowest_priority {
  bool evict_before(const request& a, const request& b) const noexcept {
    return a.priority != b.priority ? a.priority < b.priority : a.arrival > b.arrival;
  }
};
static_assert(Victim<lowest_priority>);

}  // namespace quire::inline v0::schedule::victim
