// SPDX-License-Identifier: Apache-2.0
// How a first tile decides the balancer.
#include "attention/cuda/append_check.hpp"

TEST_CASE("balance") {
  using namespace append_check;
  const rope r{.style = rope_style::halves, .dims = 48};
  check<float>(kv::paged<kv::codec_pair<kv::balanced<kv::integer<4, kv::group::column>>, kv::integer<4, kv::group::row>>>({2, 2, 64}), {{0, 70}, {30, 40}}, &r);
}
