// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/overlay.cuh"

#include "attention/cuda/overlay_check.hpp"
#include "catch.hpp"

using namespace overlay_check;

namespace {
constexpr attention::problem grouped{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
}  // namespace

TEST_CASE("cuda overlay: exact tokens over balanced low-bit ones, their scores and choices") {
  using base = kv::paged<balanced<4>>;
  check<kv::overlay<base>, 8>(kv::overlay<base>(base({2, 2, 64}), {.share = 0.3f}, 700), grouped, 0.05, 0.02);
}
