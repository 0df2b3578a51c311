// SPDX-License-Identifier: Apache-2.0
// Tensor element types of GGUF files: their block shapes and exact widening to f32.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "error.hpp"
#include "quire/core/number.hpp"

namespace quire_lm {

/// Numeric values as they stand in files.
enum class ggml_type : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39
};

/// `block` consecutive elements take `bytes` bytes; a row is a whole number of blocks.
struct type_info {
  ggml_type type;
  const char* name;
  std::uint32_t block;
  std::uint32_t bytes;
  void (*widen)(const std::byte* from, float* to);  ///< one block to f32, null where not implemented
};

namespace detail {

/// Little-endian f16 at `p`.
inline float half(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  return quire::f16{bits}.to_float();
}
inline unsigned u8(const std::byte* p, int i) { return std::to_integer<unsigned>(p[i]); }
inline std::uint32_t u32(const std::byte* p) {
  std::uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

// Every product below is exact in f32 (an 11-bit scale times at most 13 bits of integers), so fused multiply-add
// gives the same bits as separate operations.

inline void widen_f32(const std::byte* p, float* y) { std::memcpy(y, p, 4); }
inline void widen_f16(const std::byte* p, float* y) { *y = half(p); }
inline void widen_bf16(const std::byte* p, float* y) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  *y = quire::bf16{bits}.to_float();
}

/// scale, 32 nibbles centred on 8: low nibbles are the first half.
inline void widen_q4_0(const std::byte* p, float* y) {
  const float d = half(p);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(static_cast<int>(u8(p + 2, i) & 15) - 8);
    y[i + 16] = d * static_cast<float>(static_cast<int>(u8(p + 2, i) >> 4) - 8);
  }
}
/// scale, minimum, 32 nibbles.
inline void widen_q4_1(const std::byte* p, float* y) {
  const float d = half(p), m = half(p + 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(u8(p + 4, i) & 15) + m;
    y[i + 16] = d * static_cast<float>(u8(p + 4, i) >> 4) + m;
  }
}
/// scale, 32 fifth bits, 32 nibbles, centred on 16.
inline void widen_q5_0(const std::byte* p, float* y) {
  const float d = half(p);
  const std::uint32_t high = u32(p + 2);
  for (int i = 0; i < 16; ++i) {
    const unsigned lo = (u8(p + 6, i) & 15) | ((high >> i & 1) << 4);
    const unsigned hi = (u8(p + 6, i) >> 4) | ((high >> (i + 16) & 1) << 4);
    y[i] = d * static_cast<float>(static_cast<int>(lo) - 16);
    y[i + 16] = d * static_cast<float>(static_cast<int>(hi) - 16);
  }
}
/// scale, minimum, 32 fifth bits, 32 nibbles.
inline void widen_q5_1(const std::byte* p, float* y) {
  const float d = half(p), m = half(p + 2);
  const std::uint32_t high = u32(p + 4);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>((u8(p + 8, i) & 15) | ((high >> i & 1) << 4)) + m;
    y[i + 16] = d * static_cast<float>((u8(p + 8, i) >> 4) | ((high >> (i + 16) & 1) << 4)) + m;
  }
}
/// scale, 32 signed bytes.
inline void widen_q8_0(const std::byte* p, float* y) {
  const float d = half(p);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(static_cast<std::int8_t>(u8(p + 2, i)));
}

/// 16 bytes of (4-bit scale, 4-bit minimum), 64 bytes of 2-bit codes, the two super-scales. 16 groups of 16.
inline void widen_q2_k(const std::byte* p, float* y) {
  const std::byte* codes = p + 16;
  const float d = half(p + 80), dmin = half(p + 82);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(u8(p, g) & 15), low = dmin * static_cast<float>(u8(p, g) >> 4);
    const int at = g / 8 * 32 + g % 2 * 16, shift = g % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) y[g * 16 + i] = scale * static_cast<float>(u8(codes, at + i) >> shift & 3) - low;
  }
}
/// 32 bytes of third bits (clear means minus 4), 64 bytes of 2-bit codes, 16 six-bit scales centred on 32, super-scale.
inline void widen_q3_k(const std::byte* p, float* y) {
  const std::byte *codes = p + 32, *packed = p + 96;
  const float d = half(p + 108);
  for (int g = 0; g < 16; ++g) {
    const unsigned low = g < 8 ? u8(packed, g) & 15 : u8(packed, g - 8) >> 4;
    const unsigned high = u8(packed, 8 + g % 4) >> (g / 4 * 2) & 3;
    const float scale = d * static_cast<float>(static_cast<int>(low | high << 4) - 32);
    const int at = g / 8 * 32 + g % 2 * 16, shift = g % 8 / 2 * 2, plane = g / 2;
    for (int i = 0; i < 16; ++i) {
      const int code = static_cast<int>(u8(codes, at + i) >> shift & 3);
      const bool third = (u8(p, g % 2 * 16 + i) >> plane & 1) != 0;
      y[g * 16 + i] = scale * static_cast<float>(third ? code : code - 4);
    }
  }
}
/// The eight (scale, minimum) pairs of six bits each that Q4_K and Q5_K pack into 12 bytes.
struct scale_pair {
  unsigned scale, minimum;
};
inline scale_pair six_bits(const std::byte* s, int g) {
  if (g < 4) return {u8(s, g) & 63, u8(s, g + 4) & 63};
  return {(u8(s, g + 4) & 15) | (u8(s, g - 4) >> 6) << 4, (u8(s, g + 4) >> 4) | (u8(s, g) >> 6) << 4};
}
/// two super-scales, 12 bytes of pairs, 128 bytes of nibbles. 8 groups of 32.
inline void widen_q4_k(const std::byte* p, float* y) {
  const float d = half(p), dmin = half(p + 2);
  for (int g = 0; g < 8; ++g) {
    const auto [sc, mn] = six_bits(p + 4, g);
    const float scale = d * static_cast<float>(sc), low = dmin * static_cast<float>(mn);
    const std::byte* codes = p + 16 + g / 2 * 32;
    for (int i = 0; i < 32; ++i) y[g * 32 + i] = scale * static_cast<float>(u8(codes, i) >> (g % 2 * 4) & 15) - low;
  }
}
/// as Q4_K, with 32 bytes of fifth bits (bit g of byte i) before the nibbles.
inline void widen_q5_k(const std::byte* p, float* y) {
  const float d = half(p), dmin = half(p + 2);
  for (int g = 0; g < 8; ++g) {
    const auto [sc, mn] = six_bits(p + 4, g);
    const float scale = d * static_cast<float>(sc), low = dmin * static_cast<float>(mn);
    const std::byte *fifth = p + 16, *codes = p + 48 + g / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const unsigned code = (u8(codes, i) >> (g % 2 * 4) & 15) | (u8(fifth, i) >> g & 1) << 4;
      y[g * 32 + i] = scale * static_cast<float>(code) - low;
    }
  }
}
/// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, super-scale; codes centred on 32.
inline void widen_q6_k(const std::byte* p, float* y) {
  const float d = half(p + 208);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(static_cast<std::int8_t>(u8(p + 192, g)));
    const int half_at = g / 8, quarter = g % 8 / 2, within = g % 2 * 16;
    const std::byte* low = p + half_at * 64 + quarter % 2 * 32 + within;
    const std::byte* high = p + 128 + half_at * 32 + within;
    for (int i = 0; i < 16; ++i) {
      const unsigned code = (u8(low, i) >> (quarter / 2 * 4) & 15) | (u8(high, i) >> (quarter * 2) & 3) << 4;
      y[g * 16 + i] = scale * static_cast<float>(static_cast<int>(code) - 32);
    }
  }
}

inline constexpr std::array types{
    type_info{ggml_type::f32, "F32", 1, 4, widen_f32},
    type_info{ggml_type::f16, "F16", 1, 2, widen_f16},
    type_info{ggml_type::q4_0, "Q4_0", 32, 18, widen_q4_0},
    type_info{ggml_type::q4_1, "Q4_1", 32, 20, widen_q4_1},
    type_info{ggml_type::q5_0, "Q5_0", 32, 22, widen_q5_0},
    type_info{ggml_type::q5_1, "Q5_1", 32, 24, widen_q5_1},
    type_info{ggml_type::q8_0, "Q8_0", 32, 34, widen_q8_0},
    type_info{ggml_type::q8_1, "Q8_1", 32, 36, nullptr},
    type_info{ggml_type::q2_k, "Q2_K", 256, 84, widen_q2_k},
    type_info{ggml_type::q3_k, "Q3_K", 256, 110, widen_q3_k},
    type_info{ggml_type::q4_k, "Q4_K", 256, 144, widen_q4_k},
    type_info{ggml_type::q5_k, "Q5_K", 256, 176, widen_q5_k},
    type_info{ggml_type::q6_k, "Q6_K", 256, 210, widen_q6_k},
    type_info{ggml_type::q8_k, "Q8_K", 256, 292, nullptr},
    type_info{ggml_type::iq2_xxs, "IQ2_XXS", 256, 66, nullptr},
    type_info{ggml_type::iq2_xs, "IQ2_XS", 256, 74, nullptr},
    type_info{ggml_type::iq3_xxs, "IQ3_XXS", 256, 98, nullptr},
    type_info{ggml_type::iq1_s, "IQ1_S", 256, 50, nullptr},
    type_info{ggml_type::iq4_nl, "IQ4_NL", 32, 18, nullptr},
    type_info{ggml_type::iq3_s, "IQ3_S", 256, 110, nullptr},
    type_info{ggml_type::iq2_s, "IQ2_S", 256, 82, nullptr},
    type_info{ggml_type::iq4_xs, "IQ4_XS", 256, 136, nullptr},
    type_info{ggml_type::i8, "I8", 1, 1, nullptr},
    type_info{ggml_type::i16, "I16", 1, 2, nullptr},
    type_info{ggml_type::i32, "I32", 1, 4, nullptr},
    type_info{ggml_type::i64, "I64", 1, 8, nullptr},
    type_info{ggml_type::f64, "F64", 1, 8, nullptr},
    type_info{ggml_type::iq1_m, "IQ1_M", 256, 56, nullptr},
    type_info{ggml_type::bf16, "BF16", 1, 2, widen_bf16},
    type_info{ggml_type::tq1_0, "TQ1_0", 256, 54, nullptr},
    type_info{ggml_type::tq2_0, "TQ2_0", 256, 66, nullptr},
    type_info{ggml_type::mxfp4, "MXFP4", 32, 17, nullptr},
};

}  // namespace detail

/// The entry for a type id of a file, or null when no such type is known.
[[nodiscard]] inline const type_info* find_type(std::uint32_t id) noexcept {
  for (const type_info& t : detail::types) {
    if (static_cast<std::uint32_t>(t.type) == id) return &t;
  }
  return nullptr;
}
/// The entry for a known type.
[[nodiscard]] inline const type_info& info_of(ggml_type type) {
  if (const type_info* t = find_type(static_cast<std::uint32_t>(type))) return *t;
  throw bad_input("tensor type is " + std::to_string(static_cast<std::uint32_t>(type)) + ", which is not known");
}

/// Widens `to.size()` elements, a multiple of the type's block; `from` holds exactly their bytes. No allocation.
/// fails: bad_input for a type without a widening, or sizes that don't fit.
inline void dequantize(ggml_type type, std::span<const std::byte> from, std::span<float> to) {
  const type_info& t = info_of(type);
  if (t.widen == nullptr) {
    throw bad_input(std::string("tensor type is ") + t.name +
                    ", allowed F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K");
  }
  const std::size_t blocks = to.size() / t.block;
  if (to.size() % t.block != 0 || from.size() != blocks * t.bytes) {
    throw bad_input(std::string(t.name) + " data of " + std::to_string(from.size()) + " bytes for " +
                    std::to_string(to.size()) + " elements, allowed " + std::to_string(t.bytes) + " bytes for each " +
                    std::to_string(t.block));
  }
  for (std::size_t b = 0; b < blocks; ++b) t.widen(from.data() + b * t.bytes, to.data() + b * t.block);
}

}  // namespace quire_lm
