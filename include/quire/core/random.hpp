// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "config.hpp"

namespace quire::inline v0 {

/// Random numbers that are the same on every compiler and machine (the standard library's distributions are not): a counter
/// through a 64-bit mixer, so that a seed and a number of draws say all there is to know. Not for secrets.
/// cost: a few multiplications a draw, no allocation. from: SplitMix64 (Steele, Lea, Flood 2014); test: tests/core/random.cpp
class splitmix64 {
 public:
  QUIRE_HD explicit constexpr splitmix64(std::uint64_t seed) noexcept : state_(seed) {}

  QUIRE_HD constexpr std::uint64_t operator()() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  /// Uniform in [0, n), without bias. precondition: n > 0.
  constexpr std::uint64_t below(std::uint64_t n) noexcept {
    QUIRE_ASSERT(n > 0, "quire::splitmix64::below: nothing lies below 0");
    const std::uint64_t reject = (0 - n) % n;  // 2^64 mod n: the part of the range that would favour small numbers
    for (;;)
      if (const std::uint64_t x = (*this)(); x >= reject) return x % n;
  }
  /// Uniform in [0, 1), 53 bits.
  constexpr double unit() noexcept { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

  /// A uniform order of values (Fisher–Yates).
  template <class T>
  constexpr void shuffle(std::span<T> values) noexcept {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[static_cast<std::size_t>(below(i))]);
  }
  /// A generator for a part of the work, which draws nothing that this one or another part's draws.
  constexpr splitmix64 part(std::uint64_t index) const noexcept { return splitmix64(splitmix64(state_ ^ (index + 1) * 0xd1342543de82ef95u)()); }

 private:
  std::uint64_t state_;
};

}  // namespace quire::inline v0
