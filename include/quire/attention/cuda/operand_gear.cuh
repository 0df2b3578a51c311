// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../kv/codec/gear.hpp"
#include "operand.cuh"

namespace quire::inline v0::attention::cuda {

/// X = D + L + S: the backbone multiplies as it does alone; L = Pᵀ·Q and S join what comes out. x·L is (x·Pᵀ)·Q: P stands on the product's
/// columns, one factor each, and what it gives is spread over columns of X in f32. S becomes fragments in registers: a lane looks which
/// of its rows' outliers lie in its two columns, so every sum has one order and nothing is scattered.
/// from: GEAR (arXiv:2403.05527); test: tests/attention/cuda/operand_gear.cpp
template <class Base, std::uint32_t Rank, std::uint32_t Outliers, std::uint32_t Rows, std::uint32_t Columns>
struct operand<kv::gear<Base, Rank, Outliers>, Rows, Columns, 0>
    : operand<Base, Rows, Columns, static_cast<std::uint32_t>(kv::gear<Base, Rank, Outliers>{}.tile_bytes({Rows, Columns}) - Base{}.tile_bytes({Rows, Columns}))> {
  using codec = kv::gear<Base, Rank, Outliers>;
  using base = operand<Base, Rows, Columns, static_cast<std::uint32_t>(codec{}.tile_bytes({Rows, Columns}) - Base{}.tile_bytes({Rows, Columns}))>;
  static constexpr bool repaired = true;

  /// along[b][j] += x·Pᵀ: factor g of the lane's row j; rows of factors past `Rank` are zero. On CUDA cores the part of the lane's rows of X.
  template <class Block>
  __device__ static void project(const std::byte* staged, const std::uint32_t* coefficients, float (&along)[Block::row_blocks][Block::fragment_floats], lane_place l) noexcept {
    if constexpr (Rank != 0) {
      const auto* p = part(staged, factors);
#pragma unroll(Block::row_blocks < 4 ? base::steps : 1)
      for (std::uint32_t step = 0; step < base::steps; ++step) {
        const std::uint32_t at = (l.g < Rank ? l.g : 0) * (Rows / 2), low = p[at + base::pair_of({step, l.t, 0})], high = p[at + base::pair_of({step, l.t, 1})];
        const std::uint32_t a[4] = {l.g < Rank ? low : 0, 0, l.g < Rank ? high : 0, 0};
        multiply_step<Block, repair_products>(coefficients, step, a, along, l);
      }
    }
  }
  /// y += along·Q + x·S for the 16 columns from `column` on; y as the backbone's product gives it.
  template <class Block>
  __device__ static void repair(const std::byte* staged, std::uint32_t column, const std::uint32_t* coefficients, const float (&along)[Block::row_blocks][Block::fragment_floats],
                                float (&y)[Block::row_blocks][Block::fragment_floats], lane_place l) noexcept {
    if constexpr (Outliers != 0) {
#pragma unroll(Block::row_blocks < 4 ? base::steps : 1)
      for (std::uint32_t step = 0; step < base::steps; ++step) {
        std::uint32_t a[4] = {};
        outliers_of(staged, base::pair_of({step, l.t, 0}), column + 2 * l.g, a[0], a[1]);
        outliers_of(staged, base::pair_of({step, l.t, 1}), column + 2 * l.g, a[2], a[3]);
        multiply_step<Block, repair_products>(coefficients, step, a, y, l);
      }
    }
    if constexpr (Rank != 0) {
      const auto* q = part(staged, factors) + Rank * Rows / 2;
#pragma unroll(Block::row_blocks < 4 ? Rank : 1)
      for (std::uint32_t k = 0; k < Rank; ++k) {
        const float2 with = unpack<repair_products>(q[(k * Columns + column) / 2 + l.g]);
#pragma unroll
        for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
          for (std::uint32_t j = 0; j < Block::lane_rows; ++j) {
            const float x = __shfl_sync(~0u, along[b][j], k * 4 + l.t);
            y[b][j] = fmaf(with.x, x, y[b][j]), y[b][Block::lane_rows + j] = fmaf(with.y, x, y[b][Block::lane_rows + j]);
          }
      }
    }
  }

 private:
  /// Where parts of the tile begin, in bytes behind its words.
  static constexpr kv::tile_shape shape{Rows, Columns};
  static constexpr std::uint32_t words_end = base::word_rows * Columns * 4;
  static constexpr std::uint32_t factors = codec{}.factors_at(shape) - words_end, deltas_begin = codec{}.deltas_at(shape) - words_end, indices_begin = codec{}.indices_at(shape) - words_end;

  __device__ static const std::uint32_t* part(const std::byte* staged, std::uint32_t begin) noexcept {
    return reinterpret_cast<const std::uint32_t*>(staged + base::parameters + begin);
  }
  /// Outliers of rows 2·pair and 2·pair + 1 in columns `first` and `first` + 1, as a fragment's words of these columns.
  __device__ static void outliers_of(const std::byte* staged, std::uint32_t pair, std::uint32_t first, std::uint32_t& left, std::uint32_t& right) noexcept {
    const auto* deltas = part(staged, deltas_begin) + pair * Outliers;
    const auto* columns = part(staged, indices_begin) + pair * Outliers / 2;
#pragma unroll
    for (std::uint32_t i = 0; i < 2 * Outliers; ++i) {
      const std::uint32_t in = (columns[i / 4] >> i % 4 * 8 & 0xffu) - first, delta = (deltas[i / 2] >> i % 2 * 16 & 0xffffu) << i / Outliers * 16;
      left |= in == 0 ? delta : 0u, right |= in == 1 ? delta : 0u;
    }
  }
};

}  // namespace quire::inline v0::attention::cuda
