// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/order/service_counters.hpp"

#include <map>
#include <random>

#include "catch.hpp"
#include "schedule/allocations.hpp"

using namespace quire::schedule;
using order::service_counters;

namespace {
const auto all = [](std::uint64_t) { return true; };
request waiting(std::uint32_t prompt) { return {.prompt_tokens = prompt}; }
request running(std::uint32_t prompt) {
  request r{.prompt_tokens = prompt};
  r.so_far.running = true;
  return r;
}
}  // namespace

TEST_CASE("service is charged at admission and by the token and not again after a preemption") {
  service_counters c({.input = 1, .output = 2, .weights = {{7, 2.0}}});
  c.prepare(4);
  const auto a = c.arrived(1, 1, all), b = c.arrived(7, 7, all);
  request r = waiting(10);
  c.admitted(a, r);
  c.admitted(b, r);
  REQUIRE(c[a] == 10);
  REQUIRE(c[b] == 5);  // twice the weight
  c.served(a, r, 6);
  REQUIRE(c[a] == 10);  // no token yet
  r.so_far.computed = 6;
  c.served(a, r, 4);
  REQUIRE(c[a] == 12);
  c.preempted(a);
  r.so_far = {.computed = 0, .generated = 1, .preemptions = 1};
  c.admitted(a, r);
  REQUIRE(c[a] == 12);
  c.served(a, r, 10);
  REQUIRE(c[a] == 12);
  r.so_far.computed = 10;
  c.served(a, r, 1);  // its second token
  REQUIRE(c[a] == 14);
}

TEST_CASE("a flow that comes back is lifted to the least of those who wait") {
  service_counters c;
  c.prepare(8);
  const auto a = c.arrived(1, 1, all), b = c.arrived(2, 2, all);
  c.admitted(a, waiting(100)), c.admitted(b, waiting(40));
  c.left(a, running(100)), c.left(b, running(40));
  c.arrived(1, 1, all);
  REQUIRE(c[a] == 100);  // who waited last had 40
  REQUIRE(c.arrived(2, 2, all) == b);
  REQUIRE(c[b] == 100);
  REQUIRE(c[c.arrived(3, 3, all)] == 100);  // new ones start there too
  c.admitted(b, waiting(50));               // 150, and nothing waits for it
  c.left(b, running(50));
  const auto other_class = c.arrived(9, 9, [](std::uint64_t flow) { return flow == 9; });
  REQUIRE(c[other_class] == 0);  // compared with nobody
  REQUIRE(c.of(2) == 150);
  REQUIRE(c.of(77) == 0);
}

TEST_CASE("when nobody waits the flow that waited last counts") {
  service_counters c;
  c.prepare(8);
  const auto a = c.arrived(1, 1, all);
  c.admitted(a, waiting(30));
  REQUIRE(c[c.arrived(2, 2, all)] == 30);
}

TEST_CASE("any number of flows come and go without allocating and live ones are never forgotten") {
  std::mt19937 random(3);
  service_counters c;
  c.prepare(8);
  std::map<std::uint64_t, std::pair<std::uint32_t, double>> live;  // flow: account, least counter
  bool kept = true;
  std::size_t allocated = 0;
  for (int i = 0; i < 5000; ++i) {
    if (live.size() < 8) {
      const std::uint64_t flow = 1000 + random() % 300;
      if (live.count(flow) == 0) {
        const std::size_t before = test::allocations();
        const auto account = c.arrived(flow, 0, all);
        c.admitted(account, waiting(1 + random() % 50));
        allocated += test::allocations() - before;
        live[flow] = {account, c[account]};
      }
    }
    for (const auto& [flow, x] : live) kept &= c.of(flow) == c[x.first] && c[x.first] == x.second;
    if (random() % 2 && !live.empty()) {
      const auto at = std::next(live.begin(), static_cast<long>(random() % live.size()));
      c.left(at->second.first, running(1));
      live.erase(at);
    }
  }
  REQUIRE(kept);
  REQUIRE(allocated == 0);
}

TEST_CASE("costs and weights that make no order are refused") {
  REQUIRE(service_counters().valid());
  REQUIRE_FALSE(service_counters({.input = -1}).valid());
  REQUIRE_FALSE(service_counters({.weights = {{3, 0.0}}}).valid());
  REQUIRE(service_counters({.weights = {{3, 0.0}}}).valid().value == 3);
}
