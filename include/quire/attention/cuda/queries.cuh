// SPDX-License-Identifier: Apache-2.0
// Query rows on their way in and output rows on their way out: f32 [Rows][Dim] in shared memory, where rotations happen.
#pragma once

#include "block.cuh"

namespace quire::inline v0::attention::cuda {

/// v ← H v for `rows` rows [dim] in shared memory, one row a warp at a time. The warps meet before and after.
__device__ inline void rotate_rows(float* v, std::uint32_t rows, std::uint32_t dim, thread_place me) noexcept {
  const std::uint32_t block = kv::rotation_block(dim);
#pragma unroll 1  // it stands in several places and runs once an item: short code is worth more
  for (std::uint32_t r = me.warp; r < rows; r += block_warps) {
    float* row = v + r * dim;
#pragma unroll 1
    for (std::uint32_t h = 1; h < block; h *= 2) {
      for (std::uint32_t i = me.lane; i < dim / 2; i += warp_threads) {
        const std::uint32_t a = i / h * 2 * h + i % h;
        const float x = row[a], y = row[a + h];
        row[a] = x + y, row[a + h] = x - y;
      }
      __syncwarp();
    }
    for (std::uint32_t i = me.lane; i < dim; i += warp_threads) row[i] *= rsqrtf(static_cast<float>(block));
  }
}

/// Widens rows of the caller's number format and narrows to it.
template <class Row>
__device__ inline float widen(Row x) noexcept { return kv::raw<Row>::widen(x); }
template <class Row>
__device__ inline Row narrow(float x) noexcept { return kv::raw<Row>::narrow(x); }

/// Rows of q and out that an item's tokens stand in: of one span, or one of each member of a prefix.
struct item_rows_of {
  const query_span* spans;
  const plan_member* members;   ///< null: one span
  std::uint32_t first;
  __device__ std::size_t operator()(std::uint32_t token) const noexcept { return members == nullptr ? first + token : spans[members[token].span].row; }
};

/// The item's queries times the scale, zeros past its rows. Ends at a barrier.
template <class Block, class Call>
__device__ void load_queries(typename Block::memory& m, const Call& c, const work_item& item, item_rows_of row_of, thread_place me) noexcept {
  auto* rows = reinterpret_cast<float*>(m.ring);
  const std::uint32_t group = c.shape.group(), count = item.count * group;
  const float scale = c.shape.scale_or_default();
  for (std::uint32_t i = me.thread; i < Block::rows * Block::dim; i += block_threads) {
    const std::uint32_t r = i / Block::dim, channel = i % Block::dim;
    rows[i] = r < count ? widen(c.q[row_of(r / group) * c.ldq + (item.head * group + r % group) * Block::dim + channel]) * scale : 0.0f;
  }
  __syncthreads();
}

/// Coefficients for keys of `Pair` from the rows in shared memory, in the order of its fragments. `Repairs`: those that its repairs take.
template <class Block, class Pair, bool Repairs = false>
__device__ void prepare_queries(const typename Block::memory& m, std::uint32_t* to, thread_place me) noexcept {
  using keys = typename Block::template key_operand<Pair>;
  const auto* rows = reinterpret_cast<const float*>(m.ring);
  for (std::uint32_t i = me.thread; i < Block::key_steps * Block::row_blocks * Block::row_lanes; i += block_threads) {
    const lane_place l = lane_place::of(i % Block::row_lanes);
    const std::uint32_t step = i / (Block::row_blocks * Block::row_lanes), row = i / Block::row_lanes % Block::row_blocks * 8 + l.g;
    const float* low = rows + row * Block::dim + 2 * keys::pair_of({step, l.t, 0});
    const float* high = rows + row * Block::dim + 2 * keys::pair_of({step, l.t, 1});
    if constexpr (Block::on_cores || (scales_coefficients<keys> && !Repairs)) {
      reinterpret_cast<float4*>(to)[i] = {low[0], low[1], high[0], high[1]};
    } else {
      using products = std::conditional_t<Repairs, repair_products, keys>;
      to[2 * i] = pack<products>(low[0], low[1]), to[2 * i + 1] = pack<products>(high[0], high[1]);
    }
  }
}

/// Everything the fold needs of an item's queries. The caller's next barrier ends it.
template <class Block, class Call>
__device__ void take_queries(typename Block::memory& m, const Call& c, const work_item& item, item_rows_of row_of, thread_place me) noexcept {
  load_queries<Block>(m, c, item, row_of, me);
  prepare_queries<Block, typename Block::raw_pair>(m, m.raw_queries, me);
  if constexpr (!Block::one_form) {
    auto* rows = reinterpret_cast<float*>(m.ring);
    if constexpr (Block::balanced_keys) {
      const float* balance = c.view.state(c.plan.spans[item.span].sequence, c.layer, item.head).balance;
      __syncthreads();
      for (std::uint32_t i = me.thread; i < Block::rows * Block::dim; i += block_threads) rows[i] = balance[0] != 0 ? rows[i] / balance[i % Block::dim] : 0.0f;  // none yet: no tile is sealed
      __syncthreads();
    }
    if constexpr (Block::rotated_keys) {
      __syncthreads();
      rotate_rows(rows, Block::rows, Block::dim, me);
      __syncthreads();
    }
    prepare_queries<Block, typename Block::sealed_pair>(m, m.sealed_queries, me);
    if constexpr (Block::repaired_keys && !Block::on_cores) prepare_queries<Block, typename Block::sealed_pair, true>(m, m.repair_queries, me);
    if constexpr (Block::key_parts != 1 || Block::template key_operand<typename Block::sealed_pair>::scaled == scaling::columns)
      for (std::uint32_t k = me.warp; k < Block::key_parts * Block::rows; k += block_warps) {
        const float* from = rows + k % Block::rows * Block::dim + k / Block::rows * (Block::dim / Block::key_parts);
        float sum = 0;
        for (std::uint32_t i = me.lane; i < Block::dim / Block::key_parts; i += warp_threads) sum += from[i];
        for (std::uint32_t d = 16; d != 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
        if (me.lane == 0) m.query_sum[k] = sum;
      }
  }
}

/// out row = o / l, with the sink logit in the denominator only; rows without a token are zero. No copy is under way, and a barrier
/// stands behind the last read of the ring.
template <class Block, class Call>
__device__ void write_rows(typename Block::memory& m, const Call& c, const work_item& item, item_rows_of row_of, typename Block::registers& r, thread_place me) noexcept {
  const std::uint32_t group = c.shape.group(), count = item.count * group;
  auto* turned = reinterpret_cast<float*>(m.ring);
#pragma unroll
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
    for (std::uint32_t j = 0; j < Block::lane_rows; ++j) {
      const std::uint32_t row = Block::row_of(b, j, me.at);
      if (row >= count || !Block::speaks(me.at)) continue;
      if constexpr (Block::layout::overlays)
        if (me.warp == 0 && me.at.g == 0) scores_for<Block>(c, item).keep_sums(row, r.m[b][j], r.l[b][j]);
      const std::uint32_t head = item.head * group + row % group;
      float scale = r.l[b][j] > 0 ? 1.0f / r.l[b][j] : 0.0f;
      if (c.shape.sink_logits != nullptr && r.l[b][j] > 0) {
        const float sink = c.shape.sink_logits[head], most = fmaxf(sink, r.m[b][j]), mine = device::exp2((r.m[b][j] - most) * log2_e);
        scale = mine / fmaf(r.l[b][j], mine, device::exp2((sink - most) * log2_e));
      }
      auto* out = c.out + row_of(row / group) * c.ldo + head * Block::dim;
#pragma unroll
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i) {
        const std::uint32_t channel = me.channel(i) + 2 * me.at.g;
        if (Block::channel_blocks % block_warps != 0 && channel >= Block::dim) continue;
        const float x = r.o[i][b][j] * scale, y = r.o[i][b][Block::lane_rows + j] * scale;
        if constexpr (Block::rotated_values) turned[row * Block::dim + channel] = x, turned[row * Block::dim + channel + 1] = y;
        else out[channel] = narrow<typename Block::row>(x), out[channel + 1] = narrow<typename Block::row>(y);
      }
    }
  if constexpr (Block::rotated_values) {
    __syncthreads();
    rotate_rows(turned, count, Block::dim, me);
    __syncthreads();
    for (std::uint32_t i = me.thread; i < count * Block::dim; i += block_threads) {
      const std::uint32_t row = i / Block::dim;
      c.out[row_of(row / group) * c.ldo + (item.head * group + row % group) * Block::dim + i % Block::dim] = narrow<typename Block::row>(turned[i]);
    }
  }
}

}  // namespace quire::inline v0::attention::cuda
