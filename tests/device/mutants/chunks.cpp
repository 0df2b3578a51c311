// SPDX-License-Identifier: Apache-2.0
// Chunks of prompts over rotated 4-bit codes scaled by token: masks, two forms of tiles, rotations. The ring is full when the exact tile comes.
#include "attention/cuda/fixture.hpp"

using namespace cuda_fixture;

TEST_CASE("chunks over rotated codes") {
  using L = kv::paged<rotated<4>>;
  using kernel = cuda::attend<L, 64, 32, 0, float, cuda::tuned_by<cuda::fold_tuning{.tiles = 5, .blocks = 2}>>;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 2, 500);
  s.add(250, 70, 5);
  s.add(300, 1, 6);
  check_dealings<kernel>(s, 32, 0.027, {5});
}
