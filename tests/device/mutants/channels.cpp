// SPDX-License-Identifier: Apache-2.0
// Decoding over 3-bit codes with scales for 32 tokens of a channel and 32 channels of a token.
#include "attention/cuda/fixture.hpp"

using namespace cuda_fixture;

TEST_CASE("codes scaled in groups") {
  using L = kv::paged<per_channel<3, 32>>;
  using kernel = cuda::attend<L, 64, 8>;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 2, 500);
  s.add(130, 1, 2);
  s.add(400, 1, 3);
  check_dealings<kernel>(s, 8, 0.02, {3});
}
