// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/roster.hpp"

#include "allocations.hpp"
#include "catch.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {
struct diary : order::fcfs {
  std::string told;
  std::uint64_t arrived(const request& r) noexcept { return told += 'a', r.id * 10; }
  void admitted(const request&) noexcept { told += 'A'; }
  void preempted(const request&) noexcept { told += 'p'; }
  void left(const request& r) noexcept { told += r.so_far.running ? 'L' : 'l'; }
};
}  // namespace

TEST_CASE("a roster knows where everybody is and tells the order") {
  policy<diary> rules;
  schedule::detail::roster<policy<diary>> who(rules, {.max_running = 2, .max_requests = 3});
  for (request_id id = 1; id <= 3; ++id) who.add({.id = id, .arrival = 10.0 - static_cast<double>(id)});
  REQUIRE(who.full());
  const std::uint32_t one = who.find(1), two = who.find(2), three = who.find(3);
  REQUIRE(who.find(9) == who.none);
  REQUIRE(who[two].r.so_far.mark == 20);
  REQUIRE(who.front() == three);
  who.park(three);
  REQUIRE(who.front() == two);
  REQUIRE(who.waiting() == 3);
  who.unpark();
  REQUIRE(who.front() == three);
  who.start(three);
  who.start(two);
  REQUIRE(who[two].r.so_far.running);
  who.sort();
  REQUIRE(who.running() == std::vector<std::uint32_t>{three, two});
  who.stop(two);
  REQUIRE(who[two].r.so_far.preemptions == 1);
  REQUIRE(who.front() == two);
  who.rekey(two, [](request& r) { r.so_far.relegated = true; });
  REQUIRE(who.front() == one);  // behind all who are not
  who.remove(three);
  who.park(one);
  who.remove(one);
  who.remove(two);
  REQUIRE(who.running().empty());
  REQUIRE(who.waiting() == 0);
  REQUIRE(rules.order.told == "aaaAApLll");
}

TEST_CASE("who was preempted in vain too often keeps its pages") {
  policy<> rules;
  schedule::detail::roster<policy<>> who(rules, {.max_running = 2, .max_requests = 2, .patience = 2});
  who.add({.id = 1, .arrival = 1});
  who.add({.id = 2, .arrival = 2});
  const std::uint32_t one = who.find(1), two = who.find(2);
  who.start(one);
  for (int i = 0; i < 2; ++i) {
    who.start(two);
    who.sort();
    REQUIRE(who.running().back() == two);
    who.stop(two);
  }
  who.start(two);
  who.sort();
  REQUIRE(who.running().back() == one);
}
