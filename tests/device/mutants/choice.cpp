// SPDX-License-Identifier: Apache-2.0
// Who stays exact, given the scores.
#include "attention/cuda/overlay_check.hpp"

TEST_CASE("choices") {
  using namespace overlay_check;
  using base = kv::paged<balanced<4>>;
  const kv::overlay<base> layout(base({2, 2, 64}), {.share = 0.2f, .least = 16, .recent = 0.25f, .per_row = true}, 700);
  for (int level : {1, 1 << 20}) check_choice(layout, {.q_heads = 2, .kv_heads = 2, .dim_k = 64, .dim_v = 64}, 7, level);
}
