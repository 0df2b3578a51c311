// SPDX-License-Identifier: Apache-2.0
// Packed weights as a warp reads them. The panels of matrix.hpp are one stretch of bytes each, and 16 bytes of it are, in
// every type, four neighbouring outputs of a few neighbouring columns: so a warp reads 512 bytes at a time as they lie.
#pragma once

#include <bit>
#include <type_traits>

#include "../../core/device.cuh"
#include "../matrix.hpp"

namespace quire::inline v0::linear::cuda {

using device::warp_threads;
inline constexpr std::uint32_t block_warps = 8, block_threads = warp_threads * block_warps;
/// Lane 4 g + q of a warp holds outputs 4 q .. 4 q + 3 of the panel, columns of group g.
inline constexpr std::uint32_t lane_outputs = 4, column_groups = 8;

/// Rows of f32 or bf16 begin at multiples of 16 bytes, so that lanes may read what they need of them at once.
template <class Row>
inline constexpr std::uint32_t row_unit = 16 / sizeof(Row);

namespace detail {

/// A byte of a word as f32, less `offset`: its bits stand in the mantissa of 2^23, and the difference is exact.
__device__ inline float byte_of(std::uint32_t word, std::uint32_t i, float offset) noexcept {
  return std::bit_cast<float>(device::pick_bytes(word, 0x4b000000u, 0x7650u | i)) - (8388608.0f + offset);
}
/// f16 number i of four.
__device__ inline float half_of(uint2 four, std::uint32_t i) noexcept {
  return device::widen_f16(static_cast<std::uint16_t>((i < 2 ? four.x : four.y) >> 16 * (i % 2)));
}
__device__ inline std::uint32_t word_of(uint4 four, std::uint32_t i) noexcept {
  return i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w;
}
template <class T>
__device__ T read(const std::byte* p) noexcept {
  return *reinterpret_cast<const T*>(p);
}

/// Step s of a lane covers columns [first_column, + columns), in `parts` of as many; `at` is one weight, the very number
/// that linear::row gives. precondition of load: first_column < cols; the panel lies at a multiple of 16.
template <std::uint32_t Columns, std::uint32_t Parts = 1>
struct lane_span {
  static constexpr std::uint32_t columns = Columns, parts = Parts, part_columns = Columns / Parts;
  static constexpr std::uint32_t step_columns = columns * column_groups;
  __device__ static std::uint32_t first_column(std::uint32_t step, std::uint32_t lane) noexcept {
    return step * step_columns + lane / lane_outputs * columns;
  }
  __device__ static std::uint32_t steps(std::uint32_t cols) noexcept {
    return (cols + step_columns - 1) / step_columns;
  }
};

}  // namespace detail

template <weight_type Type>
struct lane_weights;

template <>
struct lane_weights<weight_type::f32> : detail::lane_span<1> {
  uint4 words;
  __device__ void load(const std::byte* panel, std::uint32_t step, std::uint32_t lane) noexcept {
    words = detail::read<uint4>(panel + std::size_t{step} * 512 + lane * 16);
  }
  __device__ float at(std::uint32_t, std::uint32_t output, std::uint32_t) const noexcept {
    return std::bit_cast<float>(detail::word_of(words, output));
  }
};

template <>
struct lane_weights<weight_type::bf16> : detail::lane_span<2> {
  uint4 words;
  __device__ void load(const std::byte* panel, std::uint32_t step, std::uint32_t lane) noexcept {
    words = detail::read<uint4>(panel + std::size_t{step} * 512 + lane * 16);
  }
  __device__ float at(std::uint32_t, std::uint32_t output, std::uint32_t column) const noexcept {
    const std::uint32_t pair = detail::word_of(words, output);
    return std::bit_cast<float>(column == 0 ? pair << 16 : pair & 0xffff0000u);
  }
};

template <>
struct lane_weights<weight_type::q4_1> : detail::lane_span<8, 2> {
  uint4 codes;
  uint2 scales, minima;
  __device__ void load(const std::byte* panel, std::uint32_t step, std::uint32_t lane) noexcept {
    const std::byte* block = panel + (std::size_t{step} * 2 + lane / 16) * 320;
    codes = detail::read<uint4>(block + lane % 16 * 16);
    scales = detail::read<uint2>(block + 256 + lane % 4 * 8);
    minima = detail::read<uint2>(block + 288 + lane % 4 * 8);
  }
  __device__ float at(std::uint32_t part, std::uint32_t output, std::uint32_t column) const noexcept {
    const std::uint32_t nibbles = detail::word_of(codes, output) >> 4 * part & 0x0f0f0f0fu;
    return __fmaf_rn(detail::half_of(scales, output), detail::byte_of(nibbles, column, 0),
                     detail::half_of(minima, output));
  }
};

template <>
struct lane_weights<weight_type::q8_0> : detail::lane_span<4> {
  uint4 codes;
  uint2 scales;
  __device__ void load(const std::byte* panel, std::uint32_t step, std::uint32_t lane) noexcept {
    codes = detail::read<uint4>(panel + linear::detail::q8_0_codes(step) + lane * 16);
    scales = detail::read<uint2>(panel + linear::detail::q8_0_scales(step) + lane % 4 * 8);
  }
  __device__ float at(std::uint32_t, std::uint32_t output, std::uint32_t column) const noexcept {
    return __fmul_rn(detail::half_of(scales, output), detail::byte_of(detail::word_of(codes, output), column, 128));
  }
};

/// `Count` (1, 2 or 4) neighbouring numbers of a row as f32.
template <std::uint32_t Count>
__device__ inline void load_row(const float* x, float (&to)[Count]) noexcept {
  if constexpr (Count == 4) {
    const auto v = *reinterpret_cast<const float4*>(x);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  } else if constexpr (Count == 2) {
    const auto v = *reinterpret_cast<const float2*>(x);
    to[0] = v.x, to[1] = v.y;
  } else {
    to[0] = *x;
  }
}
template <std::uint32_t Count>
__device__ inline void load_row(const bf16* x, float (&to)[Count]) noexcept {
  const auto widen = [&](std::uint32_t pair, std::uint32_t i) {
    to[i] = std::bit_cast<float>(pair << 16), to[i + 1] = std::bit_cast<float>(pair & 0xffff0000u);
  };
  if constexpr (Count == 4) {
    const auto v = *reinterpret_cast<const uint2*>(x);
    widen(v.x, 0), widen(v.y, 2);
  } else if constexpr (Count == 2) {
    widen(*reinterpret_cast<const std::uint32_t*>(x), 0);
  } else {
    to[0] = x->to_float();
  }
}

/// f32 to the number format of a row.
template <class Row>
__device__ inline Row narrow(float x) noexcept {
  static_assert(std::is_same_v<Row, float> || std::is_same_v<Row, bf16>, "quire::linear::cuda: rows are f32 or bf16");
  if constexpr (sizeof(Row) == 4) return x;
  else return Row{static_cast<std::uint16_t>(device::pack_bf16(x, 0))};
}

/// May a kernel read the matrix, and rows of `stride` numbers at `rows`? fails: unsupported_shape, out_of_range.
template <class Row>
[[nodiscard]] status fits(const matrix& m, const Row* rows, std::size_t stride, std::uint32_t width,
                          const char* unaligned) noexcept {
  if (const status s = linear::supports(m.type, m.rows, m.cols); !s) return s;
  if (reinterpret_cast<std::uintptr_t>(m.data) % 16 != 0)
    return {errc::out_of_range, "address of the weights (a multiple of 16 bytes), past the last such", 
            static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(m.data) % 16)};
  if (stride < width || stride % row_unit<Row> != 0 || reinterpret_cast<std::uintptr_t>(rows) % 16 != 0)
    return {errc::out_of_range, unaligned, static_cast<std::int64_t>(stride), width};
  return {};
}

/// Calls f with the type as a constant.
template <class F>
status with_type(weight_type type, F&& f) noexcept {
  switch (type) {
    case weight_type::bf16:
      return f(std::integral_constant<weight_type, weight_type::bf16>{});
    case weight_type::q4_1:
      return f(std::integral_constant<weight_type, weight_type::q4_1>{});
    case weight_type::q8_0:
      return f(std::integral_constant<weight_type, weight_type::q8_0>{});
    default:
      return f(std::integral_constant<weight_type, weight_type::f32>{});
  }
}

}  // namespace quire::inline v0::linear::cuda
