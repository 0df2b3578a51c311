// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../tuning.cuh"

namespace quire::inline v0::attention::cuda::tuning {

/// Compute capabilities 8.6, 8.9 and 12.x (RTX 30, 40 and 50, L4, L40): 100 KiB of shared memory a processor, 99 a block. No row was
/// timed: as many blocks as leave each room for three sealed tiles. 16-bit heads of more than 128 channels do not fit.
/// test: tests/attention/cuda/tuning/sm_86.cpp
struct sm_86 {
  static constexpr std::uint32_t processor_bytes = 100 * 1024;
  static constexpr tuning_row rows[] = {
      // head_dim, bits and rows up to; tiles, blocks, shared memory of a block
      {64, 4, 16, {7, 2, shared_of(processor_bytes, 2)}},
      {64, 8, 16, {4, 2, shared_of(processor_bytes, 2)}},
      {64, 16, 16, {2, 2, shared_of(processor_bytes, 2)}},
      {max_head_dim, 16, 64, {12, 1, shared_of(processor_bytes, 1)}},
  };
  static constexpr fold_tuning of(fold_key k) noexcept { return find_row(rows, k).use; }
};
static_assert(FoldTuner<sm_86> && rows_fit(sm_86::rows, sm_86::processor_bytes));

}  // namespace quire::inline v0::attention::cuda::tuning
