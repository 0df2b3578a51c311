// SPDX-License-Identifier: Apache-2.0
// One layer of attention for a step on a GPU: one launch of as many blocks as the plan has workers. Appending comes before
// (append.cuh). Nothing here allocates, waits or chooses a stream, so a launch can be captured in a graph.
#pragma once

#include "share.cuh"

namespace quire::inline v0::attention::cuda {

/// Knobs change speed, never a result. Fields are only appended.
struct fold_tuning {
  std::uint32_t stages = 3;      ///< tiles in shared memory at a time
  std::uint32_t blocks = 2;      ///< blocks of an SM that registers are shared out to
};

template <class Block, std::uint32_t Resident, class Call>
__global__ void __launch_bounds__(block_threads, Resident) fold_kernel(const __grid_constant__ Call c) {
  auto& memory = *reinterpret_cast<typename Block::memory*>(device::shared_memory());
  share<Block, Call>(c, memory, blockIdx.x).run();
}

/// Attention of the rows of a step for one head size and at most `Rows` rows an item (the plan's limit): 8 or 16 for decoding,
/// 32 or 64 for chunks. Any thread may call it; launches on one stream may share scratch and arrivals.
template <kv::Layout L, std::uint32_t Dim, std::uint32_t Rows, class Row = float, fold_tuning Tuning = fold_tuning{}>
struct attend {
  using call = layer_call<L, Row>;
  using block = fold_block<L, Row, Dim, Rows, Tuning.stages>;

  /// Whether the kernel serves `p`; asked before anything is launched.
  static constexpr status supports(const problem& p) noexcept {
    if (const status s = attention::supports(p); !s) return s;
    if (p.dim_k != Dim) return {errc::unsupported_shape, "head_dim of this kernel", p.dim_k, Dim, Dim};
    if (p.group() > Rows) return {errc::unsupported_shape, "query heads of a kv head", p.group(), 1, Rows};
    return {};
  }
  static constexpr std::size_t shared_bytes() noexcept { return sizeof(typename block::memory); }
  /// Scratch of one launch; arrivals are 4 bytes an item beside it.
  static constexpr std::size_t scratch_bytes(const plan_view& p) noexcept { return std::size_t{p.slots} * block::states_of(p) * block::state_bytes; }

  /// fails: unsupported_shape, device.
  static status launch(const call& c, device::stream on) noexcept {
    if (const status s = supports(c.shape); !s) return s;
    if (c.plan.item_count == 0) return {};
    return device::launch(&fold_kernel<block, Tuning.blocks, call>, {.blocks = c.plan.slots, .threads = block_threads, .shared_bytes = shared_bytes()}, on, c);
  }
};

}  // namespace quire::inline v0::attention::cuda
