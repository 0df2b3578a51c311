// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../axes.hpp"

namespace quire::inline v0::schedule::victim {

/// Who has computed the fewest rows since it got its pages: these are lost, or have to be moved, while rows it found
/// there (a shared prefix, an image that is still on the host) cost nothing again. Among equals the last to arrive.
/// test: tests/schedule/victim/least_lost_work.cpp
struct least_lost_work {
  bool evict_before(const request& a, const request& b) const noexcept {
    const std::uint32_t x = a.so_far.computed - a.so_far.resident, y = b.so_far.computed - b.so_far.resident;
    return x != y ? x < y : a.arrival > b.arrival;
  }
};
static_assert(Victim<least_lost_work>);

}  // namespace quire::inline v0::schedule::victim
