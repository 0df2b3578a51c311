// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include "profile.hpp"
#include "sampling.hpp"

namespace quire::inline v0::calibrate {

/// Anything that has a rate for step t; what the training loops of this room take.
template <class S>
concept Schedule = requires(const S s, std::uint64_t t) {
  { s.value(t) } noexcept -> std::convertible_to<double>;
};

/// rate(t) = peak · (floor + (1 − floor) · profile(sampling(t, steps) / steps)): a closed form, so resuming is setting t.
/// Steps are t = 0 … steps − 1 and read progress t / steps < 1: a profile that ends at 0 wastes no step. Past the end the
/// rate stays at progress 1; it never starts over. A budget is `steps`: a long schedule cut short is another schedule.
/// unit: floor is a share of the peak, in [0, 1]; cost: one read of the profile; fails: never
/// from: REX (arXiv:2107.04197); test: tests/calibrate/rate_schedule.cpp
template <Profile P, Sampling S = sampling::every_step>
struct rate_schedule {
  [[no_unique_address]] P profile{};
  double peak = 1;
  std::uint64_t steps = 1;
  [[no_unique_address]] S sampling{};
  double floor = 0;

  constexpr double progress(std::uint64_t t) const noexcept {
    return t < steps ? static_cast<double>(sampling(t, steps)) / static_cast<double>(steps) : 1.0;
  }
  constexpr double value(std::uint64_t t) const noexcept { return peak * (floor + (1 - floor) * profile(progress(t))); }
};
static_assert(Schedule<rate_schedule<profile::linear>>);
static_assert(Schedule<rate_schedule<profile::warmup<profile::wsd<>>, sampling::every>>);

}  // namespace quire::inline v0::calibrate
