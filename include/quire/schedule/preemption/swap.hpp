// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../axes.hpp"

namespace quire::inline v0::schedule::preemption {

/// Rows are kept in another tier as far as memory can. test: tests/schedule/preemption/swap.cpp
struct swap {
  preemption_kind kind(const request&) const noexcept { return preemption_kind::swap; }
};
static_assert(Preemption<swap>);

}  // namespace quire::inline v0::schedule::preemption
