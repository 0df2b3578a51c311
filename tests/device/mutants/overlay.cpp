// SPDX-License-Identifier: Apache-2.0
// Exact tokens over balanced ones: what rows read and give.
#include "attention/cuda/overlay_check.hpp"

TEST_CASE("rows and scores") {
  using namespace overlay_check;
  using base = kv::paged<balanced<4>>;
  check<8>(kv::overlay<base>(base({2, 2, 64}), {.share = 0.3f}, 460), {.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64}, 0.03, 0.02);
}
