// SPDX-License-Identifier: Apache-2.0
// Every combination of models of the five axes under random loads; what is checked stands in driver.hpp.
#include "quire/schedule/planner.hpp"

#include "catch.hpp"
#include "driver.hpp"
#include "models.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {

template <template <class> class With, class... Ms>
void each_alone(test::models<Ms...>) {
  (
      [] {
        for (unsigned seed = 0; seed < 6; ++seed) {
          INFO("seed " << seed);
          With<Ms> rules{};
          With<Ms>::axis(rules) = test::parameters<Ms>(seed);
          REQUIRE_NOTHROW(test::random_workload(seed, typename With<Ms>::type(rules), nullptr, 60,
                                                TenantOrder<Ms> || YieldingOrder<Ms>));
        }
      }(),
      ...);
}
template <class M>
struct with_order : policy<M> {
  using type = policy<M>;
  static M& axis(type& p) { return p.order; }
};
template <class M>
struct with_batching : policy<order::fcfs, M> {
  using type = policy<order::fcfs, M>;
  static M& axis(type& p) { return p.batching; }
};

}  // namespace

TEST_CASE("every combination of models keeps every promise") {
  scheduler_counters sum{};
  unsigned seed = 0;
  for (std::size_t o = 0; o < test::orders::size; ++o)
    for (std::size_t b = 0; b < test::batchings::size; ++b)
      for (std::size_t a = 0; a < test::admissions::size; ++a)
        for (std::size_t v = 0; v < test::victims::size; ++v)
          for (std::size_t x = 0; x < test::preemptions::size; ++x) {
            ++seed;
            INFO("order " << o << " batching " << b << " admission " << a << " victim " << v << " preemption " << x
                          << " seed " << seed);
            test::any_policy rules{test::orders::at(o, seed), test::batchings::at(b, seed),
                                   test::admissions::at(a, seed), test::victims::at(v, seed),
                                   test::preemptions::at(x, seed)};
            const bool moves = o == 1 || o >= 5;  // urgency that preempts, counters
            const auto log = test::random_workload(seed, rules, &sum, 60, moves);
            test::random_workload(seed + 100000, rules, &sum, 60, moves);
            if (seed % 16 == 0) REQUIRE(log == test::random_workload(seed, rules, nullptr, 60, moves));
          }
  REQUIRE(seed == 7 * 5 * 4 * 3 * 3);
  REQUIRE(sum.preempted > 1000);
  REQUIRE(sum.recomputed > 1000);
  REQUIRE(sum.swapped > 300);
  REQUIRE(sum.yielded > 100);
  REQUIRE(sum.parked > 1000);
  REQUIRE(sum.relegated > 100);
  REQUIRE(sum.failed > 100);
}

TEST_CASE("every order and every batching works without the others compiled in") {
  each_alone<with_order>(test::orders{});
  each_alone<with_batching>(test::batchings{});
}
