// SPDX-License-Identifier: Apache-2.0
// A prefix folded once for all who share it, over many dealings.
#include "attention/cuda/fixture.hpp"

using namespace cuda_fixture;

TEST_CASE("a shared prefix") {
  using L = kv::paged<kv::raw_bf16>;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 4, 1400);
  s.add(800, 1, 1);
  s.add_fork(0, 100, 1, 2);
  s.add_fork(0, 300, 1, 3);
  const device_cache<L> cache(s.store());
  attention::cohort_plan cohorts(4);
  cohorts.find(s.store().view(), s.spans(), 10, 2);
  REQUIRE_FALSE(cohorts.cohorts().empty());
  any_plan plan(s, 8, &cohorts);
  std::vector<float> first;
  for (const std::uint32_t workers : {1u, 2u, 5u, 9u}) {
    device_test::order(workers);
    plan.cut_evenly(workers);
    const auto out = run<cuda::attend<L, 64, 8, 32>>(s, cache, plan);
    REQUIRE(worst(s, out) < 0.05);
    if (first.empty()) first = out;
    REQUIRE(out == first);
  }
}
