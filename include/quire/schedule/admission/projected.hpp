// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "../axes.hpp"

namespace quire::inline v0::schedule::admission {

/// Only what keeps rows in use, and those that running sequences and this one may add within `steps` steps, under
/// `theta` of memory. test: tests/schedule/admission/projected.cpp
struct projected {
  static constexpr bool counts_rows = true;

  double theta = 0.95;  ///< of capacity; (0, 1]
  std::uint32_t steps = 64;

  std::uint32_t horizon() const noexcept { return steps; }
  verdict judge(const request& r, std::uint64_t need, const load& l) const noexcept {
    const std::uint64_t cached = r.known_tokens() - r.uncached();
    const std::uint64_t rows = l.used() + l.growth + std::max(need, r.rows_within(steps) - cached);
    return {static_cast<double>(rows) <= theta * static_cast<double>(l.capacity) ? answer::now : answer::later};
  }
  status valid() const noexcept {
    if (theta > 0 && theta <= 1) return {};
    return {errc::out_of_range, "theta (outside (0, 1])", static_cast<std::int64_t>(theta > 1)};
  }
};
static_assert(Admission<projected> && ForesightedAxis<projected> && RowCountingAxis<projected>);

}  // namespace quire::inline v0::schedule::admission
