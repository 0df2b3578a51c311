// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "operand_integer.cuh"

namespace quire::inline v0::attention::cuda {

/// Keys whose columns (tokens) have a scale and a minimum for every 32 rows (channels): products are summed part by part, and what comes out of
/// each is scaled (multiply_split). Of 4 bits a part is what four lanes' words hold, of 2 bits half of it.
template <int Bits, std::uint32_t Rows, std::uint32_t Columns, std::uint32_t MoreBytes>
  requires(Rows > 32)
struct operand<kv::integer<Bits, kv::group::column, 32>, Rows, Columns, MoreBytes>
    : operand<kv::integer<Bits, kv::group::column, 0>, Rows, Columns, (ceil_div(Rows, 32) - 1) * Columns * 4 + MoreBytes> {
  static_assert(Bits == 2 || Bits == 4, "quire::attention::cuda: keys with a scale for every 32 channels of a token have 2 or 4 bits");
  static_assert(Rows % 32 == 0, "quire::attention::cuda: head_dim must be a multiple of 32 where keys have a scale for every 32 channels");
  using whole = operand<kv::integer<Bits, kv::group::column, 0>, Rows, Columns, (ceil_div(Rows, 32) - 1) * Columns * 4 + MoreBytes>;
  static constexpr std::uint32_t column_parts = Rows / 32;
  static constexpr std::uint32_t parts_at_once = Bits == 2 ? 2 : 1;   ///< whose rows the steps of one word share
  static constexpr scaling scaled = scaling::none;                    ///< by multiply_split

  __device__ static float scale(const std::byte* staged, std::uint32_t part, std::uint32_t column) noexcept { return parameter(staged, part * Columns + column); }
  __device__ static float minimum(const std::byte* staged, std::uint32_t part, std::uint32_t column) noexcept {
    return fmaf(scale(staged, part, column), static_cast<float>(whole::middle), parameter(staged, (column_parts + part) * Columns + column));
  }

 private:
  __device__ static float parameter(const std::byte* staged, std::uint32_t i) noexcept {
    return device::widen_f16(reinterpret_cast<const std::uint16_t*>(staged + whole::parameters)[i]);
  }
};

}  // namespace quire::inline v0::attention::cuda
