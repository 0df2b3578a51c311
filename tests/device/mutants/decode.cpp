// SPDX-License-Identifier: Apache-2.0
// Ragged decoding over 16-bit tiles, for a few dealings and orders. All threads copy.
#include "attention/cuda/fixture.hpp"

using namespace cuda_fixture;

TEST_CASE("decoding") {
  using L = kv::paged<kv::raw_bf16>;
  using kernel = cuda::attend<L, 64, 8, 0, float, cuda::tuning::sm_80>;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 3, 800);
  s.add(0, 1, 1);
  s.add(63, 1, 2);
  s.add(700, 1, 3);
  check_dealings<kernel>(s, 8, 0.02, {3, 8});
}
