// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/operand_split.cuh"

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"

using namespace cuda_fixture;

namespace {

/// Keys by token in groups of 32 channels.
template <int Bits, std::uint32_t Dim, std::uint32_t Rows>
void check(double bound) {
  using L = kv::paged<kv::codec_pair<kv::integer<Bits, kv::group::column, 32>, kv::integer<Bits, kv::group::row>>>;
  const attention::problem p{.q_heads = Rows < 8 ? 4u : 6u, .kv_heads = 2, .dim_k = Dim, .dim_v = Dim};
  step<L> s(L({2, 2, Dim}), p, 2, 400);
  s.add(300, Rows < 8 ? 1 : 3, 1);
  s.add(63, 1, 2);
  const device_cache<L> cache(s.store());
  any_plan plan(s, Rows);
  plan.cut_evenly(1);
  const auto out = run<cuda::attend<L, Dim, Rows>>(s, cache, plan);
  INFO("largest error " << worst(s, out));
  CHECK(worst(s, out) < bound);
}

}  // namespace

TEST_CASE("cuda operands: keys with a scale for every 32 channels of a token") {
  check<4, 64, 8>(0.03);
  check<4, 128, 2>(2e-5);
  check<2, 64, 2>(2e-5);
  check<2, 128, 16>(0.03);
}
