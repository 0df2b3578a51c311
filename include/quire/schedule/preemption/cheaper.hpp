// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>

#include "../axes.hpp"

namespace quire::inline v0::schedule::preemption {

/// Swap or recompute, whichever is estimated to take less time for this request: computing n rows again costs
/// n * per_recomputed + n^2 * per_recomputed_squared (attention), where a prefix cache will have request::hit_tokens of
/// them; moving n rows out and in costs n * per_swapped, and those that were there at admission are out already.
/// Unit: seconds. test: tests/schedule/preemption/cheaper.cpp
struct cheaper {
  double per_recomputed = 1e-4;
  double per_recomputed_squared = 0;
  double per_swapped = 1e-5;

  preemption_kind kind(const request& r) const noexcept {
    const double moved = r.so_far.computed - r.so_far.resident;
    const double lost = r.so_far.computed - std::min(r.hit_tokens, r.so_far.computed);
    const bool swaps = moved * per_swapped < lost * per_recomputed + lost * lost * per_recomputed_squared;
    return swaps ? preemption_kind::swap : preemption_kind::recompute;
  }
  status valid() const noexcept {
    const auto fine = [](double x) { return x >= 0 && std::isfinite(x); };
    if (fine(per_recomputed) && fine(per_recomputed_squared) && fine(per_swapped)) return {};
    return {errc::out_of_range, "cheaper: seconds per row (negative or not finite)", 0};
  }
};
static_assert(Preemption<cheaper> && ValidatedAxis<cheaper>);

}  // namespace quire::inline v0::schedule::preemption
