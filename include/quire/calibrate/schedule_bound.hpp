// SPDX-License-Identifier: Apache-2.0
// What theory promises for a schedule on recorded gradient norms: for tests, tables and a first guess of the peak rate.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/status.hpp"

namespace quire::inline v0::calibrate {

/// E f(last iterate) − f* ≤ distance / scale + (gradient + last) · scale for the rates scale · rate_t.
struct schedule_bound {
  double distance = 0;  ///< D² / 2Σrate
  double gradient = 0;  ///< Σ rate²·norm² / 2Σrate
  double last = 0;      ///< what the last iterate pays over the average

  double value(double scale = 1) const noexcept { return distance / scale + (gradient + last) * scale; }
  double best_scale() const noexcept { return std::sqrt(distance / (gradient + last)); }
  double best_value() const noexcept { return 2 * std::sqrt(distance * (gradient + last)); }
};

namespace detail {
inline status check_rates(std::span<const double> rates, std::span<const double> norms, double d) {
  const auto n = static_cast<std::int64_t>(rates.size());
  if (n == 0) return {errc::out_of_range, "rates (how many)", 0, 1, std::int64_t{1} << 62};
  if (norms.size() != rates.size()) return {errc::out_of_range, "norms (how many)", static_cast<std::int64_t>(norms.size()), n, n};
  if (!std::isfinite(d) || d < 0) return {errc::not_finite, "distance (finite, at least 0)"};
  for (std::int64_t t = 0; t < n; ++t) {
    const auto i = static_cast<std::size_t>(t);
    if (!std::isfinite(rates[i]) || rates[i] < 0) return {errc::not_finite, "rate (finite, at least 0) of step", t};
    if (!std::isfinite(norms[i]) || norms[i] < 0) return {errc::not_finite, "norm (finite, at least 0) of step", t};
  }
  return {};
}
}  // namespace detail

/// The bound for any rates η on norms G with D = |x_0 − x*|, A_k = Σ_{t>k} η, C_k = Σ_{t≥k} η, B_k = Σ_{t≥k} η²G²:
/// D²/2Ση + Ση²G²/2Ση + ½ Σ_k (η_k / A_k)(B_k / C_k). Steps of rate 0 at the end move nothing and are left out.
/// shape: rates, norms [T]; cost: O(T)
/// fails: out_of_range (sizes; no rate above 0), not_finite (`value` is the step)
/// from: Defazio et al. (arXiv:2310.07831), theorem 10; test: tests/calibrate/schedule_bound.cpp
[[nodiscard]] inline status bound_of(std::span<const double> rates, std::span<const double> norms, double d, schedule_bound& out) {
  if (const status s = detail::check_rates(rates, norms, d); !s) return s;
  double rate_sum = 0, squares = 0, last = 0;
  for (std::size_t k = rates.size(); k-- > 0;) {
    const double after = rate_sum;
    rate_sum += rates[k];
    squares += rates[k] * rates[k] * norms[k] * norms[k];
    if (after > 0) last += rates[k] / after * (squares / rate_sum);
  }
  if (!(rate_sum > 0)) return {errc::out_of_range, "rates above 0 (how many)", 0, 1, static_cast<std::int64_t>(rates.size())};
  out = {d * d / (2 * rate_sum), squares / (2 * rate_sum), last / 2};
  return {};
}

/// The bound for averaging weights w, which the last iterate inherits when η_t = w_t · Σ_{p>t} w / Σ w:
/// (D² + Σ w²G²) / 2Σw for w scaled best, D · √(Σ w²G²) / Σw; never below D / √(Σ G^−2), reached by w ∝ G^−2.
/// shape: weights, norms [T]; fails: as bound_of
[[nodiscard]] inline status averaged_bound(std::span<const double> weights, std::span<const double> norms, double d, double& out) {
  if (const status s = detail::check_rates(weights, norms, d); !s) return s;
  double sum = 0, squares = 0;
  for (std::size_t t = 0; t < weights.size(); ++t) sum += weights[t], squares += weights[t] * weights[t] * norms[t] * norms[t];
  if (!(sum > 0)) return {errc::out_of_range, "weights above 0 (how many)", 0, 1, static_cast<std::int64_t>(weights.size())};
  out = d * std::sqrt(squares) / sum;
  return {};
}

}  // namespace quire::inline v0::calibrate
