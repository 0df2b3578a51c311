// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/group_table.hpp"

#include <map>
#include <random>
#include <set>

#include "catch.hpp"

using namespace quire;
using namespace quire::schedule;
using prefix::group_table;

TEST_CASE("group table: the last member to leave says so, in whatever order they leave") {
  group_table t(8);
  for (const request_id id : {10, 11, 12}) REQUIRE(t.join(id, 5, 128));
  REQUIRE(t.join(20, 6, 64));
  REQUIRE((t.groups() == 2 && t.members() == 4));
  REQUIRE(t.find(5)->members == 3);
  REQUIRE(t.leave(11)->members == 2);  // an abort in the middle
  REQUIRE_FALSE(t.leave(11));          // counted once
  REQUIRE(t.leave(10)->members == 1);
  REQUIRE(t.of(12)->tokens == 128);
  const auto last = t.leave(12);
  REQUIRE((last->members == 0 && last->group == 5 && last->tokens == 128));
  REQUIRE_FALSE(t.find(5));
  REQUIRE_FALSE(t.of(12));
  REQUIRE(t.join(12, 5, 256));  // a number may come again with another prefix
  REQUIRE(t.groups() == 2);
}

TEST_CASE("group table: what does not fit changes nothing") {
  group_table t(2);
  REQUIRE(t.join(1, 1, 64));
  REQUIRE(t.join(1, 2, 64) == status{errc::out_of_range, "id (one that is no member)", 1});
  REQUIRE(t.join(2, 0, 64) == status{errc::out_of_range, "group", 0, 1, 0xffffffff});
  REQUIRE(t.join(2, 1, 128) == status{errc::out_of_range, "tokens of the prefix", 128, 64, 64});
  REQUIRE(t.join(2, 3, 0) == status{errc::out_of_range, "tokens of the prefix", 0, 1, 0xffffffff});
  REQUIRE(t.join(2, 1, 64));
  REQUIRE(t.join(3, 1, 64) == status{errc::out_of_range, "members", 3, 0, 2});
  REQUIRE((t.find(1)->members == 2 && t.groups() == 1));
}

TEST_CASE("group table: equal to a map through random joins and leaves") {
  std::mt19937_64 random(7);
  group_table t(64);
  std::map<request_id, std::uint32_t> group_of;
  for (int round = 0; round < 20000; ++round) {
    const request_id id = random() % 100;
    if (random() % 2 == 0) {
      const auto g = static_cast<std::uint32_t>(1 + random() % 12);
      const bool room = group_of.size() < 64 && !group_of.count(id);
      REQUIRE(static_cast<bool>(t.join(id, g, g * 64)) == room);
      if (room) group_of[id] = g;
    } else {
      const auto left = t.leave(id);
      REQUIRE(left.has_value() == (group_of.count(id) > 0));
      if (left) REQUIRE(left->group == group_of[id]);
      group_of.erase(id);
    }
    REQUIRE(t.members() == group_of.size());
    const auto g = static_cast<std::uint32_t>(1 + random() % 12);
    std::set<request_id> expected, seen;
    for (const auto& [member, its] : group_of)
      if (its == g) expected.insert(member);
    t.for_each_member(g, [&](request_id member) { seen.insert(member); });
    REQUIRE(seen == expected);
    REQUIRE((t.find(g) ? t.find(g)->members : 0) == expected.size());
  }
}
