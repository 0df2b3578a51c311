// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/operand_balanced.cuh"

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"

using namespace cuda_fixture;

TEST_CASE("cuda operands: queries of balanced keys are divided by the balancer, exact tiles' are not") {
  using L = kv::paged<kv::codec_pair<kv::balanced<kv::integer<4, kv::group::column>>, kv::integer<4, kv::group::row>>>;
  const attention::problem p{.q_heads = 4, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 3, 400);
  s.add(300, 1, 1);
  s.add(128, 1, 2);
  s.add(20, 1, 3);   // no balancer yet
  check_dealings<cuda::attend<L, 64, 2>>(s, 2, 2e-5, {3u});
  check_dealings<cuda::attend<L, 64, 8>>(s, 8, 0.03, {2u});
}
