// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/cascade.hpp"

#include <cstring>

#include "attention/fixture.hpp"
#include "catch.hpp"

using namespace fixture;

namespace {

/// Three documents, some sequences on each with tails of their own, one stranger; then one decode step for all at once.
template <class Pair, class Raw = kv::raw_bf16>
void check_cascade() {
  const attention::problem p{.q_heads = 6, .kv_heads = 2};
  with_layouts<Pair, Raw>({1, 2, 64}, [&](const auto& layout, const char* name) {
    using L = std::remove_cvref_t<decltype(layout)>;
    const std::uint32_t documents[] = {1, 300, 1100, 5000}, copies[] = {1, 2, 3, 5};
    const std::uint32_t most = 5400, n = 11;
    const rows data(most, p, 3), step(n, p, 4);
    kv::store<L> store(layout, kv::pages_for(layout, n, most, 512));
    std::vector<std::uint32_t> sequences;
    for (std::uint32_t d = 0; d < 4; ++d) {
      std::uint32_t s = 0;
      REQUIRE(store.open(s));
      rows text(documents[d], p, 100 + d);
      static_cast<void>(run(store, s, p, text, 512, 2));
      sequences.push_back(s);
      for (std::uint32_t i = 1; i < copies[d]; ++i) {
        std::uint32_t t = 0;
        REQUIRE(store.fork(s, t));
        static_cast<void>(run(store, t, p, rows(37 * i, p, 200 + 10 * d + i), 64, 1));
        sequences.push_back(t);
      }
    }
    REQUIRE(sequences.size() == n);
    std::vector<attention::query_span> spans;
    for (std::uint32_t i = 0; i < n; ++i) {
      REQUIRE(store.reserve(sequences[i], 1));
      spans.push_back({sequences[i], store.length(sequences[i]), 1, i});
    }
    std::swap(spans[2], spans[8]);  // order means nothing
    attention::cohort_plan plan(n);
    plan.find(store.view(), std::span<const attention::query_span>(spans), attention::block_tokens(p), 1);
    const auto fold = [&](const attention::cohort_plan* cohorts, std::uint32_t workers) {
      thread_executor pool(workers);
      attention::cpu::workspace<L> work(layout, p, workers, n, n, most);
      std::vector<float> out(step.q.size(), -7.0f);
      attention::cpu::layer_call<L> call{store.view(), p, 0, spans};
      call.q = step.q.data(), call.k = step.k.data(), call.v = step.v.data(), call.out = out.data();
      call.ldq = call.ldo = step.q_width, call.ldkv = step.kv_width, call.cohorts = cohorts;
      REQUIRE(attention::cpu::usable_cohorts<attention::null_sink>(call) == cohorts);
      pool.run([&](const team& t) { attention::cpu::attend(t, call, work); });
      return out;
    };
    const auto alone = fold(nullptr, 1);
    REQUIRE(plan.cohorts().size() == 3);
    for (const std::uint32_t workers : {1u, 2u, 3u, 7u}) {
      INFO(name << ", " << workers << " workers");
      const auto together = fold(&plan, workers);
      CHECK(std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)) == 0);
    }
  });
}

}  // namespace

TEST_CASE("a prefix folded once for all its sequences gives the bits of each alone") {
  check_cascade<kv::raw_bf16>();
  check_cascade<int4_hadamard>();
  check_cascade<int4_channel>();
  check_cascade<kv::raw_f32, kv::raw_f32>();
}

TEST_CASE("where positions matter to a tile nobody shares it") {
  const kv::paged<kv::raw_bf16> layout({1, 1, 64});
  kv::store<kv::paged<kv::raw_bf16>> store(layout, kv::pages_for(layout, 2, 1024, 512));
  const attention::problem plain{.q_heads = 1, .kv_heads = 1};
  std::uint32_t a = 0, b = 0;
  REQUIRE(store.open(a));
  static_cast<void>(run(store, a, plain, rows(700, plain, 1), 512, 1));
  REQUIRE(store.fork(a, b));
  const attention::query_span spans[] = {{a, 700, 1, 0}, {b, 700, 1, 1}};
  attention::cohort_plan plan(2);
  plan.find(store.view(), std::span<const attention::query_span>(spans), 64, 1);
  REQUIRE(plan.cohorts().size() == 1);
  const float slope = -0.1f;
  attention::cpu::layer_call<kv::paged<kv::raw_bf16>> call{store.view(), plain, 0, spans};
  CHECK(attention::cpu::usable_cohorts<attention::null_sink>(call) == nullptr);
  call.cohorts = &plan;
  CHECK(attention::cpu::usable_cohorts<attention::null_sink>(call) == &plan);
  call.shape.window = 300;
  CHECK(attention::cpu::usable_cohorts<attention::null_sink>(call) == nullptr);
  call.shape.window = kv::visibility::everything, call.shape.alibi = &slope;
  CHECK(attention::cpu::usable_cohorts<attention::null_sink>(call) == nullptr);
}
