// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../axes.hpp"

namespace quire::inline v0::schedule::preemption {

/// Rows are dropped and computed again, generated tokens included. test: tests/schedule/preemption/recompute.cpp
struct recompute {
  preemption_kind kind(const request&) const noexcept { return preemption_kind::recompute; }
};
static_assert(Preemption<recompute>);

}  // namespace quire::inline v0::schedule::preemption
