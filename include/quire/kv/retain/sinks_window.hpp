// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "all.hpp"

namespace quire::inline v0::kv::retain {

/// The first `sinks` tokens and the `window` newest stay (the query's own token counts); positions are kept, not renumbered.
/// unit: tokens; precondition: window >= 1. from: StreamingLLM (arXiv:2309.17453); test: tests/kv/retain/sinks_window.cpp
struct sinks_window {
  std::uint32_t sinks = 64;
  std::uint32_t window = 256;
  QUIRE_HD constexpr visibility sees() const noexcept { return {sinks, window == 0 ? 1 : window}; }
};
static_assert(Retention<sinks_window>);

}  // namespace quire::inline v0::kv::retain
