// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../axes.hpp"

namespace quire::inline v0::schedule::admission {

/// A waiting request that can't meet request::deadline even if it ran from now on is turned away, or served behind all
/// others: what it would take can't be spent better by somebody who still can. Judged when it is first in line, on the
/// clock given to `next`. With seconds_per_new_token = 0 the deadline is one for the first token, else for the last.
/// fails: the request with out_of_range, milliseconds left and needed. from: relegation as in Niyama
/// (arXiv:2503.22562), early rejection as in Mooncake (arXiv:2407.00079); test: tests/schedule/admission/deadline.cpp
struct deadline {
  double seconds_per_prompt_token = 0;
  double seconds_per_new_token = 0;
  bool relegate = false;  ///< instead of rejecting

  verdict judge(const request& r, std::uint64_t, const load& l) const noexcept {
    const double needed =
        seconds_per_prompt_token * r.uncached() + seconds_per_new_token * (r.max_new_tokens - r.so_far.generated);
    if (l.now + needed <= r.deadline) return {};
    if (relegate) return {answer::behind};
    return {answer::never,
            {errc::out_of_range, "milliseconds to the deadline", milliseconds(std::floor((r.deadline - l.now) * 1e3)),
             milliseconds(std::ceil(needed * 1e3)), std::numeric_limits<std::int64_t>::max()}};
  }
  status valid() const noexcept {
    const auto fine = [](double x) { return x >= 0 && std::isfinite(x); };
    if (fine(seconds_per_prompt_token) && fine(seconds_per_new_token)) return {};
    return {errc::out_of_range, "deadline: seconds per token (negative or not finite)", 0};
  }

 private:
  static std::int64_t milliseconds(double x) noexcept { return static_cast<std::int64_t>(std::clamp(x, -9e15, 9e15)); }
};
static_assert(Admission<deadline> && ValidatedAxis<deadline>);

}  // namespace quire::inline v0::schedule::admission
