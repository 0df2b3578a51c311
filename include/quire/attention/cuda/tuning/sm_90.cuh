// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../tuning.cuh"

namespace quire::inline v0::attention::cuda::tuning {

/// Compute capabilities 9.0 and 10.x (H100, H200, B200): 228 KiB of shared memory a processor, 227 a block. No row was timed:
/// blocks and tiles are chosen so that 96 to 160 KiB of sealed tiles are on their way on a processor, several times bandwidth by latency
/// (4.8 TB/s · 0.8 µs / 132), and by what registers allow. Tiles come by bulk copies. test: tests/attention/cuda/tuning/sm_90.cpp
struct sm_90 {
  static constexpr std::uint32_t processor_bytes = 228 * 1024;
  static constexpr tuning_row rows[] = {
      // head_dim, bits and rows up to; tiles, blocks, shared memory of a block
      {64, 2, 16, {16, 4, shared_of(processor_bytes, 4), copying::bulk}},
      {64, 4, 16, {9, 4, shared_of(processor_bytes, 4), copying::bulk}},
      {64, 8, 16, {7, 3, shared_of(processor_bytes, 3), copying::bulk}},
      {64, 16, 16, {3, 3, shared_of(processor_bytes, 3), copying::bulk}},
      {64, 16, 64, {13, 2, shared_of(processor_bytes, 2), copying::bulk}},
      {128, 2, 16, {11, 3, shared_of(processor_bytes, 3), copying::bulk}},
      {128, 4, 16, {7, 3, shared_of(processor_bytes, 3), copying::bulk}},
      {128, 16, 64, {8, 2, shared_of(processor_bytes, 2), copying::bulk}},
      {max_head_dim, 4, 8, {5, 2, shared_of(processor_bytes, 2), copying::bulk}},
      {max_head_dim, 16, 64, {12, 1, shared_of(processor_bytes, 1), copying::bulk}},
  };
  static constexpr fold_tuning of(fold_key k) noexcept { return find_row(rows, k).use; }
};
static_assert(FoldTuner<sm_90> && rows_fit(sm_90::rows, sm_90::processor_bytes));

}  // namespace quire::inline v0::attention::cuda::tuning
