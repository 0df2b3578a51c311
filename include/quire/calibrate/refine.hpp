// SPDX-License-Identifier: Apache-2.0
// A schedule computed from the gradient norms of an earlier run of the same recipe.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "median_filter.hpp"
#include "table_profile.hpp"

namespace quire::inline v0::calibrate {

/// What `refine` made of a recording.
enum class refinement : std::uint8_t {
  refined,    ///< the profile follows the recorded norms
  too_few,    ///< fewer than two usable norms: linear decay
  vanishing   ///< the norms fall (or differ) too far, as on a problem that interpolates its data: linear decay
};

struct refine_options {
  std::uint32_t exponent = 2;   ///< w = norm^−exponent. 2: SGD, l2 norms; 1: Adam, l1 norms of the raw gradient
  double tau = 0.1;             ///< width of the median filter as a share of the recording
  std::uint32_t points = profile::table::most_points;  ///< longer recordings are resampled to this many
  double floor = 0.02;          ///< smoothed norms below this share of their median are raised to it
  /// Largest ÷ smallest smoothed norm past which the recording is refused (`vanishing`). Logistic regressions had 1.8 to 3.6
  /// with label noise and 57 or more without (bench/calibrate).
  double most_spread = 20;
};

struct refined_profile {
  profile::table profile;
  refinement outcome = refinement::too_few;
  double spread = 0;          ///< largest ÷ smallest smoothed norm, before the floor; infinite when one is 0
  double peak_at = 0;         ///< progress at which the profile is 1: the length of the warm-up it found
  std::uint64_t dropped = 0;  ///< norms that were negative or not finite
  std::uint64_t floored = 0;  ///< points that the floor raised
};

namespace detail {

/// Norms [n] at `points` equal distances; unusable ones are bridged by their neighbours, so progress is kept.
inline std::vector<double> usable(std::span<const double> norms, std::uint32_t points, std::uint64_t& dropped) {
  std::vector<std::size_t> kept;
  kept.reserve(norms.size());
  for (std::size_t i = 0; i < norms.size(); ++i)
    if (std::isfinite(norms[i]) && norms[i] >= 0) kept.push_back(i);
  dropped = norms.size() - kept.size();
  if (kept.size() < 2) return {};
  std::vector<double> out(std::min<std::size_t>(norms.size(), points));
  std::size_t k = 0;  // kept[k] is the last usable one at or before the point
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double at = static_cast<double>(i) * static_cast<double>(norms.size() - 1) / static_cast<double>(out.size() - 1);
    while (k + 1 < kept.size() && static_cast<double>(kept[k + 1]) <= at) ++k;
    const double left = norms[kept[k]], from = static_cast<double>(kept[k]);
    if (at <= from || k + 1 == kept.size()) {
      out[i] = left;
      continue;
    }
    const double w = (at - from) / (static_cast<double>(kept[k + 1]) - from);
    out[i] = (1 - w) * left + w * norms[kept[k + 1]];
  }
  return out;
}

}  // namespace detail

/// The profile that minimises the last-iterate bound for recorded norms: w_t = norm_t^−exponent of the smoothed norms,
/// rate_t ∝ w_t · Σ_{p>t} w_p, scaled to a largest value of 1; it ends at 0. Norms that fall early give a warm-up, norms that
/// rise at the end a fast anneal, constant ones linear decay. The peak rate stays a parameter of its own.
/// Norms that fall towards 0 (a problem that interpolates its data) would put the peak late and make the run worse; that
/// is detected, and linear decay is returned with the reason in `outcome`.
/// shape: norms [T], one a step or at equal distances; unit: any, only ratios matter; the base run should use linear decay, and
/// the same batch size as the run to come. cost: O(T log T), allocates
/// fails: out_of_range ("exponent", "points", "tau, in millionths", "floor, in millionths", "most_spread"); `out` is unchanged then
/// from: Defazio et al. (arXiv:2310.07831); test: tests/calibrate/refine.cpp
[[nodiscard]] inline status refine(std::span<const double> norms, const refine_options& options, refined_profile& out) {
  constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max();
  const auto millionths = [](double x) { return std::fabs(x) < 1e12 ? static_cast<std::int64_t>(x * 1e6) : any; };
  if (options.exponent < 1 || options.exponent > 2) return {errc::out_of_range, "exponent", options.exponent, 1, 2};
  if (options.points < 2 || options.points > profile::table::most_points)
    return {errc::out_of_range, "points", options.points, 2, profile::table::most_points};
  if (!(options.tau >= 0 && options.tau <= 1)) return {errc::out_of_range, "tau, in millionths", millionths(options.tau), 0, 1000000};
  if (!(options.floor >= 0 && options.floor <= 1)) return {errc::out_of_range, "floor, in millionths", millionths(options.floor), 0, 1000000};
  if (!(options.most_spread >= 1))
    return {errc::out_of_range, "most_spread, in millionths", millionths(options.most_spread), 1000000, any};

  refined_profile made;
  std::vector<double> g = detail::usable(norms, options.points, made.dropped);
  made.profile = profile::table({1.0, 0.0});
  const std::size_t n = g.size();
  if (n < 2) {
    out = std::move(made);
    return {};
  }
  const auto wide = static_cast<std::uint32_t>(options.tau * static_cast<double>(n));
  if (const status s = median_filter(g, 2 * (wide / 2) + 1, g); !s) return s;
  const auto [low, high] = std::minmax_element(g.begin(), g.end());
  made.spread = *low > 0 ? *high / *low : std::numeric_limits<double>::infinity();

  std::vector<double> sorted = g;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(n / 2), sorted.end());
  const double median = sorted[n / 2], lowest = options.floor * median;
  for (double& x : g)
    if (x < lowest) x = lowest, ++made.floored;
  if (made.spread > options.most_spread || !(*std::min_element(g.begin(), g.end()) > 0)) {
    made.outcome = refinement::vanishing;
    out = std::move(made);
    return {};
  }

  double after = 0, most = 0;
  for (std::size_t t = n; t-- > 0;) {
    const double ratio = median / g[t], w = options.exponent == 2 ? ratio * ratio : ratio;
    g[t] = w * after;
    after += w;
    most = std::max(most, g[t]);
  }
  for (double& x : g) x /= most;
  made.peak_at = static_cast<double>(std::max_element(g.begin(), g.end()) - g.begin()) / static_cast<double>(n - 1);
  made.profile = profile::table(std::move(g));
  made.outcome = refinement::refined;
  out = std::move(made);
  return {};
}

}  // namespace quire::inline v0::calibrate
