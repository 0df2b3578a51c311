// SPDX-License-Identifier: Apache-2.0
// The fold of one block of four warps: sixteen tokens of a tile's keys a warp, then all tokens for a quarter of the channels.
// Query rows stand on the products' narrow side, so a few of them (decode) waste little and many of them (chunks, shared
// prefixes) take the same code.
#pragma once

#include "queries.cuh"
#include "tile_queue.cuh"

namespace quire::inline v0::attention::cuda {

/// What threads know of the query rows they hold logits of: rows 8b + 2t + j.
template <class Block>
struct row_positions {
  std::uint32_t query[Block::row_blocks][2];

  __device__ row_positions(const work_item& item, std::uint32_t group, thread_place me) noexcept {
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t j = 0; j < 2; ++j) query[b][j] = item.first + (b * 8 + me.at.t * 2 + j) / group;
  }
};

/// Logits of this warp's sixteen tokens for all rows: s[b][0..1] token 2g for rows 2t, 2t + 1 of block b, s[b][2..3] token 2g + 1.
template <class Block, class Pair>
__device__ void multiply_keys(const typename Block::memory& m, const std::byte* staged, const std::uint32_t* queries, float (&s)[Block::row_blocks][4],
                              thread_place me) noexcept {
  using keys = typename Block::template key_operand<Pair>;
  const std::uint32_t column = me.warp * mma_columns;
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b) s[b][0] = s[b][1] = s[b][2] = s[b][3] = 0;
  float least[Block::row_blocks];
  if constexpr (keys::scaled == scaling::rows)
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b) least[b] = 0;

  keys::for_each_step(staged, column, me.at, [&](std::uint32_t step, const std::uint32_t(&a)[4]) {
    if constexpr (keys::scaled == scaling::rows) {
      const std::uint32_t low = 2 * keys::pair_of({step, me.at.t, 0}), high = 2 * keys::pair_of({step, me.at.t, 1});
      const float scale[4] = {keys::scale(staged, low), keys::scale(staged, low + 1), keys::scale(staged, high), keys::scale(staged, high + 1)};
      const float minimum[4] = {keys::minimum(staged, low), keys::minimum(staged, low + 1), keys::minimum(staged, high), keys::minimum(staged, high + 1)};
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
        const float4 q = reinterpret_cast<const float4*>(queries)[(step * Block::row_blocks + b) * warp_threads + me.lane];
        const std::uint32_t x[2] = {pack<keys>(q.x * scale[0], q.y * scale[1]), pack<keys>(q.z * scale[2], q.w * scale[3])};
        least[b] = fmaf(q.x, minimum[0], fmaf(q.y, minimum[1], fmaf(q.z, minimum[2], fmaf(q.w, minimum[3], least[b]))));
        multiply<keys>(s[b], a, x);
      }
    } else {
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
        const std::uint64_t q = reinterpret_cast<const std::uint64_t*>(queries)[(step * Block::row_blocks + b) * warp_threads + me.lane];
        const std::uint32_t x[2] = {static_cast<std::uint32_t>(q), static_cast<std::uint32_t>(q >> 32)};
        multiply<keys>(s[b], a, x);
      }
    }
  });

  if constexpr (keys::scaled == scaling::tile) {
    const float scale = keys::scale(staged, 0);
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t c = 0; c < 4; ++c) s[b][c] *= scale;
  }
  if constexpr (keys::scaled == scaling::columns) {
    const std::uint32_t token = column + 2 * me.at.g;
    const float scale[2] = {keys::scale(staged, token), keys::scale(staged, token + 1)}, minimum[2] = {keys::minimum(staged, token), keys::minimum(staged, token + 1)};
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t c = 0; c < 4; ++c) s[b][c] = fmaf(s[b][c], scale[c / 2], minimum[c / 2] * m.query_sum[b * 8 + me.at.t * 2 + c % 2]);
  }
  if constexpr (keys::scaled == scaling::rows)
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {  // a lane has summed for row g what rows 2t and 2t + 1 need
      float x = least[b];
      x += __shfl_xor_sync(~0u, x, 1), x += __shfl_xor_sync(~0u, x, 2);
      const float even = __shfl_sync(~0u, x, me.at.t * 8), odd = __shfl_sync(~0u, x, me.at.t * 8 + 4);
      s[b][0] += even, s[b][1] += odd, s[b][2] += even, s[b][3] += odd;
    }
}

/// Softcap, ALiBi and run bias in the order of attention/problem.hpp, then what rows do not see.
template <class Block>
__device__ void adjust(const problem& p, const work_item& item, const kv::visibility& sees, const staged_tile& t, const row_positions<Block>& rows,
                       float (&s)[Block::row_blocks][4], thread_place me) noexcept {
  const kv::visibility model{0, p.window};
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t c = 0; c < 4; ++c) {
      const std::uint32_t token = me.warp * mma_columns + 2 * me.at.g + c / 2, row = b * 8 + me.at.t * 2 + c % 2;
      const std::uint32_t query = rows.query[b][c % 2], key = static_cast<std::uint32_t>(t.position) + token;
      float x = s[b][c];
      if (p.softcap != 0) x = p.softcap * tanhf(x / p.softcap);
      if (p.alibi != nullptr) x += p.alibi[item.head * p.group() + row % p.group()] * static_cast<float>(static_cast<std::int32_t>(key) - static_cast<std::int32_t>(query));
      x += t.bias;
      const bool seen = (t.live >> token & 1u) != 0 && (t.exempt ? p.window == kv::visibility::everything || model.sees(query, key)
                                                                 : sees.sees(query, key) && (p.window == kv::visibility::everything || model.sees(query, key)));
      s[b][c] = seen ? x : -INFINITY;
    }
}

/// Takes one staged tile into the registers. Begins after the barrier that shows the tile; two barriers inside.
template <class Block, class Pair>
__device__ void fold_tile(typename Block::memory& m, const std::byte* staged, const staged_tile& tile, const problem& p, const work_item& item,
                          const row_positions<Block>& rows, typename Block::registers& r, thread_place me) noexcept {
  using keys = typename Block::template key_operand<Pair>;
  using values = typename Block::template value_operand<Pair>;
  constexpr bool raw = std::is_same_v<Pair, typename Block::raw_pair>;
  float s[Block::row_blocks][4];
  multiply_keys<Block, Pair>(m, staged, raw ? m.raw_queries : m.sealed_queries, s, me);
  if (!tile.whole || p.softcap != 0 || p.alibi != nullptr || tile.bias != 0) adjust<Block>(p, item, m.head.sees, tile, rows, s, me);

#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < 2; ++j) {
      float most = fmaxf(s[b][j], s[b][2 + j]);
      for (std::uint32_t d = 4; d < warp_threads; d *= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
      if (me.at.g == 0) m.top[me.warp][b * 8 + me.at.t * 2 + j] = most;
    }
  __syncthreads();

  const std::byte* value_tile = staged + keys::staged_bytes;
  const std::uint32_t token = me.warp * mma_columns + 2 * me.at.g;
  float factor[Block::row_blocks][2];
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < 2; ++j) {
      const std::uint32_t row = b * 8 + me.at.t * 2 + j;
      float most = r.m[b][j];
#pragma unroll
      for (std::uint32_t w = 0; w < block_warps; ++w) most = fmaxf(most, m.top[w][row]);
      const float safe = most == -INFINITY ? 0.0f : most * log2_e;
      factor[b][j] = device::exp2(fmaf(r.m[b][j], log2_e, -safe));
      r.m[b][j] = most;
      float first = device::exp2(fmaf(s[b][j], log2_e, -safe)), second = device::exp2(fmaf(s[b][2 + j], log2_e, -safe));
      r.l[b][j] = fmaf(r.l[b][j], factor[b][j], first + second);
      if constexpr (values::scaled == scaling::rows) {
        r.low[b][j] = fmaf(r.low[b][j], factor[b][j], fmaf(first, values::minimum(value_tile, token), second * values::minimum(value_tile, token + 1)));
        first *= values::scale(value_tile, token), second *= values::scale(value_tile, token + 1);
      } else if constexpr (values::scaled == scaling::tile) {
        const float scale = values::scale(value_tile, 0);
        first *= scale, second *= scale;
      }
      if constexpr (values::scaled != scaling::rows) r.low[b][j] *= factor[b][j];
      const pair_place to = values::place_of(token / 2);
      m.weights[((to.step * Block::row_blocks + b) * warp_threads + (me.at.t * 2 + j) * 4 + to.t) * 2 + to.half] = pack<values>(first, second);
    }
  __syncthreads();

#pragma unroll
  for (std::uint32_t i = 0; i < Block::own_blocks; ++i) {
    if (Block::channel_blocks % block_warps != 0 && me.channel(i) >= Block::dim) break;
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t c = 0; c < 4; ++c) r.o[i][b][c] *= factor[b][c % 2];
    values::for_each_step(value_tile, me.channel(i), me.at, [&](std::uint32_t step, const std::uint32_t(&a)[4]) {
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
        const std::uint64_t w = reinterpret_cast<const std::uint64_t*>(m.weights)[(step * Block::row_blocks + b) * warp_threads + me.lane];
        const std::uint32_t x[2] = {static_cast<std::uint32_t>(w), static_cast<std::uint32_t>(w >> 32)};
        multiply<values>(r.o[i][b], a, x);
      }
    });
  }
}

/// Brings a piece's l, and the part of o that minima make, together: lanes and warps had parts of both. One barrier.
template <class Block>
__device__ void gather_sums(typename Block::memory& m, typename Block::registers& r, thread_place me) noexcept {
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < 2; ++j) {
      float l = r.l[b][j], low = r.low[b][j];
      for (std::uint32_t d = 4; d < warp_threads; d *= 2) l += __shfl_xor_sync(~0u, l, d), low += __shfl_xor_sync(~0u, low, d);
      const std::uint32_t row = b * 8 + me.at.t * 2 + j;
      if (me.at.g == 0) m.sum[me.warp][row] = l, m.low[me.warp][row] = low;
    }
  __syncthreads();
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < 2; ++j) {
      const std::uint32_t row = b * 8 + me.at.t * 2 + j;
      r.l[b][j] = (m.sum[0][row] + m.sum[1][row]) + (m.sum[2][row] + m.sum[3][row]);
      const float low = (m.low[0][row] + m.low[1][row]) + (m.low[2][row] + m.low[3][row]);
#pragma unroll
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i) r.o[i][b][j] += low, r.o[i][b][2 + j] += low;
    }
}

/// o of exact tiles joins a sum in the basis of rotated values: o ← H o. Two barriers.
template <class Block>
__device__ void turn_over(typename Block::memory& m, typename Block::registers& r, thread_place me) noexcept {
  const auto each = [&](auto&& f) {
#pragma unroll
    for (std::uint32_t i = 0; i < Block::own_blocks; ++i)
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
        for (std::uint32_t c = 0; c < 4; ++c)
          if (const std::uint32_t channel = me.channel(i) + 2 * me.at.g + c / 2; Block::channel_blocks % block_warps == 0 || channel < Block::dim)
            f(m.turning[(b * 8 + me.at.t * 2 + c % 2) * Block::dim + channel], r.o[i][b][c]);
  };
  each([](float& shared, float own) { shared = own; });
  __syncthreads();
  rotate_rows(m.turning, Block::rows, Block::dim, me);
  __syncthreads();
  each([](float shared, float& own) { own = shared; });
}

}  // namespace quire::inline v0::attention::cuda
