// SPDX-License-Identifier: Apache-2.0
// Many measurements in a few numbers, and how sure they are. Everything is double, summed in the order given, and draws nothing
// but from its own seed, so a report can be repeated digit for digit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "../core/config.hpp"
#include "../core/random.hpp"

namespace quire::inline v0::evaluate {

/// NaN of nothing.
inline double mean(std::span<const double> x) noexcept {
  double sum = 0;
  for (const double v : x) sum += v;
  return x.empty() ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(x.size());
}

/// The smallest value that at least the share q of all values do not exceed (nearest rank); NaN of nothing. A NaN counts
/// as larger than any number. cost: a copy, O(n). test: tests/evaluate/summary.cpp
inline double quantile(std::span<const double> x, double q) {
  if (x.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> copy(x.begin(), x.end());
  const auto n = static_cast<double>(copy.size());
  const auto rank = copy.begin() + static_cast<std::ptrdiff_t>(std::clamp(std::ceil(q * n) - 1, 0.0, n - 1));
  std::nth_element(copy.begin(), rank, copy.end(), [](double a, double b) { return a < b || (a == a && b != b); });
  return *rank;
}

struct distribution {
  std::size_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p99 = 0;
};
inline distribution summarize(std::span<const double> x) { return {x.size(), mean(x), quantile(x, 0.5), quantile(x, 0.9), quantile(x, 0.99)}; }

/// Drift: means of `bins` equal stretches of positions over rows that start anew at every multiple of `period`, all rows of one
/// stretch together. shape: x [rows of period], result [bins]; unit: that of x.
/// precondition: 1 <= bins <= period, period divides x.size().
inline std::vector<double> mean_by_position(std::span<const double> x, std::size_t period, std::size_t bins) {
  QUIRE_ASSERT(bins >= 1 && bins <= period && x.size() % period == 0, "bins of a period");
  std::vector<double> sum(bins, 0.0), count(bins, 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t bin = i % period * bins / period;
    sum[bin] += x[i], count[bin] += 1;
  }
  for (std::size_t b = 0; b < bins; ++b) sum[b] /= count[b];  // NaN of nothing
  return sum;
}

/// Where a value lies, both ends inclusive.
struct interval {
  double low = 0, high = 0;
};

/// The normal quantile that leaves (1 − confidence) / 2 on either side; precondition: confidence in (0, 1).
/// cost: bisection on erfc, some 60 steps.
inline double normal_quantile_two_sided(double confidence) noexcept {
  double low = 0, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double z = (low + high) / 2;
    (std::erfc(z / std::sqrt(2.0)) > 1 - confidence ? low : high) = z;
  }
  return (low + high) / 2;
}

/// Where a rate lies when `hits` of `trials` independent trials hit. Inside [0, 1] and sensible at 0 and at all hits; [0, 1] of no trial.
/// from: Wilson's score interval (J. Am. Stat. Assoc. 22, 1927)
inline interval wilson(std::size_t hits, std::size_t trials, double confidence = 0.95) noexcept {
  if (trials == 0) return {0, 1};
  const double n = static_cast<double>(trials), p = static_cast<double>(hits) / n, z = normal_quantile_two_sided(confidence);
  const double centre = p + z * z / (2 * n), half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)), scale = 1 + z * z / n;
  return {hits == 0 ? 0.0 : (centre - half) / scale, hits == trials ? 1.0 : (centre + half) / scale};
}

struct bootstrap_options {
  std::uint32_t resamples = 2000;
  double confidence = 0.95;
  std::uint64_t seed = 1;
};

/// Where the mean of x lies, by resampling. Trials of one cluster (questions about one context, rows of one stretch) are not
/// independent, so whole clusters are drawn; `cluster` empty: every trial is its own. Percentile interval: with few clusters (below about
/// ten) it is too narrow. shape: x, cluster [trials]; any numbers name clusters. [NaN, NaN] of nothing.
/// cost: resamples × clusters; allocates. from: Efron 1979; the cluster form as in Cameron, Gelbach, Miller 2008
inline interval bootstrap_mean(std::span<const double> x, std::span<const std::uint32_t> cluster = {}, const bootstrap_options& o = {}) {
  QUIRE_ASSERT(cluster.empty() || cluster.size() == x.size(), "a cluster for each trial");
  if (x.empty()) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  std::vector<std::uint32_t> names(cluster.begin(), cluster.end());
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  const std::size_t groups = cluster.empty() ? x.size() : names.size();
  std::vector<double> sum(groups, 0.0), count(groups, 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t g = cluster.empty() ? i : static_cast<std::size_t>(std::lower_bound(names.begin(), names.end(), cluster[i]) - names.begin());
    sum[g] += x[i], count[g] += 1;
  }
  splitmix64 draw(o.seed);
  std::vector<double> means(o.resamples);
  for (double& m : means) {
    double total = 0, n = 0;
    for (std::size_t k = 0; k < groups; ++k) {
      const auto g = static_cast<std::size_t>(draw.below(groups));
      total += sum[g], n += count[g];
    }
    m = total / n;
  }
  const double tail = (1 - o.confidence) / 2;
  return {quantile(means, tail), quantile(means, 1 - tail)};
}

/// Mean of a − b over the same trials, and where it lies.
struct paired_difference {
  double mean = 0;
  interval within;
};

/// Two arms that saw identical prompts: only the difference within a trial counts, which takes out how hard the trial is.
/// shape: a, b, cluster [trials]
inline paired_difference compare_paired(std::span<const double> a, std::span<const double> b, std::span<const std::uint32_t> cluster = {},
                                        const bootstrap_options& o = {}) {
  QUIRE_ASSERT(a.size() == b.size(), "two arms of the same trials");
  std::vector<double> difference(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return {mean(difference), bootstrap_mean(difference, cluster, o)};
}

}  // namespace quire::inline v0::evaluate
