// SPDX-License-Identifier: Apache-2.0
// Decoding of one and two rows on CUDA cores: rotated codes, whose exact tile is turned over, and keys with scales by channel.
#include "attention/cuda/fixture.hpp"

using namespace cuda_fixture;

template <class Pair>
void check_rows() {
  using L = kv::paged<Pair>;
  const attention::problem p{.q_heads = 4, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 2, 500);
  s.add(0, 1, 1);
  s.add(430, 1, 2);
  check_dealings<cuda::attend<L, 64, 2>>(s, 2, 1e-4, {3});
}

TEST_CASE("two rows on CUDA cores") {
  check_rows<rotated<4>>();
  check_rows<per_channel<4>>();
}
