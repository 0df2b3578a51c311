// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../kv/codec/gear.hpp"
#include "encode.cuh"

namespace quire::inline v0::attention::cuda {

/// x ← its sum over a warp, in all lanes.
template <class Number>
__device__ inline Number over_warp(Number x) noexcept {
  for (std::uint32_t d = 16; d != 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  return x;
}

/// kv::orthonormalize by one warp.
__device__ inline void orthonormalize_rows(float* v, std::uint32_t count, std::uint32_t n, std::uint32_t lane) noexcept {
  const auto dot = [&](const float* a, const float* b) {
    float sum = 0;
    for (std::uint32_t i = lane; i < n; i += warp_threads) sum = fmaf(a[i], b[i], sum);
    return over_warp(sum);
  };
  for (std::uint32_t k = 0; k < count; ++k) {  // a lane reads of rows what it wrote itself
    float* row = v + k * n;
    const float before = dot(row, row);
    for (int sweep = 0; sweep < 2; ++sweep)
      for (std::uint32_t j = 0; j < k; ++j) {
        const float along = dot(row, v + j * n);
        for (std::uint32_t i = lane; i < n; i += warp_threads) row[i] = fmaf(-along, v[j * n + i], row[i]);
      }
    const float scale = kv::low_rank_norm(before, dot(row, row));
    for (std::uint32_t i = lane; i < n; i += warp_threads) row[i] *= scale;
  }
}

/// Backbone codes, outliers and their columns are the codec's own (a mean of f32 rows may round another way); factors are fitted in another
/// order of sums, so decoded tiles differ from the CPU's by rounding where R has `Rank` clear directions, and are as near to X in any case.
/// ‖X − (D+L+S)‖ ≤ ‖X − (D+S)‖: factors that take less than a thousandth off the squared error are zeros.
/// from: GEAR (arXiv:2403.05527); test: tests/attention/cuda/encode_gear.cpp
template <class Base, std::uint32_t Rank, std::uint32_t Outliers>
struct tile_encoder<kv::gear<Base, Rank, Outliers>> {
  using codec = kv::gear<Base, Rank, Outliers>;
  static constexpr bool known = tile_encoder<Base>::known && requires(kv::tile_shape s, const std::byte* tile) { Base::element(s, tile, 0u, 0u); };

  /// Outliers as they were, P, Q, sums of the warps.
  static constexpr std::uint32_t floats_beside(kv::tile_shape s) noexcept { return s.rows * Outliers + Rank * (s.rows + s.columns) + 2 * block_warps; }

  __device__ static void encode(const kv::codec_context& at, kv::tile_shape s, shared_matrix x, std::byte* out, thread_place me) noexcept {
    if constexpr (Outliers != 0) {
      take_outliers(s, x, out, me);
      __syncthreads();
    }
    tile_encoder<Base>::encode(at, s, x, out, me);
    for (std::size_t i = Base{}.tile_bytes(s) + me.thread; i < codec{}.factors_at(s); i += block_threads) out[i] = std::byte{0};
    __syncthreads();
    leave_residual(s, x, out, me);
    if constexpr (Rank != 0) {
      __syncthreads();
      fit_factors(kv::place_seed(at), s, x, reinterpret_cast<f16*>(out + codec{}.factors_at(s)), me);
    }
  }

 private:
  /// A warp for each row: columns of its largest and smallest elements, the first of equals. Elements go aside, the mean of the others
  /// comes where they stood.
  __device__ static void take_outliers(kv::tile_shape s, shared_matrix x, std::byte* out, thread_place me) noexcept {
    auto* index = reinterpret_cast<std::uint8_t*>(out + codec{}.indices_at(s));
    for (std::uint32_t r = me.warp; r < s.rows; r += block_warps) {
      std::uint32_t taken[Outliers];
      const auto is_taken = [&](std::uint32_t c, std::uint32_t count) {
        bool found = false;
#pragma unroll
        for (std::uint32_t j = 0; j < Outliers; ++j) found = found || (j < count && taken[j] == c);
        return found;
      };
#pragma unroll
      for (std::uint32_t k = 0; k < Outliers; ++k) {
        const float sign = k < Outliers / 2 ? 1.0f : -1.0f;
        std::uint32_t best = s.columns;
        float most = 0;
        for (std::uint32_t c = me.lane; c < s.columns; c += warp_threads)
          if (const float v = sign * x(r, c); (best == s.columns || v > most) && !is_taken(c, k)) best = c, most = v;
        for (std::uint32_t d = 16; d != 0; d /= 2) {
          const std::uint32_t other = __shfl_xor_sync(~0u, best, d);
          const float v = __shfl_xor_sync(~0u, most, d);
          if (other != s.columns && (best == s.columns || v > most || (v == most && other < best))) best = other, most = v;
        }
        taken[k] = best;
      }
      double sum = 0;
      for (std::uint32_t c = me.lane; c < s.columns; c += warp_threads) sum += is_taken(c, Outliers) ? 0.0 : static_cast<double>(x(r, c));
      const auto mean = static_cast<float>(over_warp(sum) / (s.columns - Outliers));
      __syncwarp();
      if (me.lane == 0) {
#pragma unroll
        for (std::uint32_t k = 0; k < Outliers; ++k) {
          float& there = x(r, taken[k]);
          index[r * Outliers + k] = static_cast<std::uint8_t>(taken[k]);
          x.beside[r * Outliers + k] = there, there = mean;
        }
      }
    }
  }

  /// X ← X − D, then outliers' differences and what f16 leaves of them.
  __device__ static void leave_residual(kv::tile_shape s, shared_matrix x, std::byte* out, thread_place me) noexcept {
    for (std::uint32_t i = me.thread; i < s.elements(); i += block_threads) x(i / s.columns, i % s.columns) -= Base::element(s, out, i / s.columns, i % s.columns);
    if constexpr (Outliers != 0) {
      __syncthreads();
      auto* deltas = reinterpret_cast<f16*>(out + codec{}.deltas_at(s));
      const auto* index = reinterpret_cast<const std::uint8_t*>(out + codec{}.indices_at(s));
      for (std::uint32_t i = me.thread; i < s.rows * Outliers; i += block_threads) {
        const std::uint32_t r = i / Outliers, c = index[i];
        const float backbone = Base::element(s, out, r, c);
        deltas[i] = codec::saturated(x.beside[i] - backbone);
        x(r, c) = x.beside[i] - (backbone + deltas[i].to_float());
      }
    }
  }

  /// kv::fit_low_rank by a block, X the residual; then what f16 holds of the factors, unless it does not help.
  __device__ static void fit_factors(std::uint64_t seed, kv::tile_shape s, shared_matrix x, f16* factors, thread_place me) noexcept {
    float *p = x.beside + s.rows * Outliers, *q = p + Rank * s.rows, *sums = q + Rank * s.columns;
    const float scale = kv::low_rank_scale(largest_magnitude(s, x, me.lane));
    __syncthreads();
    for (std::uint32_t i = me.thread; i < s.elements(); i += block_threads) x(i / s.columns, i % s.columns) *= scale;
    for (std::uint32_t i = me.thread; i < Rank * s.columns; i += block_threads) q[i] = kv::low_rank_start(seed, i);
    __syncthreads();
    for (int round = 0; round < kv::low_rank_rounds; ++round) {
      if (me.warp == 0) orthonormalize_rows(q, Rank, s.columns, me.lane);
      __syncthreads();
      for (std::uint32_t r = me.warp; r < s.rows; r += block_warps) {  // P ← Q·Rᵀ
        float sum[Rank] = {};
        for (std::uint32_t c = me.lane; c < s.columns; c += warp_threads)
#pragma unroll
          for (std::uint32_t k = 0; k < Rank; ++k) sum[k] = fmaf(x(r, c), q[k * s.columns + c], sum[k]);
#pragma unroll
        for (std::uint32_t k = 0; k < Rank; ++k)
          if (const float whole = over_warp(sum[k]); me.lane == 0) p[k * s.rows + r] = whole;
      }
      __syncthreads();
      if (me.warp == 0) orthonormalize_rows(p, Rank, s.rows, me.lane);
      __syncthreads();
      for (std::uint32_t c = me.thread; c < s.columns; c += block_threads) {  // Q ← P·R
        float sum[Rank] = {};
        for (std::uint32_t r = 0; r < s.rows; ++r)
#pragma unroll
          for (std::uint32_t k = 0; k < Rank; ++k) sum[k] = fmaf(p[k * s.rows + r], x(r, c), sum[k]);
#pragma unroll
        for (std::uint32_t k = 0; k < Rank; ++k) q[k * s.columns + c] = sum[k];
      }
      __syncthreads();
    }
    const std::uint32_t count = Rank * (s.rows + s.columns);  // Q stands behind P in both places
    for (std::uint32_t i = me.thread; i < count; i += block_threads) {
      const float by = i < Rank * s.rows ? 1.0f : scale;
      factors[i] = codec::saturated(p[i] / by), p[i] = factors[i].to_float() * by;
    }
    __syncthreads();
    float without = 0, with = 0;
    for (std::uint32_t i = me.thread; i < s.elements(); i += block_threads) {
      const std::uint32_t r = i / s.columns, c = i % s.columns;
      const float v = x(r, c);
      float left = v;
#pragma unroll
      for (std::uint32_t k = 0; k < Rank; ++k) left = fmaf(-p[k * s.rows + r], q[k * s.columns + c], left);
      without = fmaf(v, v, without), with = fmaf(left, left, with);
    }
    without = over_warp(without), with = over_warp(with);
    if (me.lane == 0) sums[me.warp] = without, sums[block_warps + me.warp] = with;
    __syncthreads();
    without = (sums[0] + sums[1]) + (sums[2] + sums[3]), with = (sums[4] + sums[5]) + (sums[6] + sums[7]);
    if (with < without * (1 - 0x1p-10f)) return;
    for (std::uint32_t i = me.thread; i < count; i += block_threads) factors[i] = {};
  }
};

}  // namespace quire::inline v0::attention::cuda
