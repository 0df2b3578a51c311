// SPDX-License-Identifier: Apache-2.0
// One layer of attention for a step on a GPU: one launch of as many blocks as the plan has workers. Appending comes before
// (append.cuh). Nothing here allocates, waits or chooses a stream, so a launch can be captured in a graph.
#pragma once

#include "share.cuh"
#include "tuning/unit.cuh"

namespace quire::inline v0::attention::cuda {

template <class Narrow, class Wide, std::uint32_t Resident, class Call, bool Merging = true>
__global__ void __launch_bounds__(block_threads, Resident) fold_kernel(const __grid_constant__ Call c) {
  share<Narrow, Wide, Call, Merging>(c, device::shared_memory(), blockIdx.x).run();
}
template <class Narrow, class Wide, class Call>
__global__ void __launch_bounds__(block_threads) merge_kernel(const __grid_constant__ Call c, bool of_prefixes) {
  merger<Narrow, Wide, Call>(c, device::shared_memory(), blockIdx.x).merge_all(of_prefixes);
}

/// Attention of the rows of a step for one head size and at most `Rows` rows an item (the plan's limit): 8 or 16 for decoding,
/// 32 or 64 for chunks, 1 or 2 for decoding on CUDA cores (other bits than tensor cores': f32 throughout). `PrefixRows`: rows of
/// an item that folds a shared prefix for all its members in the same launch, 0 where plans have none. `Tuner`: whose rows of
/// numbers it takes (tuning/, or tuned_by<your own>). Any thread may call it; launches on one stream may share scratch and arrivals.
/// from: LeanAttention (arXiv:2405.10480), BatchLLM (arXiv:2412.03594); test: tests/attention/cuda/attend.cpp
template <kv::Layout L, std::uint32_t Dim, std::uint32_t Rows, std::uint32_t PrefixRows = 0, class Row = float, FoldTuner Tuner = tuning::of_unit>
struct attend {
  static_assert(PrefixRows == 0 || Rows % 8 == 0, "quire::attention::cuda: kernels of one or two rows share no prefixes: a prefix would be folded on tensor cores, and its bits are others");
  static_assert(PrefixRows == 0 || (!L::overlays && !kv::balances<typename L::sealed_pair>), "quire::attention::cuda: sequences of this layout share no prefixes");
  using call = layer_call<L, Row>;
  using shape = fold_shape<L, Row, Dim, Rows>;
  template <std::uint32_t Tiles, copying How = copying::async>
  struct with_tiles {
    using block = fold_block<L, Row, Dim, Rows, Tiles, copies_of<How, Tiles>>;
    using prefix_block = std::conditional_t<PrefixRows == 0, void, fold_block<L, Row, Dim, PrefixRows == 0 ? Rows : PrefixRows, Tiles, copies_of<How, Tiles>>>;
    using worker = share<block, prefix_block, call>;
  };
  static constexpr std::size_t least_bytes = with_tiles<shape::least_tiles>::worker::shared_bytes;
  static constexpr fold_tuning numbers = Tuner::of({.head_dim = Dim, .bits = shape::sealed_bits, .rows = PrefixRows > Rows ? PrefixRows : Rows, .bytes = least_bytes});
  using smallest = with_tiles<shape::least_tiles, numbers.copies>;
  static constexpr std::uint32_t tiles =
      tiles_that_fit(numbers, shape::least_tiles, smallest::worker::shared_bytes, shape::place_bytes + sizeof(staged_tile) + smallest::block::copies::turn_bytes);
  using block = typename with_tiles<tiles, numbers.copies>::block;
  using prefix_block = typename with_tiles<tiles, numbers.copies>::prefix_block;
  using worker = typename with_tiles<tiles, numbers.copies>::worker;
  static_assert(worker::shared_bytes <= numbers.shared_bytes,
                "quire::attention::cuda: two tiles (and the exact one) need more shared memory than a block has on this architecture: take fewer rows, or numbers with fewer blocks");

  /// Whether the kernel serves `p`; asked before anything is launched.
  static constexpr status supports(const problem& p) noexcept {
    if (const status s = attention::supports(p); !s) return s;
    if (p.dim_k != Dim) return {errc::unsupported_shape, "head_dim of this kernel", p.dim_k, Dim, Dim};
    if (p.group() > Rows) return {errc::unsupported_shape, "query heads of a kv head", p.group(), 1, Rows};
    return {};
  }
  static constexpr std::size_t shared_bytes() noexcept { return worker::shared_bytes; }
  /// Scratch of one launch; arrivals are 4 bytes an item beside it.
  static constexpr std::size_t scratch_bytes(const plan_view& p) noexcept { return scratch_map::states(p) * worker::state_bytes; }

  /// fails: unsupported_shape (also a plan with prefixes for a kernel without, or where logits depend on a member's own position), device.
  static status launch(const call& c, device::stream on) noexcept {
    if (const status s = check(c); !s) return s;
    if (c.plan.item_count == 0) return {};
    const device::range named("quire: attend");
    return device::launch(&fold_kernel<block, prefix_block, numbers.blocks, call>, on_slots(c), on, c);
  }
  /// The same in two launches, three where there are prefixes: workers only keep their parts, then blocks merge them. The bits are those of
  /// `launch`, which this is to be compared with; arrivals are not used.
  static status launch_apart(const call& c, device::stream on) noexcept {
    if (const status s = check(c); !s) return s;
    if (c.plan.item_count == 0) return {};
    const device::range named("quire: attend in two passes");
    if (const status s = device::launch(&fold_kernel<block, prefix_block, numbers.blocks, call, false>, on_slots(c), on, c); !s) return s;
    if (c.plan.prefix_items != 0)
      if (const status s = device::launch(&merge_kernel<block, prefix_block, call>, on_slots(c), on, c, true); !s) return s;
    return device::launch(&merge_kernel<block, prefix_block, call>, on_slots(c), on, c, false);
  }

 private:
  static constexpr status check(const call& c) noexcept {
    if (const status s = supports(c.shape); !s) return s;
    if (PrefixRows == 0 && c.plan.prefix_items != 0) return {errc::unsupported_shape, "prefixes of a plan for a kernel without PrefixRows", c.plan.prefix_items, 0, 0};
    if (c.plan.prefix_items != 0 && !shares_prefixes(c.shape))
      return {errc::unsupported_shape, "prefixes of a plan beside ALiBi or the model's window", c.plan.prefix_items, 0, 0};
    return {};
  }
  static constexpr device::launch_shape on_slots(const call& c) noexcept { return {.blocks = c.plan.slots, .threads = block_threads, .shared_bytes = shared_bytes()}; }
};

}  // namespace quire::inline v0::attention::cuda
