// SPDX-License-Identifier: Apache-2.0
// What products of all kinds share: blocks of quantized weights as they read them, and where sums go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "activations.hpp"

namespace quire::inline v0::linear::cpu::inline QUIRE_ISA {

namespace kernel {

using detail::load_as;

inline constexpr std::size_t lanes = hn::MaxLanes(simd::f32_tag{});
using f32_vec = hn::Vec<simd::f32_tag>;
using i32_vec = hn::Vec<simd::i32_of<simd::f32_tag>>;
using u32_vec = hn::Vec<simd::u32_of<simd::f32_tag>>;

/// Calls f(constant 0), ..., f(constant N - 1) in straight-line code.
template <std::size_t N, class F>
HWY_INLINE void unroll(F&& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<std::size_t, I>{}), ...);
  }
  (std::make_index_sequence<N>{});
}

HWY_INLINE f32_vec load_halves(const std::byte* p) {
  const hn::Rebind<hwy::float16_t, simd::f32_tag> d16;
  return hn::PromoteTo(simd::f32_tag{}, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}
HWY_INLINE u32_vec load_words(const std::byte* p) {
  return hn::LoadU(simd::u32_of<simd::f32_tag>{}, reinterpret_cast<const std::uint32_t*>(p));
}

/// How products of a block of codes become sums of w · x, but for the scale of x, for `lanes` rows.
struct q4_1_scaling {
  f32_vec scale, minimum;
  HWY_INLINE q4_1_scaling(const std::byte* panel, std::size_t b, std::size_t part)
      : scale(load_halves(panel + 320 * b + 256 + 2 * lanes * part)), minimum(load_halves(panel + 320 * b + 288 + 2 * lanes * part)) {}
  HWY_INLINE f32_vec value(f32_vec product, f32_vec sum) const { return hn::MulAdd(scale, product, hn::Mul(minimum, sum)); }
};
/// Codes of q8_0 stand 128 too high, which the sum of the activations corrects exactly.
struct q8_0_scaling {
  f32_vec scale;
  HWY_INLINE q8_0_scaling(const std::byte* panel, std::size_t b, std::size_t part) : scale(load_halves(panel + detail::q8_0_scales(b) + 2 * lanes * part)) {}
  HWY_INLINE f32_vec value(f32_vec product, f32_vec sum) const { return hn::Mul(scale, hn::MulAdd(hn::Set(simd::f32_tag{}, -128.0f), sum, product)); }
};

/// `lanes` rows of one block, ready to multiply: code[k] holds columns 4k..4k+3.
struct q4_1_block : q4_1_scaling {
  using scaling = q4_1_scaling;
  u32_vec code[8];
  HWY_INLINE q4_1_block(const std::byte* panel, std::size_t b, std::size_t part) : scaling(panel, b, part) {
    const std::byte* block = panel + 320 * b;
    const auto low = hn::Set(simd::u32_of<simd::f32_tag>{}, 0x0f0f0f0fu);
    unroll<4>([&](auto j) __attribute__((always_inline)) {
      const auto v = load_words(block + 64 * j + 4 * lanes * part);
      code[2 * j] = hn::And(v, low);
      code[2 * j + 1] = hn::And(hn::ShiftRight<4>(v), low);
    });
  }
  static HWY_INLINE i32_vec dot(i32_vec sum, u32_vec codes, u32_vec x) {
    return simd::dot_u7s8(simd::i32_of<simd::f32_tag>{}, sum, codes, x);
  }
};

struct q8_0_block : q8_0_scaling {
  using scaling = q8_0_scaling;
  u32_vec code[8];
  HWY_INLINE q8_0_block(const std::byte* panel, std::size_t b, std::size_t part) : scaling(panel, b, part) {
    const std::byte* codes = panel + detail::q8_0_codes(b) + 4 * lanes * part;
    unroll<8>([&](auto j) __attribute__((always_inline)) { code[j] = load_words(codes + 64 * j); });
  }
  static HWY_INLINE i32_vec dot(i32_vec sum, u32_vec codes, u32_vec x) {
    return simd::dot_u8s8(simd::i32_of<simd::f32_tag>{}, sum, codes, x);
  }
};

/// `lanes` outputs of a row, of which the first `count` exist.
HWY_INLINE void put(f32_vec total, float* out, std::size_t count, store_mode mode) {
  const simd::f32_tag d;
  if (count >= lanes) {
    hn::StoreU(mode == store_mode::add ? hn::Add(hn::LoadU(d, out), total) : total, d, out);
  } else {
    float edge[lanes];
    hn::StoreU(total, d, edge);
    for (std::size_t l = 0; l < count; ++l) out[l] = mode == store_mode::add ? out[l] + edge[l] : edge[l];
  }
}

}  // namespace kernel

}  // namespace quire::inline v0::linear::cpu::inline QUIRE_ISA
