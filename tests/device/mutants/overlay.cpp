// SPDX-License-Identifier: Apache-2.0
// Exact tokens over balanced ones: what rows read and give, and who is chosen.
#include "attention/cuda/overlay_check.hpp"

using namespace overlay_check;
using layout = kv::overlay<kv::paged<balanced<4>>>;
constexpr extents e{2, 2, 64};

TEST_CASE("rows and scores") { check<8>(layout(kv::paged<balanced<4>>(e), {.share = 0.3f}, 460), {.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64}, 0.03, 0.02); }
TEST_CASE("choices") {
  for (int level : {1, 1 << 20}) check_choice(layout(kv::paged<balanced<4>>(e), {.share = 0.2f, .least = 16, .recent = 0.25f, .per_row = true}, 700), {.q_heads = 2, .kv_heads = 2, .dim_k = 64, .dim_v = 64}, 7, level);
}
