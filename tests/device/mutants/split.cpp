// SPDX-License-Identifier: Apache-2.0
// Chunks and decodes where one head keeps everything and the other sinks and a window, over 8-bit codes.
#include "attention/cuda/fixture.hpp"

using namespace cuda_fixture;

TEST_CASE("heads of two lengths") {
  const extents e{2, 2, 32};
  constexpr std::uint8_t whole[] = {1, 0, 0, 1};
  const kv::head_classes classes(e, whole);
  using L = kv::head_split<per_token<8>>;
  using kernel = cuda::attend<L, 32, 16>;
  step<L> s(L(e, classes, kv::retain::sinks_window{.sinks = 600, .window = 200}), {.q_heads = 6, .kv_heads = 2, .dim_k = 32, .dim_v = 32}, 3, 1500);
  s.add(900, 80, 1);
  s.add(1400, 1, 2);
  s.add(190, 70, 3);
  check_dealings<kernel>(s, 16, 0.02, {4, 27, 400});
}
