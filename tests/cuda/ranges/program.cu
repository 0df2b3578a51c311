// SPDX-License-Identifier: Apache-2.0
// Calls that a profiler is to show by name. Nothing is launched: no device is needed, and none is touched.
#include "quire/attention/cuda/append.cuh"
#include "quire/attention/cuda/attend.cuh"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using layout = kv::paged<kv::raw_bf16>;
using kernel = attention::cuda::attend<layout, 64, 8>;

int main() {
  kernel::call c{.view = {.layout = layout({1, 1, 64})}, .shape = {.q_heads = 1, .kv_heads = 1, .dim_k = 64, .dim_v = 64}};
  c.plan.item_count = 1;   // on no slots: a grid of no blocks
  attention::cuda::append_call<layout, float> rows{.view = c.view};
  return attention::cuda::append(rows, nullptr) && kernel::launch(c, nullptr) ? 0 : 1;
}
