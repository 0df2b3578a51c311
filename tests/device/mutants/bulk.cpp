// SPDX-License-Identifier: Apache-2.0
// Bulk copies: several items a block, whose queries go through the ring between tiles of two sizes, and turns that bring none.
#include "attention/cuda/fixture.hpp"

using namespace cuda_fixture;

TEST_CASE("decoding with bulk copies") {
  using L = kv::paged<rotated<4>>;
  using kernel = cuda::attend<L, 32, 8, 0, float, cuda::tuned_by<cuda::fold_tuning{.tiles = 5, .blocks = 2, .copies = cuda::copying::bulk}>>;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 32, .dim_v = 32};
  step<L> s(L({2, 2, 32}), p, 3, 800);
  s.add(0, 1, 1);
  s.add(320, 1, 2);
  s.add(700, 1, 3);
  check_dealings<kernel>(s, 8, 0.03, {3});
}
