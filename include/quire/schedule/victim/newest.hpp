// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../axes.hpp"

namespace quire::inline v0::schedule::victim {

/// The last to arrive, which has usually the least to lose; the oldest request keeps its pages to the end.
/// from: vLLM (arXiv:2309.06180); test: tests/schedule/victim/newest.cpp
struct newest {
  bool evict_before(const request& a, const request& b) const noexcept { return a.arrival > b.arrival; }
};
static_assert(Victim<newest>);

}  // namespace quire::inline v0::schedule::victim
