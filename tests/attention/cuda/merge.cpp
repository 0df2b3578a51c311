// SPDX-License-Identifier: Apache-2.0
// The worker that brings the last part of an item merges them all (share.cuh); here a second pass does, from what every worker
// left in scratch, when nobody works on it any more. Both must give the same bits.
#include "quire/attention/cuda/merge.cuh"

#include "catch.hpp"
#include "fixture.hpp"

using namespace cuda_fixture;

namespace {

template <class Kernel>
struct in_two_passes : Kernel {
  static status launch(const typename Kernel::call& c, device::stream on) noexcept { return Kernel::launch_apart(c, on); }
};

attention::problem shape_of(std::uint32_t group, std::uint32_t dim) { return {.q_heads = 2 * group, .kv_heads = 2, .dim_k = dim, .dim_v = dim}; }

/// One worker alone merges nothing; then a few workers, a piece each, and cuts anywhere, in changing orders of threads.
template <class Kernel, kv::Layout L>
void check_passes(const step<L>& s, any_plan& plan) {
  const device_cache<L> cache(s.store());
  plan.cut({});
  const auto alone = run<Kernel>(s, cache, plan);
  std::mt19937 random(static_cast<unsigned>(plan.pieces));
  for (const std::uint32_t workers : {1u, 2u, 3u, 7u, 1000u, 0u}) {
    if (workers != 0) plan.cut_evenly(workers);
    else {
      std::vector<std::uint64_t> at;
      for (std::uint64_t x = 1; x < plan.pieces; ++x)
        if (random() % 3 == 0) at.push_back(x);
      plan.cut(at);
    }
    device_test::order(workers);
    CAPTURE(workers);
    CHECK(run<in_two_passes<Kernel>>(s, cache, plan) == alone);
    CHECK(run<Kernel>(s, cache, plan) == alone);
  }
  device_test::order(1);
}

}  // namespace

TEST_CASE("cuda merge: a second pass gives the bits of the worker that arrives last, over a ragged batch") {
  const auto check = [](const auto& layout, auto kernel, std::uint32_t group, std::uint32_t dim) {
    step<std::remove_cvref_t<decltype(layout)>> s(layout, shape_of(group, dim), 5, 2000);
    s.add(1900, 1, 1);
    s.add(0, 1, 2);
    s.add(255, 3, 3);
    s.add(700, 0, 4);
    s.add(1023, 2, 5);
    any_plan plan(s, 8);
    check_passes<typename decltype(kernel)::type>(s, plan);
  };
  using exact = kv::paged<kv::raw_bf16>;
  using codes = kv::paged<rotated<4>>;
  check(exact({2, 2, 16}), std::type_identity<cuda::attend<exact, 16, 8>>{}, 4, 16);
  check(codes({2, 2, 32}), std::type_identity<cuda::attend<codes, 32, 8>>{}, 2, 32);
}

TEST_CASE("cuda merge: a second pass completes prefixes before those who share them") {
  using L = kv::paged<kv::raw_bf16>;
  step<L> s(L({2, 2, 16}), shape_of(4, 16), 7, 2200);
  s.add(1500, 1, 1);
  for (unsigned seed = 2; seed < 6; ++seed) s.add_fork(0, seed * 130, 1, seed);
  s.add(40, 1, 8);
  attention::cohort_plan cohorts(7);
  cohorts.find(s.store().view(), s.spans(), 8, 2);
  REQUIRE_FALSE(cohorts.cohorts().empty());
  any_plan plan(s, 8, &cohorts);
  check_passes<cuda::attend<L, 16, 8, 32>>(s, plan);
}

TEST_CASE("cuda merge: what one launch refuses, two refuse") {
  using L = kv::paged<kv::raw_bf16>;
  cuda::attend<L, 16, 8>::call c;
  c.shape = shape_of(4, 16);
  c.plan.item_count = c.plan.prefix_items = 1;
  CHECK(cuda::attend<L, 16, 8>::launch_apart(c, {}).code == errc::unsupported_shape);
  c.plan.item_count = c.plan.prefix_items = 0;
  CHECK(cuda::attend<L, 16, 8>::launch_apart(c, {}));
}
