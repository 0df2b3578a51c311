// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../subtree_walk.hpp"
#include "block.cuh"

namespace quire::inline v0::attention::cuda {

/// Where states stand in scratch: for each worker its parts of the two items that it may share with others and the stack of whoever
/// merges an item's parts; for each shared prefix the nodes that make it; for each member what one worker alone folded behind its
/// prefix, since a worker may have many of those waiting. All have room for `bytes`.
struct scratch_map {
  std::byte* base;
  const plan_view& plan;
  std::size_t bytes;

  QUIRE_HD static constexpr std::size_t states(const plan_view& p) noexcept {
    return std::size_t{p.slots} * of_worker(p) + std::size_t{p.prefix_items} * p.merge_depth + std::size_t{p.member_count} * p.depth;
  }
  QUIRE_HD static constexpr std::uint32_t of_worker(const plan_view& p) noexcept { return split_items * p.depth + p.merge_depth; }
  /// State k of a worker's part 0 or 1, or of its stack (2).
  __device__ std::byte* part(std::uint32_t worker, std::uint32_t which, std::uint32_t k) const noexcept {
    return base + (std::size_t{worker} * of_worker(plan) + which * plan.depth + k) * bytes;
  }
  __device__ std::byte* prefix(std::uint32_t item, std::uint32_t k) const noexcept {
    return base + (std::size_t{plan.slots} * of_worker(plan) + std::size_t{item} * plan.merge_depth + k) * bytes;
  }
  __device__ std::byte* member(std::uint32_t m, std::uint32_t k) const noexcept {
    return base + (std::size_t{plan.slots} * of_worker(plan) + std::size_t{plan.prefix_items} * plan.merge_depth + std::size_t{m} * plan.depth + k) * bytes;
  }
};

/// Moves states between registers and scratch, and merges them. The newest state of a walk stays in registers. Threads read back
/// what they wrote, but for (m, l) of rows, which four write for all (on CUDA cores: and o, a quarter): `keep` begins at a barrier, and
/// one stands before `join`.
template <class Block>
class states {
 public:
  using registers = typename Block::registers;

  __device__ explicit states(thread_place me) noexcept : me_(me) {}

  __device__ void keep(const registers& r, std::byte* to) const noexcept {
    __syncthreads();
    if (!Block::speaks(me_.at)) return;
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
      if (me_.thread < 4) *sums(to, b) = pack_sums(r, b);
#pragma unroll
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i) {
        group o;
#pragma unroll
        for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) o.at[c] = r.o[i][b][c];
        *fragment(to, i, b) = o;
      }
    }
  }
  __device__ void load(registers& r, std::byte* from) const noexcept {
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
      const group s = *sums(from, b);
#pragma unroll
      for (std::uint32_t j = 0; j < Block::lane_rows; ++j) r.m[b][j] = s.at[2 * j], r.l[b][j] = s.at[2 * j + 1];
#pragma unroll
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i) {
        const group o = *fragment(from, i, b);
#pragma unroll
        for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) r.o[i][b][c] = o.at[c];
      }
    }
  }
  /// Rows [first, first + count) of a state that a block of shape `Wide` kept; the identity for further rows.
  template <class Wide>
  __device__ void load_rows(registers& r, std::byte* from, std::uint32_t first, std::uint32_t count) const noexcept {
    static_assert(!Block::on_cores && !Wide::on_cores, "rows of a prefix go from tensor cores to tensor cores");
    const auto* sums = reinterpret_cast<const float2*>(from);
    const auto* o = reinterpret_cast<const float*>(from + Wide::sum_bytes);
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
#pragma unroll
      for (std::uint32_t j = 0; j < 2; ++j) {
        const std::uint32_t row = b * 8 + me_.at.t * 2 + j, there = first + row;
        const bool held = row < count;
        const float2 s = held ? sums[there] : float2{-INFINITY, 0.0f};
        r.m[b][j] = s.x, r.l[b][j] = s.y;
        const std::uint32_t thread = me_.warp * warp_threads + me_.at.g * 4 + there % 8 / 2;
#pragma unroll
        for (std::uint32_t i = 0; i < Block::own_blocks; ++i) {
          const float* at = o + (std::size_t{i * Wide::row_blocks + there / 8} * block_threads + thread) * 4 + there % 2;
          r.o[i][b][j] = held ? at[0] : 0.0f, r.o[i][b][2 + j] = held ? at[2] : 0.0f;
        }
      }
  }
  /// r ← left ⊕ r, in the order of the tree.
  __device__ void join(std::byte* left, registers& r) const noexcept {
#pragma unroll
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b) {
      const group s = *sums(left, b);
      float before[Block::lane_rows], after[Block::lane_rows];
#pragma unroll
      for (std::uint32_t j = 0; j < Block::lane_rows; ++j) weigh(s.at[2 * j], s.at[2 * j + 1], r.m[b][j], r.l[b][j], before[j], after[j]);
#pragma unroll
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i) {
        const group o = *fragment(left, i, b);
#pragma unroll
        for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) {
          const std::uint32_t j = c % Block::lane_rows;
          r.o[i][b][c] = fmaf(o.at[c], before[j], r.o[i][b][c] * after[j]);
        }
      }
    }
  }

  /// (m, l) ← (left_m, left_l) ⊕ (m, l) and the factors of both sides.
  __device__ static void weigh(float left_m, float left_l, float& m, float& l, float& before, float& after) noexcept {
    const float most = fmaxf(left_m, m), safe = most == -INFINITY ? 0.0f : most;
    before = device::exp2((left_m - safe) * log2_e), after = device::exp2((m - safe) * log2_e);
    l = fmaf(left_l, before, l * after), m = most;
  }

 private:
  /// What a lane has of a row block: (m, l) of its rows, or o of two channels of each.
  struct alignas(4 * Block::fragment_floats) group {
    float at[Block::fragment_floats];
  };
  __device__ static group pack_sums(const registers& r, std::uint32_t b) noexcept {
    group s;
#pragma unroll
    for (std::uint32_t j = 0; j < Block::lane_rows; ++j) s.at[2 * j] = r.m[b][j], s.at[2 * j + 1] = r.l[b][j];
    return s;
  }
  __device__ group* sums(std::byte* state, std::uint32_t b) const noexcept { return reinterpret_cast<group*>(state) + (Block::on_cores ? 0 : b * 4 + me_.at.t); }
  __device__ group* fragment(std::byte* state, std::uint32_t i, std::uint32_t b) const noexcept {
    constexpr std::uint32_t copies = Block::on_cores ? 4 : 1;   // lanes that hold the same
    return reinterpret_cast<group*>(state + Block::sum_bytes) + (i * Block::row_blocks + b) * (block_threads / copies) + me_.thread / copies;
  }
  thread_place me_;
};

}  // namespace quire::inline v0::attention::cuda
