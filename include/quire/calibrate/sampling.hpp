// SPDX-License-Identifier: Apache-2.0
// A learning-rate schedule is a profile read at a sampling rate. This header has the sampling rates.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>

#include "../core/config.hpp"

namespace quire::inline v0::calibrate {

/// The step at which the profile was last read: s(t, T) ≤ t for t < T, never falling in t, and s(0, T) = 0.
template <class S>
concept Sampling = std::copy_constructible<S> && requires(const S s, std::uint64_t t, std::uint64_t steps) {
  { s(t, steps) } noexcept -> std::same_as<std::uint64_t>;
};

/// from: REX (arXiv:2107.04197); test: tests/calibrate/sampling.cpp
namespace sampling {

struct every_step {
  constexpr std::uint64_t operator()(std::uint64_t t, std::uint64_t) const noexcept { return t; }
};

/// Every k steps, e.g. once an epoch; k = 0 reads as 1.
struct every {
  std::uint64_t k = 1;
  constexpr std::uint64_t operator()(std::uint64_t t, std::uint64_t) const noexcept { return k > 1 ? t - t % k : t; }
};

namespace detail {
/// ⌊x · steps⌋, where a product that misses an integer only by rounding counts as that integer (0.29 · 100 is 29).
constexpr std::uint64_t step_at(double x, std::uint64_t steps) noexcept {
  const double at = x * static_cast<double>(steps);
  return static_cast<std::uint64_t>(at + at * 1e-12);
}
}  // namespace detail

/// Every `fraction` of the budget: read at ⌊i · fraction · T⌋, i = 0, 1, ...; 0 < fraction ≤ 1.
struct every_fraction {
  double fraction = 0.1;
  constexpr std::uint64_t operator()(std::uint64_t t, std::uint64_t steps) const noexcept {
    const double stretch = fraction * static_cast<double>(steps);
    if (!(stretch > 1)) return t;
    const auto update = [&](std::uint64_t i) { return detail::step_at(static_cast<double>(i) * fraction, steps); };
    auto i = static_cast<std::uint64_t>(static_cast<double>(t) / stretch);
    while (i > 0 && update(i) > t) --i;
    while (update(i + 1) <= t) ++i;
    return update(i);
  }
};

/// At the first `count` milestones (rising, in units of progress) and at step 0: 50-75 by default.
struct milestones {
  static constexpr std::uint32_t most = 8;
  std::uint32_t count = 2;
  std::array<double, most> at{0.5, 0.75};
  constexpr std::uint64_t operator()(std::uint64_t t, std::uint64_t steps) const noexcept {
    std::uint64_t last = 0;
    for (std::uint32_t i = 0; i < count && i < most; ++i) {
      const std::uint64_t update = detail::step_at(at[i], steps);
      if (update > t) break;
      last = update;
    }
    return last;
  }
};

}  // namespace sampling

static_assert(Sampling<sampling::every_step> && Sampling<sampling::every>);
static_assert(Sampling<sampling::every_fraction> && Sampling<sampling::milestones>);

}  // namespace quire::inline v0::calibrate
