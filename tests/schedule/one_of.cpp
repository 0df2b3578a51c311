// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/one_of.hpp"

#include "catch.hpp"
#include "models.hpp"
#include "order_laws.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {

using any_order = test::orders::any;
static_assert(Order<any_order> && TenantOrder<any_order> && YieldingOrder<any_order> && PreparedOrder<any_order> &&
              ArrivalOrder<any_order> && WatchingOrder<any_order> && ServedOrder<any_order> &&
              ValidatedAxis<any_order>);
static_assert(!VersionedOrder<any_order> && !Batching<any_order> && !Admission<any_order> && !Victim<any_order>);

using plain_order = one_of<order::fcfs, order::shortest_prefill>;  // hooks only where an alternative has them
static_assert(Order<plain_order> && !TenantOrder<plain_order> && !YieldingOrder<plain_order> &&
              !WatchingOrder<plain_order> && !ArrivalOrder<plain_order> && !ServedOrder<plain_order>);

using any_batching = test::batchings::any;
static_assert(Batching<any_batching> && ChunkingBatching<any_batching> && ForesightedAxis<any_batching> &&
              RowCountingAxis<any_batching> && Admission<any_batching> && !Order<any_batching>);
using plain_batching = one_of<batching::whole, batching::prefill_first>;
static_assert(Batching<plain_batching> && !ChunkingBatching<plain_batching> && !Admission<plain_batching> &&
              !RowCountingAxis<plain_batching>);
static_assert(Admission<test::admissions::any> && !Batching<test::admissions::any>);
static_assert(Victim<test::victims::any> && !Order<test::victims::any>);
static_assert(Preemption<test::preemptions::any>);

}  // namespace

TEST_CASE("a choice behaves as the model that was chosen") {
  const request old{.arrival = 1, .prompt_tokens = 9, .priority = 0},
      young{.arrival = 2, .prompt_tokens = 2, .priority = 1};
  REQUIRE(any_order{}.admit_before(old, young));  // the first of the list
  REQUIRE(any_order{}.get_if<order::fcfs>() != nullptr);
  REQUIRE(any_order{}.get_if<order::fair>() == nullptr);
  const any_order urgent = order::priority{.ageing_seconds = 10, .preempts = true};
  REQUIRE(urgent.index() == 1);
  REQUIRE(urgent.admit_before(young, old));
  REQUIRE(urgent.yields(old, young));
  REQUIRE_FALSE(any_order{}.yields(old, young));
  REQUIRE(any_order(order::shortest_prefill{.seconds_per_token = 1}).admit_before(young, old));
  REQUIRE_FALSE(any_order(order::priority{.ageing_seconds = -1}).valid());
  REQUIRE(any_order{}.valid());

  const any_batching chunks = batching::chunked{.tau = 64, .round_to = 16}, orca = batching::whole{};
  REQUIRE(chunks.shape({}).tokens == 64);
  REQUIRE(chunks.chunk({.prompt_tokens = 500}, 60, 0) == 48);
  REQUIRE(orca.shape({}).reserve_all);
  REQUIRE(orca.chunk({.prompt_tokens = 500}, 60, 0) == 60);
  REQUIRE(orca.judge({}, 1000, {}).answer == answer::now);
  const any_batching by_memory = batching::memory_centric{};
  REQUIRE(by_memory.judge({.prompt_tokens = 1}, 1000, {.capacity = 10, .free = 10}).answer == answer::later);
  REQUIRE(by_memory.horizon() == 64);
  REQUIRE(orca.horizon() == 0);
  REQUIRE(test::preemptions::any(preemption::swap{}).kind({}) == preemption_kind::swap);
  REQUIRE(test::victims::any(victim::lowest_priority{}).evict_before(old, young));
}

TEST_CASE("every choice of an order or a victim obeys the laws") {
  for (unsigned seed = 0; seed < 3; ++seed) {
    for (std::size_t i = 0; i < test::orders::size; ++i) REQUIRE(test::order_lawful(test::orders::at(i, seed), seed));
    for (std::size_t i = 0; i < test::victims::size; ++i)
      REQUIRE(test::victim_lawful(test::victims::at(i, seed), seed));
  }
}
