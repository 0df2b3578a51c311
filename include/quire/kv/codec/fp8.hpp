// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../core/number.hpp"
#include "../codec.hpp"

namespace quire::inline v0::kv {

/// OCP E4M3 elements times one power of two for the tile, the smallest that brings the largest element within ±448.
/// A float's error is relative, so large channels take little from small ones: beside channels 8 and 50 times larger the error of
/// the others is within 1 % of what a scale for each row gives, beside channels 1000 times larger it is 1.2 times that. A scale a
/// row would cost 3 % more bytes and coefficients prepared for each tile.
/// Subnormals become zero or the least normal, 2⁻⁶, whichever is nearer: a kernel then widens to bf16 by shifts alone.
/// Bytes: elements as [rows/4][columns][4], then the scale (f16). cost: 8 bits an element and 2 bytes; fails: never.
/// from: OCP 8-bit Floating Point Specification 1.0; test: tests/kv/codec/fp8.cpp
struct fp8 {
  static constexpr const char* format() noexcept { return "fp8-e4m3-tile.1"; }
  QUIRE_HD constexpr std::size_t tile_bytes(tile_shape s) const noexcept { return std::size_t{s.elements()} + sizeof(f16); }
  QUIRE_HD static f16 scale(tile_shape s, const std::byte* tile) noexcept { return *reinterpret_cast<const f16*>(tile + s.elements()); }

  /// Nearest E4M3 without subnormals; beyond ±448 saturates.
  QUIRE_HD static constexpr std::uint8_t narrow(float x) noexcept {
    const std::uint32_t u = std::bit_cast<std::uint32_t>(x), a = u & 0x7fffffffu;
    const std::uint32_t rounded = (a + 0x7ffffu + (a >> 20 & 1u)) >> 20;               // exponent and three bits of mantissa
    const std::uint32_t least = (127 - 6) << 3, code = rounded < least ? 8 : rounded - least + 8;
    return static_cast<std::uint8_t>((u >> 24 & 0x80u) | (a < (127u - 7) << 23 ? 0 : code > 0x7e ? 0x7e : code));
  }

  /// The tile's power of two from its largest |element| (as bits), and what elements are multiplied by.
  struct fitted {
    f16 scale;
    float inverse;
  };
  QUIRE_HD static constexpr fitted fit(std::uint32_t largest) noexcept {
    int exponent = static_cast<int>(largest >> 23) - 127 - 8 + ((largest & 0x7fffffu) > 0x600000u);  // 448 = 1.75·2⁸
    exponent = exponent < -24 ? -24 : exponent > 15 ? 15 : exponent;                                 // what f16 can say
    const auto power = [](int e) { return std::bit_cast<float>(static_cast<std::uint32_t>(127 + e) << 23); };
    return {f16::from(largest == 0 ? 0.0f : power(exponent)), power(-exponent)};
  }

  QUIRE_HD void encode(const codec_context&, tile_shape s, const float* x, std::byte* out) const noexcept {
    std::uint32_t largest = 0;
    for (std::uint32_t i = 0; i < s.elements(); ++i) {
      const std::uint32_t a = std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu;
      largest = a > largest ? a : largest;
    }
    const auto [scale, inverse] = fit(largest);
    *reinterpret_cast<f16*>(out + s.elements()) = scale;
    auto* code = reinterpret_cast<std::uint8_t*>(out);
    for (std::uint32_t r = 0; r < s.rows; r += 4)
      for (std::uint32_t c = 0; c < s.columns; ++c)
        for (std::uint32_t k = 0; k < 4; ++k) code[(r / 4 * s.columns + c) * 4 + k] = narrow(x[(r + k) * s.columns + c] * inverse);
  }
  /// Element (r, c) of a tile.
  QUIRE_HD static float element(tile_shape s, const std::byte* tile, std::uint32_t r, std::uint32_t c) noexcept {
    return f8e4m3{reinterpret_cast<const std::uint8_t*>(tile)[(r / 4 * s.columns + c) * 4 + r % 4]}.to_float() * scale(s, tile).to_float();
  }
  QUIRE_HD void decode(const codec_context&, tile_shape s, const std::byte* tile, float* x) const noexcept {
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) x[r * s.columns + c] = element(s, tile, r, c);
  }
};
static_assert(Codec<fp8>);

}  // namespace quire::inline v0::kv
