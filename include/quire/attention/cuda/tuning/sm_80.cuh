// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../tuning.cuh"

namespace quire::inline v0::attention::cuda::tuning {

/// Compute capability 8.0 (A100): 164 KiB of shared memory a processor, 163 a block. No row was timed: blocks and tiles are chosen
/// so that 60 to 100 KiB of sealed tiles are on their way on a processor, which is several times bandwidth by latency
/// (2 TB/s · 0.6 µs / 108), and by what registers allow. test: tests/attention/cuda/tuning/sm_80.cpp
struct sm_80 {
  static constexpr std::uint32_t processor_bytes = 164 * 1024;
  static constexpr tuning_row rows[] = {
      // head_dim, bits and rows up to; tiles, blocks, shared memory of a block
      {64, 2, 16, {15, 3, shared_of(processor_bytes, 3)}},
      {64, 4, 16, {8, 3, shared_of(processor_bytes, 3)}},
      {64, 8, 16, {5, 3, shared_of(processor_bytes, 3)}},
      {64, 16, 16, {4, 2, shared_of(processor_bytes, 2)}},
      {64, 16, 64, {11, 2, shared_of(processor_bytes, 2)}},
      {128, 2, 16, {12, 2, shared_of(processor_bytes, 2)}},
      {128, 4, 16, {7, 2, shared_of(processor_bytes, 2)}},
      {128, 16, 16, {3, 2, shared_of(processor_bytes, 2)}},
      {128, 8, 32, {4, 2, shared_of(processor_bytes, 2)}},
      {max_head_dim, 16, 64, {12, 1, shared_of(processor_bytes, 1)}},
  };
  static constexpr fold_tuning of(fold_key k) noexcept { return find_row(rows, k).use; }
};
static_assert(FoldTuner<sm_80> && rows_fit(sm_80::rows, sm_80::processor_bytes));

}  // namespace quire::inline v0::attention::cuda::tuning
