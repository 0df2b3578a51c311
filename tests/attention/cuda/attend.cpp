// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/attend.cuh"

#include "catch.hpp"
#include "fixture.hpp"

using namespace cuda_fixture;

namespace {

attention::problem shape_of(std::uint32_t group, std::uint32_t dim, std::uint32_t kv_heads = 2) {
  return {.q_heads = group * kv_heads, .kv_heads = kv_heads, .dim_k = dim, .dim_v = dim};
}

/// Ragged decoding: every cut of the line gives the same bits, and they are within `bound` of the double reference.
template <class Kernel, kv::Layout L>
void check_decode(const L& layout, const attention::problem& p, std::uint32_t rows, double bound) {
  REQUIRE(Kernel::supports(p));
  step<L> s(layout, p, 4, 1400);
  unsigned seed = 5;
  for (std::uint32_t before : {0u, 63u, 320u, 1217u}) s.add(before, 1, ++seed);
  const device_cache<L> cache(s.store());
  any_plan plan(s, rows);
  plan.cut_evenly(1);
  const auto alone = run<Kernel>(s, cache, plan);
  CHECK(worst(s, alone) < bound);
  for (std::uint32_t workers : {3u, 8u, 64u}) {
    plan.cut_evenly(workers);
    CHECK(run<Kernel>(s, cache, plan) == alone);
  }
}

template <class Pair, std::uint32_t Dim, std::uint32_t Rows, class Raw = kv::raw_bf16>
void check_paged(std::uint32_t group, double bound) {
  using layout = kv::paged<Pair, Raw>;
  check_decode<cuda::attend<layout, Dim, Rows>>(layout({2, 2, Dim}), shape_of(group, Dim), Rows, bound);
}

}  // namespace

// Bounds as for the CPU: bf16 rounding of queries and weights, 2^-9 each.
TEST_CASE("cuda: bf16 decoding equals the double reference") {
  check_paged<kv::raw_bf16, 64, 8>(3, 0.15);
  check_paged<kv::raw_bf16, 128, 8>(8, 0.15);
}
