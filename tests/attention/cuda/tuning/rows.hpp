// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"

namespace tuning_rows {

using namespace cuda_fixture;

/// A kernel gets the blocks of its row, and `tiles` in its ring; all its blocks fit a processor together.
template <class Tuner, class Pair, std::uint32_t Dim, std::uint32_t Rows, std::uint32_t Tiles, std::uint32_t Blocks>
constexpr bool gets() {
  using kernel = cuda::attend<kv::paged<Pair>, Dim, Rows, 0, float, Tuner>;
  static_assert(kernel::tiles == Tiles);
  static_assert(kernel::numbers.blocks == Blocks);
  return Blocks * (kernel::shared_bytes() + 1024) <= Tuner::processor_bytes;
}

/// Numbers change no bit: those of `Tuner`, and the smallest ring there is, into which all threads copy.
template <class Tuner>
void check_bits() {
  using L = kv::paged<rotated<4>>;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 2, 1000);
  s.add(900, 1, 1);
  s.add(200, 3, 2);
  const device_cache<L> cache(s.store());
  any_plan plan(s, 16);
  plan.cut_evenly(3);
  using kernel = cuda::attend<L, 64, 16, 0, float, Tuner>;
  using smallest = cuda::attend<L, 64, 16, 0, float, cuda::tuned_by<cuda::fold_tuning{.tiles = 2, .blocks = 1, .shared_bytes = 99 * 1024}>>;
  static_assert(smallest::tiles == 4 && kernel::tiles > 4);
  if constexpr (device::architectures[0] >= 900 || kernel::numbers.copies == cuda::copying::async) CHECK(run<kernel>(s, cache, plan) == run<smallest>(s, cache, plan));
}

}  // namespace tuning_rows
