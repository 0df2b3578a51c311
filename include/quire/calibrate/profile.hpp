// SPDX-License-Identifier: Apache-2.0
// A learning-rate schedule is a profile (a function of progress) read at a sampling rate. This header has the profiles.
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <numbers>

#include "../core/config.hpp"

namespace quire::inline v0::calibrate {

/// A pure function of progress s ∈ [0, 1] with values in [0, 1]: no state, no clock, so a run resumes by setting s.
/// s = 0 is the first step; s = 1 lies just past the last one (calibrate/rate_schedule.hpp), so a profile may end at 0.
template <class P>
concept Profile = std::copy_constructible<P> && requires(const P p, double s) {
  { p(s) } noexcept -> std::same_as<double>;
};

namespace profile {

struct constant {
  constexpr double operator()(double) const noexcept { return 1; }
};

/// 1 − s: the best profile when nothing but a bound on the gradient norm is known.
/// from: Defazio et al. (arXiv:2310.07831)
struct linear {
  constexpr double operator()(double s) const noexcept { return 1 - s; }
};

/// (1 − s)^power, power > 0.
struct polynomial {
  double power = 2;
  double operator()(double s) const noexcept { return std::pow(1 - s, power); }
};

/// (1 + cos πs) / 2.
struct cosine {
  double operator()(double s) const noexcept { return 0.5 * (1 + std::cos(std::numbers::pi * s)); }
};

/// exp(gamma · s), gamma ≤ 0; does not reach 0.
struct exponential {
  double gamma = -3;
  double operator()(double s) const noexcept { return std::exp(gamma * s); }
};

/// Multiplied by `factor` at each of the first `count` milestones (rising, in units of progress): 30-60-90 by default.
struct step {
  static constexpr std::uint32_t most = 8;
  double factor = 0.1;
  std::uint32_t count = 3;
  std::array<double, most> milestones{0.3, 0.6, 0.9};
  constexpr double operator()(double s) const noexcept {
    double value = 1;
    for (std::uint32_t i = 0; i < count && i < most && s >= milestones[i]; ++i) value *= factor;
    return value;
  }
};

/// Linear from `start` up to 1 at progress `up`, then linear down to `end`. The momentum that runs the other way in the
/// original is not a profile's business.
/// from: super-convergence (arXiv:1708.07120)
struct one_cycle {
  double start = 0.1, up = 0.3, end = 0;
  constexpr double operator()(double s) const noexcept {
    return s < up ? start + (1 - start) * (s / up) : up < 1 ? 1 + (end - 1) * ((s - up) / (1 - up)) : 1.0;
  }
};

/// Reflected exponential: z / ((1 − a) + a·z) with z = 1 − s, 0 ≤ a < 1. a = 0 is linear, a = 0.5 the paper's curve
/// 2z / (1 + z); many ports use 0.9, which stays high much longer, so say which. Mean for a = 0.5: 2 − 2 ln 2 = 0.6137.
/// from: REX (arXiv:2107.04197)
struct rex {
  double a = 0.5;
  constexpr double operator()(double s) const noexcept { return (1 - s) / ((1 - a) + a * (1 - s)); }
};

/// Warm-up, stable, decay without the warm-up (`warmup` adds it): 1 until progress 1 − cool, then `Cooling` over the rest.
/// from: MiniCPM (arXiv:2404.06395)
template <Profile Cooling = linear>
struct wsd {
  double cool = 0.2;
  [[no_unique_address]] Cooling cooling{};
  constexpr double operator()(double s) const noexcept {
    const double into = s - (1 - cool);
    return into <= 0 ? 1.0 : cooling(s < 1 && into < cool ? into / cool : 1.0);  // exactly its end at s = 1
  }
};

/// Linear from `start` to 1 over the first `fraction` of progress, then `Inner` over the rest. The default start is above
/// 0, or the first step would be wasted. Do not put it on a refined profile: those hold their own warm-up.
template <Profile Inner>
struct warmup {
  double fraction = 0.1, start = 0.1;
  [[no_unique_address]] Inner inner{};
  constexpr double operator()(double s) const noexcept {
    if (s < fraction) return (start + (1 - start) * (s / fraction)) * inner(0.0);
    return inner(fraction < 1 ? (s - fraction) / (1 - fraction) : 1.0);
  }
};

}  // namespace profile

static_assert(Profile<profile::constant> && Profile<profile::linear> && Profile<profile::polynomial> && Profile<profile::cosine>);
static_assert(Profile<profile::exponential> && Profile<profile::step> && Profile<profile::one_cycle> && Profile<profile::rex>);
static_assert(Profile<profile::wsd<>> && Profile<profile::warmup<profile::rex>>);

}  // namespace quire::inline v0::calibrate
