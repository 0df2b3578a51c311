// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "../core/status.hpp"

namespace quire::inline v0::calibrate {

namespace detail {

/// A multiset of ranks [0, n) that finds its k-th smallest: a Fenwick tree of counts.
class rank_window {
 public:
  explicit rank_window(std::size_t n) : counts_(std::bit_ceil(n + 1), 0) {}
  void add(std::size_t rank, std::int32_t by) noexcept {
    for (std::size_t i = rank + 1; i < counts_.size(); i += i & (~i + 1)) counts_[i] += by;
  }
  std::size_t kth(std::int32_t k) const noexcept {  // k from 0
    std::size_t at = 0;
    for (std::size_t half = counts_.size() / 2; half != 0; half /= 2)
      if (counts_[at + half] <= k) k -= counts_[at += half];
    return at;
  }

 private:
  std::vector<std::int32_t> counts_;
};

}  // namespace detail

/// Running median over `window` samples around each: out_i = median of x_{i−h} … x_{i+h}, h = (window − 1) / 2. Before
/// the first sample the first is repeated; after the last the samples are reflected (… x_{n−2}, x_{n−1}, x_{n−2} …): a
/// repeated last sample would weigh on the end of a trace, where an annealing schedule is decided.
/// shape: x, out [n], may be the same; cost: O((n + window) log n), allocates 20 bytes a sample
/// fails: out_of_range ("window (an odd number)", "out size"); not_finite (`value` is the index)
/// from: Defazio et al. (arXiv:2310.07831); test: tests/calibrate/median_filter.cpp
[[nodiscard]] inline status median_filter(std::span<const double> x, std::uint32_t window, std::span<double> out) {
  const std::size_t n = x.size();
  constexpr std::uint32_t most = std::numeric_limits<std::int32_t>::max();
  if (window % 2 == 0 || window > most) return {errc::out_of_range, "window (an odd number)", window, 1, most};
  const auto want = static_cast<std::int64_t>(n), got = static_cast<std::int64_t>(out.size());
  if (got != want) return {errc::out_of_range, "out size", got, want, want};
  if (n == 0) return {};
  for (std::size_t i = 0; i < n; ++i)
    if (!std::isfinite(x[i])) return {errc::not_finite, "sample", static_cast<std::int64_t>(i)};

  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return x[a] != x[b] ? x[a] < x[b] : a < b; });
  std::vector<double> sorted(n);
  std::vector<std::uint32_t> rank(n);
  for (std::size_t r = 0; r < n; ++r) sorted[r] = x[order[r]], rank[order[r]] = static_cast<std::uint32_t>(r);

  const auto half = static_cast<std::int64_t>(window / 2), last = static_cast<std::int64_t>(n) - 1;
  const auto rank_at = [&](std::int64_t i) {  // of the padded sequence
    if (i <= 0 || last == 0) return rank[0];
    const std::int64_t period = i % (2 * last);
    return rank[static_cast<std::size_t>(period <= last ? period : 2 * last - period)];
  };
  detail::rank_window inside(n);
  for (std::int64_t i = -half; i < half; ++i) inside.add(rank_at(i), 1);
  for (std::int64_t i = 0; i <= last; ++i) {
    inside.add(rank_at(i + half), 1);
    out[static_cast<std::size_t>(i)] = sorted[inside.kth(static_cast<std::int32_t>(half))];
    inside.add(rank_at(i - half), -1);
  }
  return {};
}

}  // namespace quire::inline v0::calibrate
