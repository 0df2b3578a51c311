// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "../axes.hpp"

namespace quire::inline v0::schedule::order {

/// Urgent requests first, with ageing: one level of priority is worth `ageing_seconds` of waiting, so nobody starves.
/// Infinite: classes that never mix, and a stream of urgent requests starves the others. With `preempts` a running
/// request of a lower priority gives way to a waiting one that is also before it in this order; without it, running
/// requests lose their pages only for want of memory. test: tests/schedule/order/priority.cpp
struct priority {
  double ageing_seconds = 10;
  bool preempts = false;

  bool admit_before(const request& a, const request& b) const noexcept {
    if (std::isfinite(ageing_seconds)) return key(a) < key(b);
    return a.priority != b.priority ? a.priority > b.priority : a.arrival < b.arrival;
  }
  bool yields(const request& running, const request& waiting) const noexcept {
    return preempts && waiting.priority > running.priority && admit_before(waiting, running);
  }
  status valid() const noexcept {
    if (ageing_seconds >= 0) return {};
    return {errc::out_of_range, "priority.ageing_seconds (negative or not a number)", 0};
  }

 private:
  double key(const request& r) const noexcept { return r.arrival - r.priority * ageing_seconds; }
};
static_assert(Order<priority> && YieldingOrder<priority> && ValidatedAxis<priority>);

}  // namespace quire::inline v0::schedule::order
