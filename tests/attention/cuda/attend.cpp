// SPDX-License-Identifier: Apache-2.0
// Decoding over every codec and layout stands in composed/.
#include "quire/attention/cuda/attend.cuh"

#include "catch.hpp"
#include "replay_check.hpp"

using namespace cuda_fixture;

namespace {

attention::problem shape_of(std::uint32_t group, std::uint32_t dim, std::uint32_t kv_heads = 2) {
  return {.q_heads = group * kv_heads, .kv_heads = kv_heads, .dim_k = dim, .dim_v = dim};
}

/// Chunks that begin and end anywhere, beside decodes.
template <class Kernel, kv::Layout L>
void check_chunks(const L& layout, const attention::problem& p, std::uint32_t rows, double bound) {
  step<L> s(layout, p, 4, 700);
  s.add(0, 150, 3);
  s.add(40, 30, 4);
  s.add(250, 70, 5);
  s.add(500, 1, 6);
  check_dealings<Kernel>(s, rows, bound, {5, 23});
}

}  // namespace

TEST_CASE("cuda: chunks of prompts beside decodes") {
  check_chunks<cuda::attend<kv::paged<kv::raw_bf16>, 64, 64>>(kv::paged<kv::raw_bf16>({2, 2, 64}), shape_of(3, 64), 64, 0.023);
  check_chunks<cuda::attend<kv::paged<rotated<4>>, 64, 32>>(kv::paged<rotated<4>>({2, 2, 64}), shape_of(4, 64), 32, 0.027);
}

TEST_CASE("cuda: softcap, ALiBi, sink logits and the model's own window") {
  using L = kv::paged<per_token<8>>;
  const std::vector<float> slopes{0.5f, 0.25f, 0.125f, 0.1f, 0.05f, 0.01f}, sinks{0.0f, 3.0f, -2.0f, 8.0f, 1.0f, -1.0f};
  const device_array<float> device_slopes(slopes, "slopes"), device_sinks(sinks, "sink logits");
  for (int feature = 0; feature < 4; ++feature) {
    attention::problem host = shape_of(3, 64);
    if (feature == 0) host.softcap = 5;
    if (feature == 1) host.alibi = slopes.data();
    if (feature == 2) host.sink_logits = sinks.data();
    if (feature == 3) host.window = 100;
    step<L> s(L({2, 2, 64}), host, 2, 500);
    s.add(333, 20, 1);
    s.add(70, 1, 2);
    const device_cache<L> cache(s.store());
    any_plan plan(s, 16);
    plan.cut_evenly(4);
    attention::problem device = host;
    if (host.alibi) device.alibi = device_slopes.data();
    if (host.sink_logits) device.sink_logits = device_sinks.data();
    const auto out = run<cuda::attend<L, 64, 16>>(s, cache, plan, device);
    CHECK(worst(s, out) < 0.03);
  }
}

TEST_CASE("cuda: a prefix is folded once for all who share it, and changes no bit") {
  const auto check = [](const auto& layout, auto narrow, auto wide) {
    using L = std::remove_cvref_t<decltype(layout)>;
    const attention::problem p = shape_of(3, 64);
    step<L> s(layout, p, 7, 1600);
    s.add(800, 1, 1);
    s.add_fork(0, 100, 1, 2);
    s.add_fork(0, 0, 1, 3);
    s.add(30, 1, 4);
    s.add_fork(1, 300, 1, 5);
    const auto alone = check_dealings<cuda::attend<L, 64, narrow(), wide()>>(s, narrow(), 0.027, {3});
    const device_cache<L> cache(s.store());
    attention::cohort_plan cohorts(7);
    cohorts.find(s.store().view(), s.spans(), wide() / 3, 2);
    REQUIRE_FALSE(cohorts.cohorts().empty());
    any_plan together(s, narrow(), &cohorts);
    for (std::uint32_t workers : {1u, 2u, 5u, 64u}) {
      together.cut_evenly(workers);
      CHECK(run<cuda::attend<L, 64, narrow(), wide()>>(s, cache, together) == alone);
    }
  };
  check(kv::paged<kv::raw_bf16>({2, 2, 64}), std::integral_constant<std::uint32_t, 8>{}, std::integral_constant<std::uint32_t, 32>{});
  check(kv::paged<rotated<4>>({2, 2, 64}), std::integral_constant<std::uint32_t, 8>{}, std::integral_constant<std::uint32_t, 16>{});
}

TEST_CASE("cuda: a launch that is recorded once folds every step that is planned into the same memory") {
  if (!device_test::device_or_skip()) return;
  check_replay();
}
