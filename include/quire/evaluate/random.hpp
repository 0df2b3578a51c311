// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "../core/config.hpp"

namespace quire::inline v0::evaluate {

/// Draws that are the same on every machine and standard library: a counter through a 64-bit mixer, so that a seed and a
/// number of draws say all there is to know. Not for secrets.
/// cost: a few multiplications a draw, no allocation. from: SplitMix64 (Steele, Lea, Flood 2014); test: tests/evaluate/random.cpp
class draws {
 public:
  explicit constexpr draws(std::uint64_t seed) noexcept : state_(seed) {}

  constexpr std::uint64_t bits() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  /// [0, n), every value as likely; n >= 1.
  constexpr std::uint64_t below(std::uint64_t n) noexcept {
    const std::uint64_t uneven = (0 - n) % n;  // 2^64 mod n: the draws that would favour small values
    for (;;)
      if (const std::uint64_t x = bits(); x >= uneven) return x % n;
  }
  /// [0, 1), a multiple of 2^-53.
  constexpr double unit() noexcept { return static_cast<double>(bits() >> 11) * 0x1p-53; }

  template <class T>
  constexpr void shuffle(std::span<T> x) noexcept {
    for (std::size_t i = x.size(); i > 1; --i) std::swap(x[i - 1], x[static_cast<std::size_t>(below(i))]);
  }
  /// A generator for a part of the work, which draws nothing that this one or another part's draws.
  constexpr draws part(std::uint64_t index) const noexcept {
    draws mixed(state_ ^ (index + 1) * 0xd1342543de82ef95u);
    return draws(mixed.bits());
  }

 private:
  std::uint64_t state_;
};

}  // namespace quire::inline v0::evaluate
