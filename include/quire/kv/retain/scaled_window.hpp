// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "all.hpp"

namespace quire::inline v0::kv::retain {

/// The first `sinks` tokens and the newest max(`least`, N / `share`) of N stay.
/// unit: tokens; precondition: least >= 1, share >= 1. from: RazorAttention (arXiv:2407.15891); test: tests/kv/retain/scaled_window.cpp
struct scaled_window {
  std::uint32_t sinks = 64;
  std::uint32_t least = 256;
  std::uint32_t share = 5;
  QUIRE_HD constexpr visibility sees() const noexcept { return {sinks, least == 0 ? 1 : least, share == 0 ? 1 : share}; }
};
static_assert(Retention<scaled_window>);

}  // namespace quire::inline v0::kv::retain
