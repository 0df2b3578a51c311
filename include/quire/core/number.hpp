// SPDX-License-Identifier: Apache-2.0
// Storage formats for numbers. Arithmetic is always f32: convert, compute, convert back. Conversions round to nearest,
// ties to even, and are the reference for the vector versions in core/simd.hpp.
#pragma once

#include <bit>
#include <cstdint>

#include "config.hpp"

namespace quire::inline v0 {

namespace detail {

/// f32 → a float of `Exp` exponent and `Man` mantissa bits (IEEE-like, subnormals kept). `max_finite` is the largest
/// finite encoding without the sign, `overflow` what larger magnitudes and infinities become, `nan` the quiet NaN.
template <int Exp, int Man>
QUIRE_HD constexpr std::uint32_t narrow(float x, std::uint32_t max_finite, std::uint32_t overflow, std::uint32_t nan) noexcept {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (u >> 31) << (Exp + Man);
  const std::uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return sign | nan;
  constexpr int bias = (1 << (Exp - 1)) - 1;
  const int e = static_cast<int>(a >> 23) - 127 + bias;  // exponent in the target, before rounding
  const std::uint32_t m = (a & 0x7fffffu) | 0x800000u;
  int shift = 23 - Man;
  std::uint32_t base = 0;
  if (e >= 1) {
    base = static_cast<std::uint32_t>(e - 1) << Man;  // the implicit bit adds the missing 1 << Man
  } else {
    shift += 1 - e;
    if (shift > 24) return sign;
  }
  const std::uint32_t half = 1u << (shift - 1), low = m & ((1u << shift) - 1u);
  std::uint32_t r = base + (m >> shift);
  if (low > half || (low == half && (r & 1u))) ++r;
  return sign | (r > max_finite || a == 0x7f800000u ? overflow : r);
}

template <int Exp, int Man>
QUIRE_HD constexpr float widen_finite(std::uint32_t v) noexcept {
  constexpr int bias = (1 << (Exp - 1)) - 1;
  const std::uint32_t sign = (v >> (Exp + Man)) << 31;
  std::uint32_t e = (v >> Man) & ((1u << Exp) - 1u), m = v & ((1u << Man) - 1u);
  if (e == 0) {
    if (m == 0) return std::bit_cast<float>(sign);
    const int lead = std::countl_zero(m) - (32 - Man) + 1;  // normalise a subnormal
    m = (m << lead) & ((1u << Man) - 1u);
    return std::bit_cast<float>(sign | static_cast<std::uint32_t>(127 - bias + 1 - lead) << 23 | m << (23 - Man));
  }
  return std::bit_cast<float>(sign | (e + 127u - bias) << 23 | m << (23 - Man));
}

}  // namespace detail

/// bfloat16: f32 with 16 bits of mantissa dropped.
struct bf16 {
  std::uint16_t bits = 0;
  QUIRE_HD static constexpr bf16 from(float x) noexcept {
    const std::uint32_t u = std::bit_cast<std::uint32_t>(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>(u >> 16 | 0x40u)};
    return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
  }
  QUIRE_HD constexpr float to_float() const noexcept { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

/// IEEE binary16.
struct f16 {
  std::uint16_t bits = 0;
  QUIRE_HD static constexpr f16 from(float x) noexcept {
    return {static_cast<std::uint16_t>(detail::narrow<5, 10>(x, 0x7bffu, 0x7c00u, 0x7e00u))};
  }
  QUIRE_HD constexpr float to_float() const noexcept {
    const std::uint32_t a = bits & 0x7fffu;
    if (a >= 0x7c00u) return std::bit_cast<float>((bits & 0x8000u) << 16 | 0x7f800000u | (a & 0x3ffu) << 13);
    return detail::widen_finite<5, 10>(bits);
  }
};

/// OCP FP8 E4M3 (no infinity; overflow saturates to ±448; 0x7f is NaN).
struct f8e4m3 {
  std::uint8_t bits = 0;
  QUIRE_HD static constexpr f8e4m3 from(float x) noexcept {
    return {static_cast<std::uint8_t>(detail::narrow<4, 3>(x, 0x7eu, 0x7eu, 0x7fu))};
  }
  QUIRE_HD constexpr float to_float() const noexcept {
    if ((bits & 0x7fu) == 0x7fu) return std::bit_cast<float>(0x7fc00000u);
    return detail::widen_finite<4, 3>(bits);
  }
};

/// OCP FP8 E5M2 (infinity and NaN as in binary16; finite overflow saturates to ±57344).
struct f8e5m2 {
  std::uint8_t bits = 0;
  QUIRE_HD static constexpr f8e5m2 from(float x) noexcept {
    const bool infinite = (std::bit_cast<std::uint32_t>(x) & 0x7fffffffu) == 0x7f800000u;
    return {static_cast<std::uint8_t>(detail::narrow<5, 2>(x, 0x7bu, infinite ? 0x7cu : 0x7bu, 0x7fu))};
  }
  QUIRE_HD constexpr float to_float() const noexcept {
    return f16{static_cast<std::uint16_t>(bits << 8)}.to_float();
  }
};

/// Unsigned affine code of `levels` steps: x ≈ minimum + scale · code. Shared by every integer codec.
struct affine {
  float scale = 0, minimum = 0;
  /// Fit to [lo, hi]; a constant group gets scale 0 and is exact.
  QUIRE_HD static constexpr affine fit(float lo, float hi, int levels) noexcept {
    return {(hi - lo) / static_cast<float>(levels), lo};
  }
  QUIRE_HD constexpr std::uint32_t encode(float x, int levels) const noexcept {
    if (!(scale > 0)) return 0;
    const float q = (x - minimum) / scale + 0.5f;
    return q <= 0 ? 0u : q >= static_cast<float>(levels) ? static_cast<std::uint32_t>(levels) : static_cast<std::uint32_t>(q);
  }
  QUIRE_HD constexpr float decode(std::uint32_t code) const noexcept { return minimum + scale * static_cast<float>(code); }
};

}  // namespace quire::inline v0
