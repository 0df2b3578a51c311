// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/prefix_grouped.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/order_laws.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;
using ids = std::vector<request_id>;

namespace {
struct one_seat {
  test::fake_memory memory{.pages = 100};
  scheduler<test::fake_memory, policy<order::prefix_grouped>> sched;
  double clock = 0;
  one_seat() : sched(memory, {}, {.max_running = 1}) {}
  void add(request_id id, std::uint32_t group, std::uint64_t rank, std::uint32_t tokens = 1) {
    REQUIRE(sched.submit(
        {.id = id, .arrival = clock++, .prompt_tokens = 1, .max_new_tokens = tokens, .group = group, .rank = rank}));
  }
  ids rest() {
    ids all;
    while (sched.live() > 0) all.push_back(test::run_one(sched).at(0).id);
    return all;
  }
};
}  // namespace

TEST_CASE("prefix groups are a strict weak order") {
  for (unsigned seed = 0; seed < 5; ++seed) REQUIRE(test::order_lawful(order::prefix_grouped{}, seed));
}

TEST_CASE("members of a group stand together in planned order") {
  one_seat x;
  x.add(1, 2, 20), x.add(2, 1, 10), x.add(3, 2, 22), x.add(4, 1, 11), x.add(5, 2, 21), x.add(6, 0, 15);
  REQUIRE(x.rest() == ids{2, 4, 6, 1, 5, 3});
}

TEST_CASE("a group that has started keeps going") {
  one_seat x;
  x.add(1, 2, 20), x.add(2, 2, 21), x.add(3, 0, 30);
  REQUIRE(test::run_one(x.sched).at(0).id == 1);  // done, and 2 is next
  x.add(4, 1, 5), x.add(5, 0, 1), x.add(6, 2, 22), x.add(7, 1, 6);
  REQUIRE(x.rest() == ids{2, 6, 4, 7, 5, 3});  // late ones behind the group, those planned for later behind them
}

TEST_CASE("cancelling and preempting members changes no place") {
  one_seat x;
  x.add(1, 1, 10, 3), x.add(2, 1, 11), x.add(3, 2, 12), x.add(4, 1, 13);
  REQUIRE(x.sched.cancel(2));
  REQUIRE(test::run_one(x.sched).at(0).id == 1);
  REQUIRE(x.sched.cancel(1));  // the first, while it runs
  REQUIRE(x.rest() == ids{4, 3});
  x.add(5, 1, 1);  // the group has ended: this is another one
  x.add(6, 3, 0);
  REQUIRE(x.rest() == ids{5, 6});  // both late, in order of arrival

  test::fake_memory tight{.pages = 6};
  scheduler sched(tight, policy<order::prefix_grouped>{}, {.max_running = 2});
  const auto add = [&](request_id id, std::uint32_t group, std::uint64_t rank) {
    REQUIRE(sched.submit({.id = id,
                          .arrival = 1.0 * static_cast<double>(id),
                          .prompt_tokens = 2,
                          .max_new_tokens = 4,
                          .group = group,
                          .rank = rank}));
  };
  add(1, 1, 10), add(2, 1, 11), add(3, 2, 12);
  while (sched.counters().preempted == 0) test::run_one(sched);
  add(4, 2, 0);
  while (sched.find(1)) test::run_one(sched);
  REQUIRE(test::run_one(sched).at(0).id == 2);  // it came back before the other group
}
