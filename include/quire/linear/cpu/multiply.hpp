// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with rows of activations. The arithmetic of one output element is one fixed chain over the
// columns, whatever the number of rows, the blocking and the number of workers: results are bit-identical for all of
// them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "../../core/executor.hpp"
#include "activations.hpp"

namespace quire::inline v0::linear::cpu {

using linear::store_mode;

inline namespace QUIRE_ISA {

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

/// `lanes` rows of one q4_1 block, ready to multiply: code[k] holds columns 4k..4k+3.
struct q4_1_block {
  u32_vec code[8];
  f32_vec scale, minimum;
  HWY_INLINE q4_1_block(const std::byte* panel, std::size_t b, std::size_t part) {
    const std::byte* block = panel + 320 * b;
    const auto low = hn::Set(simd::u32_of<simd::f32_tag>{}, 0x0f0f0f0fu);
    unroll<4>([&](auto j) __attribute__((always_inline)) {
      const auto v = load_words(block + 64 * j + 4 * lanes * part);
      code[2 * j] = hn::And(v, low);
      code[2 * j + 1] = hn::And(hn::ShiftRight<4>(v), low);
    });
    scale = load_halves(block + 256 + 2 * lanes * part);
    minimum = load_halves(block + 288 + 2 * lanes * part);
  }
  static HWY_INLINE i32_vec dot(i32_vec sum, u32_vec codes, u32_vec x) {
    return simd::dot_u7s8(simd::i32_of<simd::f32_tag>{}, sum, codes, x);
  }
  /// Σ over the block of w · x, but for the scale of x.
  HWY_INLINE f32_vec value(f32_vec product, f32_vec sum) const {
    return hn::MulAdd(scale, product, hn::Mul(minimum, sum));
  }
};

/// The same for q8_0; codes stand 128 too high, which the sum of the activations corrects exactly.
struct q8_0_block {
  u32_vec code[8];
  f32_vec scale;
  HWY_INLINE q8_0_block(const std::byte* panel, std::size_t b, std::size_t part) {
    const std::byte* codes = panel + detail::q8_0_codes(b) + 4 * lanes * part;
    unroll<8>([&](auto j) __attribute__((always_inline)) { code[j] = load_words(codes + 64 * j); });
    scale = load_halves(panel + detail::q8_0_scales(b) + 2 * lanes * part);
  }
  static HWY_INLINE i32_vec dot(i32_vec sum, u32_vec codes, u32_vec x) {
    return simd::dot_u8s8(simd::i32_of<simd::f32_tag>{}, sum, codes, x);
  }
  HWY_INLINE f32_vec value(f32_vec product, f32_vec sum) const {
    return hn::Mul(scale, hn::MulAdd(hn::Set(simd::f32_tag{}, -128.0f), sum, product));
  }
};

/// y of N rows for `lanes` outputs of a panel. `group` holds N rows of 8-bit activations.
template <class Block, std::size_t N>
HWY_INLINE void multiply_codes(const std::byte* panel, const std::byte* group, std::size_t blocks, std::size_t part,
                               f32_vec* total) {
  const simd::f32_tag d;
  const simd::i32_of<simd::f32_tag> di;
  const simd::u32_of<simd::f32_tag> du;
  f32_vec acc[N];
  unroll<N>([&](auto i) __attribute__((always_inline)) { acc[i] = hn::Zero(d); });
  for (std::size_t b = 0; b < blocks; ++b, group += 40 * N) {
    const Block w(panel, b, part);
    unroll<N>([&](auto i) __attribute__((always_inline)) {
      constexpr std::size_t chains = N <= 2 ? 2 : 1;  // integer sums: any order gives the same
      i32_vec sums[2] = {hn::Zero(di), hn::Zero(di)};
      unroll<8>([&](auto k) __attribute__((always_inline)) {
        const auto x = hn::Set(du, load_as<std::uint32_t>(group + 32 * i + 4 * k));
        sums[k % chains] = Block::dot(sums[k % chains], w.code[k], x);
      });
      const auto dot = hn::ConvertTo(d, chains == 2 ? hn::Add(sums[0], sums[1]) : sums[0]);
      const auto scale = hn::Set(d, load_as<float>(group + 32 * N + 4 * i));
      const auto sum = hn::Set(d, load_as<float>(group + 36 * N + 4 * i));
      acc[i] = hn::MulAdd(scale, w.value(dot, sum), acc[i]);
    });
  }
  unroll<N>([&](auto i) __attribute__((always_inline)) { total[i] = acc[i]; });
}

/// Two columns of `lanes` rows as f32.
struct f32_pair {
  f32_vec even, odd;
  static constexpr std::size_t bytes = 128;
  HWY_INLINE f32_pair(const std::byte* p, std::size_t part) {
    const simd::f32_tag d;
    even = hn::LoadU(d, reinterpret_cast<const float*>(p) + lanes * part);
    odd = hn::LoadU(d, reinterpret_cast<const float*>(p + 64) + lanes * part);
  }
};
struct bf16_pair {
  f32_vec even, odd;
  static constexpr std::size_t bytes = 64;
  HWY_INLINE bf16_pair(const std::byte* p, std::size_t part) {
    const simd::f32_tag d;
    const auto v = load_words(p + 4 * lanes * part);
    even = hn::BitCast(d, hn::ShiftLeft<16>(v));
    odd = hn::BitCast(d, hn::And(v, hn::Set(simd::u32_of<simd::f32_tag>{}, 0xffff0000u)));
  }
};

/// Rows of f32 times floating-point weights: even and odd columns in a chain each, added at the end.
template <class Pair, std::size_t N>
HWY_INLINE void multiply_floats(const std::byte* panel, const float* x, std::size_t stride, std::size_t cols,
                                std::size_t part, f32_vec* total) {
  const simd::f32_tag d;
  f32_vec even[N], odd[N];
  unroll<N>([&](auto i) __attribute__((always_inline)) { even[i] = odd[i] = hn::Zero(d); });
  for (std::size_t c = 0; c < cols; c += 2, panel += Pair::bytes) {
    const Pair w(panel, part);
    unroll<N>([&](auto i) __attribute__((always_inline)) {
      even[i] = hn::MulAdd(w.even, hn::Set(d, x[i * stride + c]), even[i]);
      odd[i] = hn::MulAdd(w.odd, hn::Set(d, x[i * stride + c + 1]), odd[i]);
    });
  }
  unroll<N>([&](auto i) __attribute__((always_inline)) { total[i] = hn::Add(even[i], odd[i]); });
}

/// All 16 outputs of a panel for N rows; `valid` of them exist.
template <std::size_t N>
HWY_NOINLINE void multiply_group(const matrix& w, const std::byte* panel, const activations& x, std::uint32_t g,
                                 float* y, std::size_t stride, std::uint32_t valid, store_mode mode) noexcept {
  const simd::f32_tag d;
  for (std::size_t part = 0; part < panel_rows / lanes && part * lanes < valid; ++part) {
    f32_vec total[N];
    unroll<N>([&](auto i) __attribute__((always_inline)) { total[i] = hn::Zero(d); });
    const float* rows = x.rows + std::size_t{g} * group_rows * x.stride;
    switch (w.type) {
      case weight_type::f32:
        multiply_floats<f32_pair, N>(panel, rows, x.stride, x.cols, part, total);
        break;
      case weight_type::bf16:
        multiply_floats<bf16_pair, N>(panel, rows, x.stride, x.cols, part, total);
        break;
      case weight_type::q4_1:
        multiply_codes<q4_1_block, N>(panel, x.group(g), x.cols / block_cols, part, total);
        break;
      case weight_type::q8_0:
        multiply_codes<q8_0_block, N>(panel, x.group(g), x.cols / block_cols, part, total);
        break;
    }
    float* to = y + lanes * part;
    const std::size_t count = valid - lanes * part;
    unroll<N>([&](auto i) __attribute__((always_inline)) {
      float* out = to + i * stride;
      if (count >= lanes) {
        hn::StoreU(mode == store_mode::add ? hn::Add(hn::LoadU(d, out), total[i]) : total[i], d, out);
      } else {
        float edge[lanes];
        hn::StoreU(total[i], d, edge);
        for (std::size_t l = 0; l < count; ++l) out[l] = mode == store_mode::add ? out[l] + edge[l] : edge[l];
      }
    });
  }
}

using group_function = void (*)(const matrix&, const std::byte*, const activations&, std::uint32_t, float*, std::size_t,
                                std::uint32_t, store_mode) noexcept;
inline constexpr group_function group_functions[group_rows] = {multiply_group<1>, multiply_group<2>, multiply_group<3>,
                                                               multiply_group<4>, multiply_group<5>, multiply_group<6>,
                                                               multiply_group<7>, multiply_group<8>};

}  // namespace kernel

/// Does the product exist? `x.codes` must be set (and filled by `quantize`) for q4_1 and q8_0 weights.
/// fails: unsupported_shape, out_of_range.
[[nodiscard]] inline status supports(const matrix& w, const activations& x) noexcept {
  if (const status s = linear::supports(w.type, w.rows, w.cols); !s) return s;
  if (x.cols != w.cols) return {errc::out_of_range, "cols of the activations", x.cols, w.cols, w.cols};
  if (x.stride < x.cols && x.n > 1)
    return {errc::out_of_range, "stride of the activations", static_cast<std::int64_t>(x.stride), x.cols};
  if (x.codes == nullptr && (w.type == weight_type::q4_1 || w.type == weight_type::q8_0))
    return {errc::out_of_range, "8-bit workspace of the activations (null)"};
  return {};
}

/// y [n][stride] = (or +=) rows x [n][cols] times the weights of `which` panels: outputs [16 · begin, 16 · end) of each
/// row. Workers may take different panels at the same time. precondition: supports(w, x), stride ≥ w.rows when n > 1.
inline void multiply(const matrix& w, const activations& x, float* y, std::size_t stride, range which,
                     store_mode mode = store_mode::assign) noexcept {
  QUIRE_ASSERT(supports(w, x), "quire::linear::multiply: the shapes do not fit");
  constexpr std::size_t cache_bytes = std::size_t{256} << 10;  // activations that stay near while all panels pass
  const bool quantized = w.type == weight_type::q4_1 || w.type == weight_type::q8_0;
  const std::size_t group_bytes = group_rows * (quantized ? activations::row_bytes(x.cols) : x.cols * sizeof(float));
  const auto step = static_cast<std::uint32_t>(std::max<std::size_t>(1, cache_bytes / group_bytes));
  const std::size_t panel_stride = panel_bytes(w.type, w.cols);
  const std::uint64_t panel_end = std::min<std::uint64_t>(which.end, panels(w));
  for (std::uint32_t first = 0; first < x.groups(); first += step) {
    const std::uint32_t last = std::min(first + step, x.groups());
    for (std::uint64_t p = which.begin; p < panel_end; ++p) {
      const auto valid = static_cast<std::uint32_t>(std::min<std::uint64_t>(panel_rows, w.rows - p * panel_rows));
      const std::byte* panel = w.data + p * panel_stride;
      for (std::uint32_t g = first; g < last; ++g)
        kernel::group_functions[x.rows_of(g) - 1](
            w, panel, x, g, y + std::size_t{g} * group_rows * stride + p * panel_rows, stride, valid, mode);
    }
  }
}

/// The share of one worker of a team. The caller separates it from what writes x and what reads y by barriers.
inline void multiply(const team& t, const matrix& w, const activations& x, float* y, std::size_t stride,
                     store_mode mode = store_mode::assign) noexcept {
  multiply(w, x, y, stride, t.share(panels(w)), mode);
}

}  // namespace QUIRE_ISA
}  // namespace quire::inline v0::linear::cpu
