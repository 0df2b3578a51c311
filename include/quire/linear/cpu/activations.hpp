// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "../../core/deal.hpp"
#include "../../core/simd.hpp"
#include "../../core/status.hpp"
#include "../matrix.hpp"

namespace quire::inline v0::linear::cpu::inline QUIRE_ISA {

namespace hn = hwy::HWY_NAMESPACE;

/// Rows that lie together, as many as a matrix register takes; vector kernels multiply up to eight of them at a time.
inline constexpr std::uint32_t group_rows = 16;

/// Inputs of a product: n rows of f32 and, for quantized weights, the same rows in 8 bits. Owns nothing.
/// Rows are kept in groups of 16 (the last group holds what is left, g rows); a group is [cols/32] of {g × 32 codes s8,
/// g scales f32, g sums f32}: x ≈ scale · code, scale = max|x| / 127, sum = Σ codes. Each row takes as many bytes in
/// any group. from: the 8-bit rows of llama.cpp (there the scale is f16)
struct activations {
  const float* rows = nullptr;  ///< [n][stride]
  std::size_t stride = 0;       ///< floats from row to row, ≥ cols
  std::uint32_t n = 0;
  std::uint32_t cols = 0;
  std::byte* codes = nullptr;  ///< workspace [workspace_bytes(n, cols)]; may be null for f32 and bf16 weights

  static constexpr std::size_t row_bytes(std::uint32_t cols) noexcept { return std::size_t{cols} / block_cols * 40; }
  static constexpr std::size_t workspace_bytes(std::uint32_t n, std::uint32_t cols) noexcept {
    return n * row_bytes(cols);
  }

  std::uint32_t groups() const noexcept { return (n + group_rows - 1) / group_rows; }
  std::uint32_t rows_of(std::uint32_t group) const noexcept {
    return n - group * group_rows < group_rows ? n - group * group_rows : group_rows;
  }
  std::byte* group(std::uint32_t g) const noexcept { return codes + std::size_t{g} * group_rows * row_bytes(cols); }
};

namespace kernel {

/// One block of 32 values → codes, scale, sum. Returns false when a value is not finite (then the codes are zero).
inline bool quantize_block(const float* x, std::byte* codes, float& scale, float& sum) noexcept {
  const simd::f32_tag d;
  const simd::i32_of<simd::f32_tag> di;
  const hn::Rebind<std::int8_t, simd::f32_tag> d8;
  constexpr std::size_t lanes = hn::MaxLanes(simd::f32_tag{}), parts = block_cols / lanes;
  const auto magnitude = hn::Set(di, 0x7fffffff);
  auto top = hn::Zero(di);  // bit patterns of magnitudes order as the magnitudes do, NaN above all
  for (std::size_t p = 0; p < parts; ++p)
    top = hn::Max(top, hn::And(magnitude, hn::BitCast(di, hn::LoadU(d, x + p * lanes))));
  const float largest = hn::GetLane(hn::BitCast(d, hn::MaxOfLanes(di, top)));
  const bool is_finite = largest < std::numeric_limits<float>::infinity();
  const bool is_zero = !(largest >= 1e-36f) || !is_finite;  // below, 127 / largest overflows
  const auto inverse = hn::Set(d, is_zero ? 0.0f : 127.0f / largest);
  auto total = hn::Zero(di);
  for (std::size_t p = 0; p < parts; ++p) {
    const auto v = is_zero ? hn::Zero(d) : hn::LoadU(d, x + p * lanes);
    const auto q = hn::NearestInt(hn::Mul(v, inverse));
    total = hn::Add(total, q);
    hn::StoreU(hn::DemoteTo(d8, q), d8, reinterpret_cast<std::int8_t*>(codes + p * lanes));
  }
  scale = is_zero ? 0.0f : largest / 127.0f;
  sum = static_cast<float>(hn::GetLane(hn::SumOfLanes(di, total)));
  return is_finite;
}

}  // namespace kernel

/// Fills the 8-bit form of rows [which.begin, which.end); workers may take different rows at the same time. A block of
/// magnitude below 1e-36 becomes zero. cost: about 1 ns per 16 values.
/// fails: unsupported_shape (cols not a multiple of 32); not_finite, `value` names the row (its block becomes zero).
[[nodiscard]] inline status quantize(const activations& x, range which) noexcept {
  if (x.cols % block_cols != 0)
    return {errc::unsupported_shape, "cols of quantized activations (a multiple of 32)", x.cols};
  status outcome;
  for (auto r = static_cast<std::uint32_t>(which.begin); r < which.end && r < x.n; ++r) {
    const std::uint32_t g = r / group_rows, lane = r % group_rows, rows = x.rows_of(g);
    std::byte* block = x.group(g);
    const float* from = x.rows + r * x.stride;
    for (std::uint32_t c = 0; c < x.cols; c += block_cols, block += std::size_t{rows} * 40) {
      float scale, sum;
      if (!kernel::quantize_block(from + c, block + lane * 32, scale, sum) && outcome)
        outcome = {errc::not_finite, "row of activations", r};
      detail::store_as(block + rows * 32 + lane * 4, scale);
      detail::store_as(block + rows * 36 + lane * 4, sum);
    }
  }
  return outcome;
}
[[nodiscard]] inline status quantize(const activations& x) noexcept { return quantize(x, {0, x.n}); }

}  // namespace quire::inline v0::linear::cpu::inline QUIRE_ISA
