// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/share.cuh"

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"

using namespace cuda_fixture;

namespace {

/// Whatever the cuts, and in whatever order blocks, warps and lanes come, the bits are those of one worker.
template <class Kernel, kv::Layout L>
void check_cuts(const step<L>& s, const device_cache<L>& cache, any_plan& plan, const std::vector<float>& alone) {
  std::mt19937 random(static_cast<unsigned>(plan.pieces));
  for (std::uint64_t order = 0; order < 6; ++order) {
    std::vector<std::uint64_t> at;
    for (std::uint64_t x = 1; x < plan.pieces; ++x)  // every piece its own worker, then fewer and fewer cuts
      if (random() % (order + 1) == 0) at.push_back(x);
    plan.cut(at);
    device_test::order(order);
    CAPTURE(order, at.size());
    CHECK(run<Kernel>(s, cache, plan) == alone);
  }
  device_test::order(1);
}

template <class Kernel, kv::Layout L>
std::vector<float> by_one_worker(const step<L>& s, const device_cache<L>& cache, any_plan& plan, double bound) {
  plan.cut({});
  auto alone = run<Kernel>(s, cache, plan);
  CHECK(worst(s, alone) < bound);
  return alone;
}

attention::problem shape_of(std::uint32_t group, std::uint32_t dim) { return {.q_heads = 2 * group, .kv_heads = 2, .dim_k = dim, .dim_v = dim}; }

template <class Kernel, kv::Layout L>
void check_dealing(const L& layout, const attention::problem& p, std::uint32_t rows, double bound) {
  step<L> s(layout, p, 5, 2400);
  s.add(2300, 1, 1);  // ten pieces: subtrees of three levels
  s.add(0, 1, 2);
  s.add(255, 3, 3);   // rows on both sides of a piece's end
  s.add(700, 0, 4);   // a span without rows
  s.add(1279, 5, 5);
  const device_cache<L> cache(s.store());
  any_plan plan(s, rows);
  const auto alone = by_one_worker<Kernel>(s, cache, plan, bound);
  check_cuts<Kernel>(s, cache, plan, alone);
}

}  // namespace

TEST_CASE("cuda share: any cut of the line and any order of threads give the same bits") {
  check_dealing<cuda::attend<kv::paged<kv::raw_bf16>, 16, 8>>(kv::paged<kv::raw_bf16>({2, 2, 16}), shape_of(4, 16), 8, 0.05);
  check_dealing<cuda::attend<kv::paged<rotated<4>>, 32, 8>>(kv::paged<rotated<4>>({2, 2, 32}), shape_of(2, 32), 8, 0.05);
}

TEST_CASE("cuda share: heads of sinks and a window have gaps in the tree that no worker folds") {
  const extents e{2, 2, 16};
  const std::uint8_t whole[] = {1, 0, 0, 1};
  const kv::head_classes classes(e, whole);
  using L = kv::head_split<kv::raw_bf16>;
  check_dealing<cuda::attend<L, 16, 8>>(L(e, classes, kv::retain::sinks_window{.sinks = 300, .window = 700}), shape_of(4, 16), 8, 0.05);
}

TEST_CASE("cuda share: workers cut a prefix and what stands behind it anywhere") {
  using L = kv::paged<kv::raw_bf16>;
  using apart_kernel = cuda::attend<L, 16, 8>;
  using kernel = cuda::attend<L, 16, 8, 32>;
  step<L> s(L({2, 2, 16}), shape_of(4, 16), 9, 2600);
  s.add(1500, 1, 1);
  for (unsigned seed = 2; seed < 7; ++seed) s.add_fork(0, seed * 130, 1, seed);  // 5 or 6 pieces shared, then up to 800 tokens
  s.add(40, 1, 8);
  s.add_fork(3, 300, 1, 9);
  const device_cache<L> cache(s.store());
  any_plan apart(s, 8);
  const auto alone = by_one_worker<apart_kernel>(s, cache, apart, 0.05);
  attention::cohort_plan cohorts(9);
  cohorts.find(s.store().view(), s.spans(), 8, 2);
  REQUIRE_FALSE(cohorts.cohorts().empty());
  any_plan plan(s, 8, &cohorts);
  check_cuts<kernel>(s, cache, plan, alone);
}

TEST_CASE("cuda share: a grid of more blocks than there is work, and a launch that leaves its counters as it found them") {
  using L = kv::paged<kv::raw_bf16>;
  step<L> s(L({2, 2, 16}), shape_of(4, 16), 2, 900);
  s.add(800, 1, 1);
  s.add(300, 1, 2);
  const device_cache<L> cache(s.store());
  any_plan plan(s, 8);
  const auto alone = by_one_worker<cuda::attend<L, 16, 8>>(s, cache, plan, 0.05);
  plan.cut_evenly(5);
  plan.host.slots += 3;
  for (int i = 0; i < 3; ++i) plan.cuts.push_back(plan.cuts.back());
  CHECK(run<cuda::attend<L, 16, 8>>(s, cache, plan) == alone);
}

TEST_CASE("cuda share: a prefix whose members are not all alike to it is refused") {
  using L = kv::paged<kv::raw_bf16>;
  using kernel = cuda::attend<L, 16, 8, 32>;
  kernel::call c;
  c.shape = shape_of(4, 16);
  c.plan.item_count = c.plan.prefix_items = 1;
  const float slopes[8] = {};
  c.shape.alibi = slopes;
  CHECK(kernel::launch(c, {}).code == errc::unsupported_shape);
  c.shape.alibi = nullptr, c.shape.window = 100;
  CHECK(kernel::launch(c, {}).code == errc::unsupported_shape);
  CHECK(cuda::attend<L, 16, 8>::launch(c, {}).code == errc::unsupported_shape);
}
