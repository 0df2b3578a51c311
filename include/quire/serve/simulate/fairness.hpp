// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "../../core/config.hpp"

namespace quire::inline v0::serve::simulate {

/// (sum x)^2 / (n sum x^2): 1 when all are equal, 1/n when one has everything; 1 of nothing.
/// from: Jain, Chiu, Hawe 1984; test: tests/serve/simulate/fairness.cpp
inline double jain_index(std::span<const double> x) noexcept {
  double sum = 0, squares = 0;
  for (const double v : x) sum += v, squares += v * v;
  return squares == 0 ? 1 : sum * sum / (static_cast<double>(x.size()) * squares);
}

/// The largest difference in service that two tenants got over any stretch of time in which both had requests waiting.
/// A fair scheduler bounds it by a constant; first come, first served does not.
/// cost: `note` O(tenants^2) in backlogged tenants. from: VTC (arXiv:2401.00588); test:
/// tests/serve/simulate/fairness.cpp
class service_gap {
 public:
  explicit service_gap(std::uint32_t tenants)
      : tenants_(tenants), service_(tenants), waiting_(tenants), pairs_(std::size_t{tenants} * tenants) {}

  void arrived(std::uint32_t tenant) noexcept { ++waiting_[tenant]; }
  /// It has its pages; served requests no longer wait.
  void admitted(std::uint32_t tenant) noexcept { --waiting_[tenant]; }
  void served(std::uint32_t tenant, double amount) noexcept { service_[tenant] += amount; }

  /// The end of a step: differences of all pairs are looked at now.
  void note() noexcept {
    for (std::uint32_t a = 0; a < tenants_; ++a)
      for (std::uint32_t b = a + 1; b < tenants_; ++b) {
        pair& p = pairs_[std::size_t{a} * tenants_ + b];
        const double d = service_[a] - service_[b];
        if (waiting_[a] == 0 || waiting_[b] == 0) {
          p.open = false;
          continue;
        }
        if (!p.open) p = {d, d, true};
        p.low = std::min(p.low, d), p.high = std::max(p.high, d);
        largest_ = std::max(largest_, p.high - p.low);
      }
  }
  double largest() const noexcept { return largest_; }
  std::span<const double> service() const noexcept { return service_; }

 private:
  struct pair {
    double low = 0, high = 0;
    bool open = false;
  };
  std::uint32_t tenants_;
  std::vector<double> service_;
  std::vector<std::uint32_t> waiting_;
  std::vector<pair> pairs_;
  double largest_ = 0;
};

}  // namespace quire::inline v0::serve::simulate
