// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/fair.hpp"

#include <array>
#include <map>
#include <random>

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "quire/schedule/victim/least_lost_work.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/order_laws.hpp"
#include "schedule/run_one.hpp"

using namespace quire::schedule;

namespace {

constexpr double input = 1, output = 2;

struct outcome_of_service {
  double most_apart = 0;  ///< the largest difference of service over any interval
  double bound = 0;
  std::uint64_t preempted = 0;
};

/// Two tenants that always have more requests waiting than there are seats, one with much longer ones, on a memory so
/// tight that they preempt.
template <class P>
outcome_of_service compete(unsigned seed, P rules, std::array<double, 2> weight = {1, 1}) {
  std::mt19937 random(seed);
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  const std::uint32_t rows = 80, longest_prompt = 40;
  test::fake_memory memory{.pages = rows};
  scheduler sched(memory, std::move(rules), {.max_running = 6, .max_requests = 64, .max_sequence = 70});
  std::array<double, 2> service{};
  std::array<std::map<request_id, bool>, 2> waiting;  // until first admitted
  request_id id = 0;
  double least = 0, most = 0;
  for (int step = 0; step < 3000; ++step) {
    for (std::uint32_t t = 0; t < 2; ++t)
      while (waiting[t].size() < 8) {
        const std::uint32_t prompt = t == 0 ? 1 + draw(5) : 1 + draw(longest_prompt);
        waiting[t][id] = true;
        REQUIRE(sched.submit({.id = id++,
                              .arrival = 1.0 * step,
                              .prompt_tokens = prompt,
                              .max_new_tokens = 1 + draw(t == 0 ? 5 : 30),
                              .tenant = t}));
      }
    const auto s = sched.next();
    REQUIRE(s);
    for (std::uint32_t t = 0; t < 2; ++t)
      for (auto at = waiting[t].begin(); at != waiting[t].end();) {
        const request& r = *sched.find(at->first);
        if (!r.so_far.running) ++at;
        else service[t] += input * r.prompt_tokens / weight[t], at = waiting[t].erase(at);
      }
    const std::vector<entry> entries(s->entries.begin(), s->entries.end());
    REQUIRE(sched.commit(*s));
    for (const entry& e : entries)
      if (e.wants_logits) {
        service[sched.find(e.id)->tenant] += output / weight[sched.find(e.id)->tenant];
        REQUIRE(sched.token(e.id));
      }
    least = std::min(least, service[0] - service[1]);
    most = std::max(most, service[0] - service[1]);
  }
  const double unit = std::max(input * longest_prompt, output * rows) / std::min(weight[0], weight[1]);
  return {most - least, 2 * unit, sched.counters().preempted};
}

}  // namespace

TEST_CASE("fair is a strict weak order while counters stand still") {
  for (unsigned seed = 0; seed < 5; ++seed) REQUIRE(test::order_lawful(order::fair{}, seed));
}

TEST_CASE("backlogged tenants never differ in service by more than VTC's bound") {
  std::uint64_t preempted = 0;
  using chunks = batching::chunked;
  for (unsigned seed = 0; seed < 8; ++seed) {
    const chunks c{.tau = 4u << seed % 5};
    const auto plain = compete(seed, policy<order::fair>{.batching = c});
    REQUIRE(plain.most_apart <= plain.bound);
    const auto other =
        compete(seed, policy<order::fair, chunks, admission::when_it_fits, victim::least_lost_work>{.batching = c});
    REQUIRE(other.most_apart <= other.bound);
    const order::fair weighted({.input = input, .output = output, .weights = {{1, 3.0}}});
    const auto heavy = compete(seed, policy<order::fair>{.order = weighted, .batching = c}, {1, 3});
    REQUIRE(heavy.most_apart <= heavy.bound);
    const auto none = compete(seed, policy<>{.batching = c});
    REQUIRE(none.most_apart > 5 * none.bound);  // first come, first served has no bound
    preempted += plain.preempted + other.preempted;
  }
  REQUIRE(preempted > 1000);
}

TEST_CASE("what is computed again after a preemption is charged to nobody") {
  test::fake_memory memory{.pages = 12};
  scheduler sched(memory, policy<order::fair>{}, {.max_running = 4});
  double asked = 0;
  for (request_id id = 0; id < 20; ++id) {
    const auto prompt = static_cast<std::uint32_t>(1 + id % 5);
    REQUIRE(sched.submit({.id = id, .prompt_tokens = prompt, .max_new_tokens = 6, .tenant = 3}));
    asked += prompt + 2 * 6;
  }
  while (sched.live() > 0) test::run_one(sched);
  REQUIRE(sched.counters().recomputed > 20);
  REQUIRE(sched.policy().order.service(3) == asked);
}

TEST_CASE("a tenant that idled has saved nothing up") {
  test::fake_memory memory{.pages = 100};
  scheduler sched(memory, policy<order::fair>{}, {.max_running = 1});
  const auto add = [&](request_id id, std::uint32_t tenant) {
    REQUIRE(sched.submit(
        {.id = id, .arrival = static_cast<double>(id), .prompt_tokens = 1, .max_new_tokens = 1, .tenant = tenant}));
  };
  for (request_id id = 0; id < 20; ++id) add(id, 1);
  for (int i = 0; i < 10; ++i) test::run_one(sched);
  for (request_id id = 20; id < 26; ++id) add(id, 2);
  std::vector<std::uint32_t> turns;
  for (int i = 0; i < 6; ++i) turns.push_back(test::run_one(sched).at(0).id >= 20 ? 2 : 1);
  REQUIRE(std::count(turns.begin(), turns.end(), 2) == 3);  // by turns, not six in a row
}
