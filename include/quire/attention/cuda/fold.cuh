// SPDX-License-Identifier: Apache-2.0
// The fold of one block of four warps: sixteen tokens of a tile's keys a warp, then all tokens for a quarter of the channels.
// Query rows stand on the products' narrow side, so a few of them (decode) waste little and many of them (chunks, shared
// prefixes) take the same code. One or two alone take it as well, with products on CUDA cores: there the four lanes t of a column sum
// a quarter of its rows each, in f32.
#pragma once

#include "queries.cuh"
#include "tile_queue.cuh"

namespace quire::inline v0::attention::cuda {

/// Where query rows stand: `group` of them share a position. Computed where it is asked for, by few tiles: kept, each row would take a register.
struct row_positions {
  std::uint32_t first, parts;

  __device__ row_positions(const work_item& item, std::uint32_t group) noexcept : first(item.first), parts(65535 / group + 1) {}
  /// first + row / group: exact for rows and groups up to 64.
  __device__ std::uint32_t of(std::uint32_t row) const noexcept { return first + (row * parts >> 16); }
};

/// Logits of this warp's sixteen tokens for all rows: s[b][j] token 2g for the lane's row j of block b, s[b][lane_rows + j] token 2g + 1.
template <class Block, class Pair>
__device__ void multiply_keys(const typename Block::memory& m, const std::byte* staged, const std::uint32_t* queries, float (&s)[Block::row_blocks][Block::fragment_floats],
                              thread_place me) noexcept {
  using keys = typename Block::template key_operand<Pair>;
  constexpr std::uint32_t lane_rows = Block::lane_rows;
  const std::uint32_t column = me.warp * mma_columns;
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) s[b][c] = 0;
  constexpr std::uint32_t parts = column_parts_of<keys>();
  if constexpr (scales_coefficients<keys>) {
    multiply_scaled<Block, keys>(staged, queries, column, s, me.at);
  } else if constexpr (parts != 1) {
    multiply_split<Block, keys>(staged, queries, column, s, me.at);
  } else {
    keys::for_each_step(staged, column, me.at, [&](std::uint32_t step, const std::uint32_t(&a)[4]) { multiply_step<Block, keys>(queries, step, a, s, me.at); });
  }

  if constexpr (Block::on_cores) {
#pragma unroll
    for (float& x : s[0]) x = over_lanes(x);
  }
  if constexpr (keys::scaled == scaling::tile) {
    const float scale = keys::scale(staged, 0);
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) s[b][c] *= scale;
  }
  if constexpr (keys::scaled == scaling::columns) {
    const std::uint32_t token = column + 2 * me.at.g;
    const float scale[2] = {keys::scale(staged, token), keys::scale(staged, token + 1)}, minimum[2] = {keys::minimum(staged, token), keys::minimum(staged, token + 1)};
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t c = 0; c < Block::fragment_floats; ++c)
        s[b][c] = fmaf(s[b][c], scale[c / lane_rows], minimum[c / lane_rows] * m.query_sum[Block::row_of(b, c % lane_rows, me.at)]);
  }
  if constexpr (parts != 1) {
#pragma unroll
    for (std::uint32_t part = 0; part < parts; ++part) {
      const std::uint32_t token = column + 2 * me.at.g;
      const float minimum[2] = {keys::minimum(staged, part, token), keys::minimum(staged, part, token + 1)};
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
        for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) s[b][c] = fmaf(minimum[c / lane_rows], m.query_sum[part * Block::rows + Block::row_of(b, c % lane_rows, me.at)], s[b][c]);
    }
  }
  if constexpr (is_repaired<keys>) {
    const std::uint32_t* x = Block::on_cores ? queries : m.repair_queries;
    float along[Block::row_blocks][Block::fragment_floats] = {}, more[Block::row_blocks][Block::fragment_floats] = {};
    keys::template project<Block>(staged, x, along, me.at);
    keys::template repair<Block>(staged, column, x, along, Block::on_cores ? more : s, me.at);
#pragma unroll
    for (std::uint32_t c = 0; Block::on_cores && c < Block::fragment_floats; ++c) s[0][c] += over_lanes(more[0][c]);
  }
}

/// Softcap, ALiBi and run bias in the order of attention/problem.hpp, then what rows do not see.
template <class Block, class Scores>
__device__ void adjust(const problem& p, const work_item& item, const kv::visibility& sees, const staged_tile& t, const row_positions& rows,
                       float (&s)[Block::row_blocks][Block::fragment_floats], thread_place me, const Scores& scores) noexcept {
  const kv::visibility model{0, p.window};
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) {
      const std::uint32_t token = me.warp * mma_columns + 2 * me.at.g + c / Block::lane_rows, row = Block::row_of(b, c % Block::lane_rows, me.at);
      const std::uint32_t query = rows.of(row), key = scores.position(t, token);
      float x = s[b][c];
      if (p.softcap != 0) x = p.softcap * tanhf(x / p.softcap);
      if (p.alibi != nullptr) x += p.alibi[item.head * p.group() + row % p.group()] * static_cast<float>(static_cast<std::int32_t>(key) - static_cast<std::int32_t>(query));
      x += t.bias;
      const bool seen = (t.live >> token & 1u) != 0 && (t.exempt ? p.window == kv::visibility::everything || model.sees(query, key)
                                                                 : sees.sees(query, key) && (p.window == kv::visibility::everything || model.sees(query, key)));
      s[b][c] = seen ? x : -INFINITY;
    }
}

/// Takes one staged tile into the registers, and keeps weights where a layout learns from them. Begins after the barrier that shows the tile; two
/// barriers inside.
template <class Block, class Pair, class Scores = no_scores>
__device__ void fold_tile(typename Block::memory& m, const std::byte* staged, const staged_tile& tile, const problem& p, const work_item& item,
                          const row_positions& rows, typename Block::registers& r, thread_place me, const Scores& scores = {}) noexcept {
  using keys = typename Block::template key_operand<Pair>;
  using values = typename Block::template value_operand<Pair>;
  constexpr bool raw = std::is_same_v<Pair, typename Block::raw_pair>;
  constexpr std::uint32_t lane_rows = Block::lane_rows;
  float s[Block::row_blocks][Block::fragment_floats];
  multiply_keys<Block, Pair>(m, staged, raw ? m.raw_queries : m.sealed_queries, s, me);
  if (!tile.whole || p.softcap != 0 || p.alibi != nullptr || tile.bias != 0) adjust<Block>(p, item, m.head.sees, tile, rows, s, me, scores);

#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < lane_rows; ++j) {
      float most = fmaxf(s[b][j], s[b][lane_rows + j]);
      for (std::uint32_t d = 4; d < warp_threads; d *= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
      if (me.at.g == 0 && Block::speaks(me.at)) m.top[me.warp][Block::row_of(b, j, me.at)] = most;
    }
  __syncthreads();

  const std::byte* value_tile = staged + keys::staged_bytes;
  const std::uint32_t token = me.warp * mma_columns + 2 * me.at.g;
  float factor[Block::row_blocks][lane_rows];
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < lane_rows; ++j) {
      const std::uint32_t row = Block::row_of(b, j, me.at);
      float most = r.m[b][j];
#pragma unroll
      for (std::uint32_t w = 0; w < block_warps; ++w) most = fmaxf(most, m.top[w][row]);
      const float safe = most == -INFINITY ? 0.0f : most * log2_e;
      factor[b][j] = device::exp2(fmaf(r.m[b][j], log2_e, -safe));
      r.m[b][j] = most;
      float first = device::exp2(fmaf(s[b][j], log2_e, -safe)), second = device::exp2(fmaf(s[b][lane_rows + j], log2_e, -safe));
      r.l[b][j] = fmaf(r.l[b][j], factor[b][j], first + second);
      if constexpr (Scores::active && raw)
        if (tile.exact != not_exact && scores.has(row) && Block::speaks(me.at)) {
          scores.keep(row, tile.exact, token, first, second);
          if (me.warp == 0 && me.at.g == 0) scores.keep_top(row, tile.exact, most);
        }
      const pair_place to = values::place_of(token / 2);
      const std::uint32_t at = ((to.step * Block::row_blocks + b) * Block::row_lanes + row % 8 * 4 + to.t) * 2 + to.half;
      if (is_repaired<values> && Block::speaks(me.at)) put_pair<Block, repair_products>(m.repair_weights, at, first, second);
      if constexpr (values::scaled == scaling::rows) {
        r.low[b][j] = fmaf(r.low[b][j], factor[b][j], fmaf(first, values::minimum(value_tile, token), second * values::minimum(value_tile, token + 1)));
        first *= values::scale(value_tile, token), second *= values::scale(value_tile, token + 1);
      } else if constexpr (values::scaled == scaling::tile) {
        const float scale = values::scale(value_tile, 0);
        first *= scale, second *= scale;
      }
      if constexpr (values::scaled != scaling::rows && Block::sums_minima) r.low[b][j] *= factor[b][j];
      if (Block::speaks(me.at)) put_pair<Block, values>(m.weights, at, first, second);
    }
  __syncthreads();

  float along[Block::row_blocks][Block::fragment_floats] = {};   // what factors of values take of the weights
  if constexpr (is_repaired<values>) values::template project<Block>(value_tile, m.repair_weights, along, me.at);
#pragma unroll
  for (std::uint32_t i = 0; i < Block::own_blocks; ++i) {
    if (Block::channel_blocks % block_warps != 0 && me.channel(i) >= Block::dim) break;
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) r.o[i][b][c] *= factor[b][c % lane_rows];
    const auto multiply_values = [&](std::uint32_t step, const std::uint32_t(&a)[4]) { multiply_step<Block, values>(m.weights, step, a, r.o[i], me.at); };
    if constexpr (values::scaled == scaling::parts) multiply_scaled<Block, values>(value_tile, m.weights, me.channel(i), r.o[i], me.at);
    else if constexpr (values::scaled == scaling::rows) values::template for_each_step<unrolls<Block>>(value_tile, me.channel(i), me.at, multiply_values);
    else values::for_each_step(value_tile, me.channel(i), me.at, multiply_values);
    if constexpr (is_repaired<values>) values::template repair<Block>(value_tile, me.channel(i), m.repair_weights, along, r.o[i], me.at);
  }
}

/// On CUDA cores: what the four lanes t have of o becomes the whole in all of them.
template <class Block>
__device__ void gather_lanes(typename Block::registers& r) noexcept {
#pragma unroll
  for (std::uint32_t i = 0; i < Block::own_blocks; ++i)
#pragma unroll
    for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) r.o[i][0][c] = over_lanes(r.o[i][0][c]);
}

/// Brings a piece's l, and the part of o that minima make, together: lanes and warps had parts of both. One barrier.
template <class Block>
__device__ void gather_sums(typename Block::memory& m, typename Block::registers& r, thread_place me) noexcept {
  if constexpr (Block::on_cores) gather_lanes<Block>(r);
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < Block::lane_rows; ++j) {
      float l = r.l[b][j], low = r.low[b][j];
      for (std::uint32_t d = 4; d < warp_threads; d *= 2) l += __shfl_xor_sync(~0u, l, d), low = Block::sums_minima ? low + __shfl_xor_sync(~0u, low, d) : low;
      const std::uint32_t row = Block::row_of(b, j, me.at);
      if (me.at.g == 0 && Block::speaks(me.at)) m.sum[me.warp][row] = l, m.low[me.warp][row] = low;
    }
  __syncthreads();
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < Block::lane_rows; ++j) {
      const std::uint32_t row = Block::row_of(b, j, me.at);
      r.l[b][j] = (m.sum[0][row] + m.sum[1][row]) + (m.sum[2][row] + m.sum[3][row]);
      const float low = (m.low[0][row] + m.low[1][row]) + (m.low[2][row] + m.low[3][row]);
#pragma unroll
      for (std::uint32_t i = 0; Block::sums_minima && i < Block::own_blocks; ++i) r.o[i][b][j] += low, r.o[i][b][Block::lane_rows + j] += low;
    }
}

/// o of exact tiles joins a sum in the basis of rotated values: o ← H o. Two barriers.
template <class Block>
__device__ void turn_over(typename Block::memory& m, typename Block::registers& r, thread_place me) noexcept {
  if constexpr (Block::on_cores) gather_lanes<Block>(r);
  const auto each = [&](auto&& f) {
#pragma unroll
    for (std::uint32_t i = 0; i < Block::own_blocks; ++i)
#pragma unroll
      for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
        for (std::uint32_t c = 0; c < Block::fragment_floats; ++c)
          if (const std::uint32_t channel = me.channel(i) + 2 * me.at.g + c / Block::lane_rows; Block::channel_blocks % block_warps == 0 || channel < Block::dim)
            f(m.turning[Block::row_of(b, c % Block::lane_rows, me.at) * Block::dim + channel], r.o[i][b][c]);
  };
  const bool mine = Block::speaks(me.at);   // the others' parts are in the one that speaks
  each([&](float& shared, float own) {
    if (mine) shared = own;
  });
  __syncthreads();
  rotate_rows(m.turning, Block::rows, Block::dim, me);
  __syncthreads();
  each([&](float& shared, float& own) { own = mine ? shared : 0.0f; });
}

}  // namespace quire::inline v0::attention::cuda
