// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "../core/config.hpp"

namespace quire::inline v0::calibrate {

/// Random numbers that are the same on every compiler and machine (the standard library's distributions are not).
/// from: SplitMix64 (Steele, Lea, Flood 2014); test: tests/calibrate/random.cpp
class splitmix64 {
 public:
  explicit constexpr splitmix64(std::uint64_t seed) noexcept : state_(seed) {}

  constexpr std::uint64_t operator()() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  /// Uniform in [0, n), without bias. precondition: n > 0.
  constexpr std::uint64_t below(std::uint64_t n) noexcept {
    QUIRE_ASSERT(n > 0, "quire::calibrate::splitmix64::below: nothing lies below 0");
    const std::uint64_t reject = (0 - n) % n;  // 2^64 mod n: the part of the range that would favour small numbers
    for (;;)
      if (const std::uint64_t x = (*this)(); x >= reject) return x % n;
  }
  /// Uniform in [0, 1), 53 bits.
  constexpr double unit() noexcept { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

  /// A uniform order of values [n] (Fisher–Yates).
  template <class T>
  constexpr void shuffle(T* values, std::uint64_t n) noexcept {
    for (std::uint64_t i = n; i > 1; --i) {
      const std::uint64_t j = below(i);
      std::swap(values[i - 1], values[j]);
    }
  }

 private:
  std::uint64_t state_;
};

}  // namespace quire::inline v0::calibrate
