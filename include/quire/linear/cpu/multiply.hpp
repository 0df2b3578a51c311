// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with rows of activations. The arithmetic of one output element is one fixed chain over the
// columns, whatever the number of rows, the blocking and the number of workers: results are bit-identical for all of
// them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "../../core/executor.hpp"
#include "codes.hpp"
#include "multiply_amx.hpp"

namespace quire::inline v0::linear::cpu {

using linear::store_mode;

inline namespace QUIRE_ISA {

namespace kernel {

/// y of N rows for `lanes` outputs of a panel. `group` holds `held` rows of 8-bit activations, of which N from `first` on are meant.
template <class Block, std::size_t N>
HWY_INLINE void multiply_codes(const std::byte* panel, const std::byte* group, std::size_t held, std::size_t first, std::size_t blocks, std::size_t part, f32_vec* total) {
  const simd::f32_tag d;
  const simd::i32_of<simd::f32_tag> di;
  const simd::u32_of<simd::f32_tag> du;
  f32_vec acc[N];
  unroll<N>([&](auto i) __attribute__((always_inline)) { acc[i] = hn::Zero(d); });
  const std::byte *codes = group + 32 * first, *scales = group + 32 * held + 4 * first, *all = scales + 4 * held;
  for (std::size_t b = 0; b < blocks; ++b, codes += 40 * held, scales += 40 * held, all += 40 * held) {
    const Block w(panel, b, part);
    unroll<N>([&](auto i) __attribute__((always_inline)) {
      constexpr std::size_t chains = N <= 2 ? 2 : 1;  // integer sums: any order gives the same
      i32_vec sums[2] = {hn::Zero(di), hn::Zero(di)};
      unroll<8>([&](auto k) __attribute__((always_inline)) {
        const auto x = hn::Set(du, load_as<std::uint32_t>(codes + 32 * i + 4 * k));
        sums[k % chains] = Block::dot(sums[k % chains], w.code[k], x);
      });
      const auto dot = hn::ConvertTo(d, chains == 2 ? hn::Add(sums[0], sums[1]) : sums[0]);
      const auto scale = hn::Set(d, load_as<float>(scales + 4 * i));
      const auto sum = hn::Set(d, load_as<float>(all + 4 * i));
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

/// All 16 outputs of a panel for N rows from `first` on, which lie in one group; `valid` of the outputs exist.
template <std::size_t N>
HWY_NOINLINE void multiply_rows(const matrix& w, const std::byte* panel, const activations& x, std::uint32_t first, float* y, std::size_t stride, std::uint32_t valid,
                                store_mode mode) noexcept {
  const simd::f32_tag d;
  for (std::size_t part = 0; part < panel_rows / lanes && part * lanes < valid; ++part) {
    f32_vec total[N];
    unroll<N>([&](auto i) __attribute__((always_inline)) { total[i] = hn::Zero(d); });
    const std::uint32_t g = first / group_rows, held = x.rows_of(g), within = first % group_rows;
    const float* rows = x.rows + std::size_t{first} * x.stride;
    switch (w.type) {
      case weight_type::f32:
        multiply_floats<f32_pair, N>(panel, rows, x.stride, x.cols, part, total);
        break;
      case weight_type::bf16:
        multiply_floats<bf16_pair, N>(panel, rows, x.stride, x.cols, part, total);
        break;
      case weight_type::q4_1:
        multiply_codes<q4_1_block, N>(panel, x.group(g), held, within, x.cols / block_cols, part, total);
        break;
      case weight_type::q8_0:
        multiply_codes<q8_0_block, N>(panel, x.group(g), held, within, x.cols / block_cols, part, total);
        break;
    }
    unroll<N>([&](auto i) __attribute__((always_inline)) { put(total[i], y + lanes * part + i * stride, valid - lanes * part, mode); });
  }
}

/// Rows that vector kernels multiply together.
inline constexpr std::uint32_t rows_together = 8;
static_assert(group_rows % rows_together == 0);
using rows_function = void (*)(const matrix&, const std::byte*, const activations&, std::uint32_t, float*, std::size_t, std::uint32_t, store_mode) noexcept;
inline constexpr rows_function rows_functions[rows_together] = {multiply_rows<1>, multiply_rows<2>, multiply_rows<3>, multiply_rows<4>,
                                                                multiply_rows<5>, multiply_rows<6>, multiply_rows<7>, multiply_rows<8>};

/// The same for `count` full groups from `g` on, on matrix registers; the same bits.
HWY_NOINLINE inline void multiply_groups(const matrix& w, const std::byte* panel, const activations& x, std::uint32_t g, std::uint32_t count, float* y, std::size_t stride,
                                         std::uint32_t valid, store_mode mode) noexcept {
  constexpr std::uint32_t together = 8;
  const std::size_t blocks = x.cols / block_cols;
  alignas(64) float total[together * group_rows * panel_rows];
  for (std::uint32_t first = 0; first < count; first += together) {
    const std::uint32_t n = std::min(together, count - first);
    const tile_outputs to{total, y + std::size_t{first} * group_rows * stride, stride, valid, mode};
    for (std::size_t b = 0; b < blocks; b += tiles::slice) {
      const std::size_t end = std::min(b + tiles::slice, blocks);
      if (w.type == weight_type::q4_1) multiply_tiles<q4_1_block>(panel, b, end, x, g + first, n, to);
      else multiply_tiles<q8_0_block>(panel, b, end, x, g + first, n, to);
    }
  }
}

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
  const bool tiles = quantized && kernel::uses_tiles();
  const std::size_t group_bytes = group_rows * (quantized ? activations::row_bytes(x.cols) : x.cols * sizeof(float));
  const auto step = static_cast<std::uint32_t>(std::max<std::size_t>(1, cache_bytes / group_bytes));
  const std::size_t panel_stride = panel_bytes(w.type, w.cols);
  const std::uint64_t panel_end = std::min<std::uint64_t>(which.end, panels(w));
  for (std::uint32_t first = 0; first < x.groups(); first += step) {
    const std::uint32_t last = std::min(first + step, x.groups());
    for (std::uint64_t p = which.begin; p < panel_end; ++p) {
      const auto valid = static_cast<std::uint32_t>(std::min<std::uint64_t>(panel_rows, w.rows - p * panel_rows));
      const std::byte* panel = w.data + p * panel_stride;
      std::uint32_t r = first * group_rows;
      const std::uint32_t end = std::min(last * group_rows, x.n);
      const auto to = [&] { return y + std::size_t{r} * stride + p * panel_rows; };
      if (tiles && end - r >= group_rows) {
        const std::uint32_t full = (end - r) / group_rows;
        kernel::multiply_groups(w, panel, x, first, full, to(), stride, valid, mode);
        r += full * group_rows;
      }
      for (std::uint32_t n; r < end; r += n) {
        n = std::min(end - r, kernel::rows_together);
        kernel::rows_functions[n - 1](w, panel, x, r, to(), stride, valid, mode);
      }
    }
  }
  if (tiles) amx::release();
}

/// The share of one worker of a team. The caller separates it from what writes x and what reads y by barriers.
inline void multiply(const team& t, const matrix& w, const activations& x, float* y, std::size_t stride,
                     store_mode mode = store_mode::assign) noexcept {
  multiply(w, x, y, stride, t.share(panels(w)), mode);
}

}  // namespace QUIRE_ISA
}  // namespace quire::inline v0::linear::cpu
