// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/fair_priority.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/order_laws.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;
using ids = std::vector<request_id>;

TEST_CASE("fair priority is a strict weak order while counters stand still") {
  for (unsigned seed = 0; seed < 5; ++seed) {
    REQUIRE(test::order_lawful(order::fair_priority{}, seed));
    REQUIRE(test::order_lawful(order::fair_priority({}, true), seed));
  }
}

TEST_CASE("classes come first and tenants take turns inside a class") {
  test::fake_memory memory{.pages = 100};
  scheduler sched(memory, policy<order::fair_priority>{}, {.max_running = 1});
  const auto add = [&](request_id id, std::uint32_t tenant, std::int32_t priority) {
    REQUIRE(sched.submit({.id = id,
                          .arrival = static_cast<double>(id),
                          .prompt_tokens = 1,
                          .max_new_tokens = 1,
                          .priority = priority,
                          .tenant = tenant}));
  };
  for (request_id id = 0; id < 4; ++id) add(id, 1, 0);
  add(4, 2, 0), add(5, 2, 0);
  for (request_id id = 10; id < 13; ++id) add(id, 1, 1);
  add(13, 2, 1);
  add(20, 3, -1);
  ids served;
  while (sched.live() > 0) served.push_back(test::run_one(sched).at(0).id);
  REQUIRE(served == ids{10, 13, 11, 12, 0, 4, 1, 5, 2, 3, 20});
  REQUIRE(sched.policy().order.service(1, 1) == 9);
  REQUIRE(sched.policy().order.service(0, 1) == 12);
}

TEST_CASE("a running request gives way to a higher class only if asked to") {
  for (const bool preempts : {false, true}) {
    test::fake_memory memory{.pages = 100};
    scheduler sched(memory, policy<order::fair_priority>{.order = order::fair_priority({}, preempts)},
                    {.max_running = 1});
    REQUIRE(sched.submit({.id = 1, .prompt_tokens = 1, .max_new_tokens = 5}));
    test::run_one(sched);
    REQUIRE(sched.submit({.id = 2, .prompt_tokens = 1, .max_new_tokens = 5, .priority = 1}));
    REQUIRE(test::run_one(sched).at(0).id == (preempts ? 2 : 1));
  }
}
