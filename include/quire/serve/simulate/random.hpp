// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "../../core/config.hpp"

namespace quire::inline v0::serve::simulate {

/// Seeded draws of the kinds that traffic is made of. The same on every machine but for the last digits of log and cos;
/// the standard library's distributions differ between vendors.
/// cost: some multiplications a draw, no allocation. from: SplitMix64 (Steele, Lea, Flood 2014); gamma: Marsaglia and
/// Tsang 2000; test: tests/serve/simulate/random.cpp
class draws {
 public:
  explicit constexpr draws(std::uint64_t seed) noexcept : state_(seed) {}

  constexpr std::uint64_t bits() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  /// [0, n), without bias; n >= 1.
  constexpr std::uint64_t below(std::uint64_t n) noexcept {
    const std::uint64_t uneven = (0 - n) % n;  // 2^64 mod n: the draws that would favour small values
    for (;;)
      if (const std::uint64_t x = bits(); x >= uneven) return x % n;
  }
  /// [0, 1), a multiple of 2^-53.
  constexpr double unit() noexcept { return static_cast<double>(bits() >> 11) * 0x1p-53; }
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

 private:
  std::uint64_t state_;
};

}  // namespace quire::inline v0::serve::simulate
