// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "../../core/random.hpp"

namespace quire::inline v0::serve::simulate {

/// Seeded draws of the kinds that traffic is made of. The same on every machine but for the last digits of log and cos;
/// the standard library's distributions differ between vendors.
/// cost: some multiplications a draw, no allocation. from: core/random.hpp; gamma: Marsaglia and
/// Tsang 2000; test: tests/serve/simulate/random.cpp
class draws : public splitmix64 {
 public:
  using splitmix64::splitmix64;

  constexpr std::uint64_t bits() noexcept { return (*this)(); }
  constexpr double between(double low, double high) noexcept { return low + (high - low) * unit(); }

  double exponential(double mean) noexcept { return -mean * std::log1p(-unit()); }
  double normal() noexcept {
    const double radius = std::sqrt(-2 * std::log1p(-unit()));
    return radius * std::cos(2 * std::numbers::pi * unit());
  }
  /// Mean `mean`, standard deviation cv·mean: cv 1 is the exponential, above it arrivals come in bursts. cv > 0.
  double gamma(double mean, double cv) noexcept {
    const double shape = 1 / (cv * cv), scale = mean / shape;
    // below shape 1 the method has no proof: draw at shape + 1 and shrink
    const double a = shape < 1 ? shape + 1 : shape, d = a - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), v = (1 + c * x) * (1 + c * x) * (1 + c * x);
      if (v <= 0) continue;
      if (std::log1p(-unit()) >= x * x / 2 + d - d * v + d * std::log(v)) continue;
      const double shrink = shape < 1 ? std::pow(1 - unit(), 1 / shape) : 1;
      return d * v * scale * shrink;
    }
  }
  /// Failures before the first success: 0, 1, 2, ... with the given mean.
  std::uint32_t geometric(double mean) noexcept {
    if (mean <= 0) return 0;
    return static_cast<std::uint32_t>(std::floor(std::log1p(-unit()) / std::log1p(-1 / (1 + mean))));
  }
};

}  // namespace quire::inline v0::serve::simulate
