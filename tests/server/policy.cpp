// SPDX-License-Identifier: Apache-2.0
#include "server/policy.hpp"

#include "catch.hpp"

using namespace quire_server;
using Catch::Contains;

TEST_CASE("every name makes the model it says, with its settings") {
  policy_names n;
  REQUIRE(make_policy(n).order.index() == 0);
  n.tau = 77;
  for (const auto& [name, index] : {std::pair("fcfs", 0u), std::pair("priority", 1u), std::pair("fair", 4u), std::pair("fair-priority", 5u)}) {
    n.order = name;
    REQUIRE(make_policy(n).order.index() == index);
  }
  n.order = "priority", n.ageing = 3, n.preempt_for_priority = true;
  const serving_policy p = make_policy(n);
  REQUIRE(p.order.get_if<axes::order::priority>()->ageing_seconds == 3);
  REQUIRE(p.order.get_if<axes::order::priority>()->preempts);
  REQUIRE(p.batching.get_if<axes::batching::chunked>()->tau == 77);
  REQUIRE(p.batching.get_if<axes::batching::chunked>()->end_at == 1);
  n.even_depth = 1500;
  REQUIRE(make_policy(n).batching.get_if<axes::batching::chunked>()->even_depth == 1500);
  REQUIRE(make_policy(n).batching.get_if<axes::batching::chunked>()->end_at == 64);
  n.batching = "memory-centric", n.admission = "projected", n.victim = "least-lost-work", n.preemption = "cheaper";
  const serving_policy q = make_policy(n);
  REQUIRE(q.batching.get_if<axes::batching::memory_centric>()->guard == 77);
  REQUIRE(q.admission.index() == 2);
  REQUIRE(q.victim.index() == 2);
  REQUIRE(q.preemption.index() == 2);
}

TEST_CASE("deadlines need rates, weights reach the fair orders") {
  policy_names n;
  n.admission = "deadline";
  REQUIRE_THROWS_WITH(make_policy(n), Contains("allowed with both"));
  n.prefill_rate = 1000, n.decode_rate = 50;
  REQUIRE(make_policy(n).admission.get_if<axes::admission::deadline>()->seconds_per_new_token == 0.02);
  n.order = "fair";
  n.weights = {{tenant_of("a"), 0.0}};
  REQUIRE_FALSE(make_policy(n).order.valid());  // which the scheduler looks at
  REQUIRE(tenant_of("") == 0);
  REQUIRE(tenant_of("a") != tenant_of("b"));
}

TEST_CASE("a name that is none is refused with those there are") {
  policy_names n;
  n.victim = "oldest";
  REQUIRE_THROWS_WITH(make_policy(n), "--victim is 'oldest', allowed newest, lowest-priority, least-lost-work");
  n.victim = "newest", n.order = "";
  REQUIRE_THROWS_WITH(make_policy(n), Contains("--order is ''"));
}
