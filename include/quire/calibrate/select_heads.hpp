// SPDX-License-Identifier: Apache-2.0
// From scores of heads to classes of heads. The result is what kv::head_classes takes: 1 keeps every token, 0 streams.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "../core/status.hpp"

namespace quire::inline v0::calibrate {

namespace detail {

inline status check_scores(std::span<const double> scores) noexcept {
  for (std::size_t h = 0; h < scores.size(); ++h)
    if (std::isnan(scores[h])) return {errc::not_finite, "score of head", static_cast<std::int64_t>(h)};
  return {};
}
inline status check_share(const char* what, double share) noexcept {
  const auto millionths = std::fabs(share) < 1e12 ? static_cast<std::int64_t>(share * 1e6) : std::numeric_limits<std::int64_t>::max();
  if (!(share >= 0 && share <= 1)) return {errc::out_of_range, what, millionths, 0, 1000000};
  return {};
}
/// Marks the k best; equal scores go to the smaller index.
inline void mark_best(std::span<const double> scores, std::size_t k, std::vector<std::uint8_t>& chosen) {
  std::vector<std::uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  for (std::size_t i = 0; i < k; ++i) chosen[order[i]] = 1;
}
inline std::size_t share_of(double share, std::size_t n) noexcept {
  return static_cast<std::size_t>(std::floor(share * static_cast<double>(n) + 0.5 + 1e-9));  // 0.35 of 90 is 31.5, not less
}

}  // namespace detail

/// Exactly k heads, the best scores over all layers; ties go to the smaller index, never to noise.
/// shape: scores [layers × kv_heads], layer major; chosen likewise
/// fails: not_finite ("score of head"), out_of_range ("k"); `chosen` is unchanged then. test: tests/calibrate/select_heads.cpp
[[nodiscard]] inline status select_top(std::span<const double> scores, std::size_t k, std::vector<std::uint8_t>& chosen) {
  if (const status s = detail::check_scores(scores); !s) return s;
  if (k > scores.size()) return {errc::out_of_range, "k", static_cast<std::int64_t>(k), 0, static_cast<std::int64_t>(scores.size())};
  std::vector<std::uint8_t> made(scores.size(), 0);
  detail::mark_best(scores, k, made);
  chosen = std::move(made);
  return {};
}

/// A quantile of all heads: the share `sparsity` of them (rounded to a whole number of heads) streams, the best stay whole. A
/// layer may end with none or all. fails: as select_top, and out_of_range ("sparsity, in millionths").
/// from: DuoAttention (arXiv:2410.10819)
[[nodiscard]] inline status select_by_sparsity(std::span<const double> scores, double sparsity, std::vector<std::uint8_t>& chosen) {
  if (const status s = detail::check_share("sparsity, in millionths", sparsity); !s) return s;
  return select_top(scores, scores.size() - detail::share_of(sparsity, scores.size()), chosen);
}

/// Every head whose score is at least `threshold`. fails: not_finite ("score of head", "threshold").
[[nodiscard]] inline status select_by_threshold(std::span<const double> scores, double threshold, std::vector<std::uint8_t>& chosen) {
  if (const status s = detail::check_scores(scores); !s) return s;
  if (std::isnan(threshold)) return {errc::not_finite, "threshold"};
  std::vector<std::uint8_t> made(scores.size());
  for (std::size_t h = 0; h < scores.size(); ++h) made[h] = scores[h] >= threshold ? 1 : 0;
  chosen = std::move(made);
  return {};
}

struct repeat_shares {
  double induction = 0.14, echo = 0.01;
};

/// The best share of heads by induction score and the best share by echo score, together (a head may be in both). A share
/// above 0 takes at least one head. fails: as select_by_sparsity; out_of_range ("echo scores (how many)").
/// from: RazorAttention (arXiv:2407.15891)
[[nodiscard]] inline status select_union(std::span<const double> induction, std::span<const double> echo, std::vector<std::uint8_t>& chosen,
                                         repeat_shares shares = {}) {
  const auto n = static_cast<std::int64_t>(induction.size());
  if (echo.size() != induction.size()) return {errc::out_of_range, "echo scores (how many)", static_cast<std::int64_t>(echo.size()), n, n};
  if (const status s = detail::check_scores(induction); !s) return s;
  if (const status s = detail::check_scores(echo); !s) return s;
  if (const status s = detail::check_share("induction share, in millionths", shares.induction); !s) return s;
  if (const status s = detail::check_share("echo share, in millionths", shares.echo); !s) return s;
  std::vector<std::uint8_t> made(induction.size(), 0);
  const auto take = [&](std::span<const double> scores, double share) {
    const std::size_t k = detail::share_of(share, scores.size());
    detail::mark_best(scores, k == 0 && share > 0 && !scores.empty() ? 1 : k, made);
  };
  take(induction, shares.induction);
  take(echo, shares.echo);
  chosen = std::move(made);
  return {};
}

}  // namespace quire::inline v0::calibrate
