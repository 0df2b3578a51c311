// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "profile.hpp"

namespace quire::inline v0::calibrate::profile {

/// Points at equal distances of progress, point i of n at s = i / (n − 1), joined by straight lines. It knows progress
/// and no step count, so a table recorded on one budget serves any other. An empty table is 0 everywhere.
/// shape: points [n], values in [0, 1]; cost: O(1) a read; test: tests/calibrate/table_profile.cpp
class table {
 public:
  static constexpr std::uint32_t most_points = 10000;

  table() = default;
  explicit table(std::vector<double> points) noexcept : points_(std::move(points)) {}

  double operator()(double s) const noexcept {
    const std::size_t n = points_.size();
    if (n < 2) return n == 0 ? 0.0 : points_[0];
    if (!(s > 0)) return points_[0];
    if (s >= 1) return points_[n - 1];
    const double at = s * static_cast<double>(n - 1);
    auto i = static_cast<std::size_t>(at);
    if (i > n - 2) i = n - 2;
    const double w = at - static_cast<double>(i);
    return (1 - w) * points_[i] + w * points_[i + 1];
  }
  const std::vector<double>& points() const noexcept { return points_; }
  friend bool operator==(const table&, const table&) = default;

 private:
  std::vector<double> points_;
};
static_assert(Profile<table>);

/// `from` at n points. precondition: n ≥ 2. Allocates.
template <Profile P>
[[nodiscard]] table tabulate(const P& from, std::uint32_t n) {
  QUIRE_ASSERT(n >= 2, "quire::calibrate::profile::tabulate: a table has at least two points");
  std::vector<double> points(n);
  for (std::uint32_t i = 0; i < n; ++i) points[i] = from(static_cast<double>(i) / (n - 1));
  return table(std::move(points));
}

}  // namespace quire::inline v0::calibrate::profile
