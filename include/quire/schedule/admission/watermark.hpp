// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../axes.hpp"

namespace quire::inline v0::schedule::admission {

/// Only what leaves `fraction` of memory free, so that decodes that grow don't preempt at once what was just admitted.
/// from: vLLM (arXiv:2309.06180); test: tests/schedule/admission/watermark.cpp
struct watermark {
  static constexpr bool counts_rows = true;

  double fraction = 0.01;  ///< of capacity; [0, 1)

  verdict judge(const request&, std::uint64_t need, const load& l) const noexcept {
    const double free = static_cast<double>(l.free) - static_cast<double>(need);
    return {free >= fraction * static_cast<double>(l.capacity) ? answer::now : answer::later};
  }
  status valid() const noexcept {
    if (fraction >= 0 && fraction < 1) return {};
    return {errc::out_of_range, "watermark.fraction (outside [0, 1))", static_cast<std::int64_t>(fraction > 1)};
  }
};
static_assert(Admission<watermark> && RowCountingAxis<watermark> && ValidatedAxis<watermark>);

}  // namespace quire::inline v0::schedule::admission
