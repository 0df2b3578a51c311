// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/policy.hpp"

#include "catch.hpp"
#include "models.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {

/// Whether every combination of the models in the lists is a policy.
template <class... Os, class... Bs, class... As, class... Vs, class... Xs>
consteval bool all_combine(test::models<Os...>, test::models<Bs...>, test::models<As...>, test::models<Vs...>,
                           test::models<Xs...>) {
  const auto by_x = []<class O, class B, class A, class V>(policy<O, B, A, V>*) {
    return (Policy<policy<O, B, A, V, Xs>> && ...);
  };
  const auto by_v = [=]<class O, class B, class A>(policy<O, B, A>*) {
    return (by_x(static_cast<policy<O, B, A, Vs>*>(nullptr)) && ...);
  };
  const auto by_a = [=]<class O, class B>(policy<O, B>*) {
    return (by_v(static_cast<policy<O, B, As>*>(nullptr)) && ...);
  };
  const auto by_b = [=]<class O>(policy<O>*) { return (by_a(static_cast<policy<O, Bs>*>(nullptr)) && ...); };
  return (by_b(static_cast<policy<Os>*>(nullptr)) && ...);
}
static_assert(all_combine(test::orders{}, test::batchings{}, test::admissions{}, test::victims{}, test::preemptions{}));
static_assert(Policy<test::any_policy>);

struct no_victim {
  order::fcfs order;
  batching::chunked batching;
  admission::when_it_fits admission;
  preemption::recompute preemption;
};
struct misplaced : policy<> {
  victim::newest order;
};
static_assert(!Policy<no_victim> && !Policy<misplaced> && !Policy<order::fcfs>);

struct bent : order::fcfs {
  bool yields(const request&, const request&) const { return false; }
};
static_assert(!schedule::detail::policy_hooks_well_formed<policy<bent>>());
static_assert(schedule::detail::policy_hooks_well_formed<policy<>>() && !schedule::detail::counts_rows<policy<>>());
static_assert(schedule::detail::counts_rows<policy<order::fcfs, batching::memory_centric>>());
static_assert(schedule::detail::counts_rows<policy<order::fcfs, batching::chunked, admission::watermark>>());

}  // namespace

TEST_CASE("a parameter out of range is thrown with its axis and name") {
  const auto thrown = [](auto p, const char* text) {
    REQUIRE_THROWS_WITH(schedule::detail::checked_policy(p), Catch::Contains(text));
  };
  thrown(policy<order::priority>{.order = {.ageing_seconds = -1}}, "schedule::policy: out_of_range: priority.ageing");
  thrown(policy<>{.batching = {.tau = 0}}, "chunked.tau is 0, allowed 1 to");
  thrown(policy<>{.batching = {.tau = 4, .round_to = 5}}, "chunked.round_to is 5, allowed 1 to 4");
  thrown(policy<order::fcfs, batching::chunked, admission::watermark>{.admission = {.fraction = 1}},
         "watermark.fraction");
  REQUIRE_NOTHROW(schedule::detail::checked_policy(policy<>{}));
}
