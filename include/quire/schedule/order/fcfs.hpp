// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../axes.hpp"

namespace quire::inline v0::schedule::order {

/// First come, first served. from: Orca (OSDI 2022); test: tests/schedule/order/fcfs.cpp
struct fcfs {
  bool admit_before(const request& a, const request& b) const noexcept { return a.arrival < b.arrival; }
};
static_assert(Order<fcfs>);

}  // namespace quire::inline v0::schedule::order
