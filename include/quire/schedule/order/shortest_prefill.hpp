// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "../axes.hpp"

namespace quire::inline v0::schedule::order {

/// The least left to compute first, with ageing: a token to compute counts as `seconds_per_token` of arriving later, so
/// a request of n tokens is passed only by those that arrive within n * seconds_per_token after it, and nobody starves.
/// 0 is first come, first served. test: tests/schedule/order/shortest_prefill.cpp
struct shortest_prefill {
  double seconds_per_token = 0.01;

  bool admit_before(const request& a, const request& b) const noexcept { return key(a) < key(b); }
  status valid() const noexcept {
    if (seconds_per_token >= 0 && std::isfinite(seconds_per_token)) return {};
    return {errc::out_of_range, "shortest_prefill.seconds_per_token (negative or not finite)", 0};
  }

 private:
  double key(const request& r) const noexcept { return r.arrival + r.uncached() * seconds_per_token; }
};
static_assert(Order<shortest_prefill> && ValidatedAxis<shortest_prefill>);

}  // namespace quire::inline v0::schedule::order
