// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/window.hpp"

#include <deque>
#include <limits>
#include <map>

#include "catch.hpp"
#include "piles.hpp"

using namespace quire;
using namespace quire::schedule;
using namespace quire::schedule::prefix;

namespace {

using token_window = window<std::int32_t>;
constexpr double never = std::numeric_limits<double>::infinity();

/// `shared` tokens of a document and ten of one's own.
std::vector<std::int32_t> about(std::int32_t document, std::int32_t own, std::size_t shared = 64) {
  std::vector<std::int32_t> p(shared, document);
  p.insert(p.end(), 10, 1000 + own);
  return p;
}

}  // namespace

TEST_CASE("window: members of a group leave together, those that decode most for their prefill first") {
  token_window w({.ttl = never});
  prompt_list prompts;
  for (std::int32_t r = 0; r < 9; ++r) prompts.push_back(about(r % 3, r));
  for (std::size_t r = 0; r < 9; ++r) REQUIRE(w.add(100 + r, prompts[r], r % 3 == 1 ? 50.0 : 10.0 + static_cast<double>(r % 3), 0));
  REQUIRE(w.waiting() == 9);
  std::vector<request_id> ids;
  std::vector<std::uint32_t> groups;
  for (std::uint64_t k = 1; const auto x = w.take(0); ++k) {
    REQUIRE((x->rank == k && x->tokens == 64));
    ids.push_back(x->id);
    groups.push_back(x->group);
  }
  REQUIRE(std::set<request_id>(ids.begin(), ids.begin() + 3) == std::set<request_id>{101, 104, 107});
  REQUIRE(std::set<request_id>(ids.begin() + 3, ids.begin() + 6) == std::set<request_id>{102, 105, 108});
  REQUIRE(groups == std::vector<std::uint32_t>{1, 1, 1, 2, 2, 2, 3, 3, 3});
  REQUIRE((w.plans() == 1 && w.waiting() == 0 && w.groups().groups() == 3));
}

TEST_CASE("window: a plan is due by number, by time, or when nothing planned is left") {
  token_window w({.every = 3, .seconds = 5, .ttl = never});
  const auto a = about(1, 1), b = about(1, 2);
  for (request_id id = 1; id <= 2; ++id) REQUIRE(w.add(id, a, 1, 0));
  REQUIRE(w.take(0));
  REQUIRE(w.plans() == 1);
  REQUIRE(w.add(3, b, 1, 1));
  REQUIRE(w.take(2)->id == 2);  // planned before
  REQUIRE(w.plans() == 1);
  REQUIRE(w.take(2)->id == 3);
  REQUIRE(w.plans() == 2);
  for (request_id id = 4; id <= 5; ++id) REQUIRE(w.add(id, a, 1, 10));
  REQUIRE(w.take(10));
  REQUIRE(w.plans() == 3);
  REQUIRE(w.add(6, b, 1, 11));
  REQUIRE(w.add(7, b, 1, 15));
  w.leave(6);  // 7 is now the oldest that is not planned
  REQUIRE(w.take(19.5)->id == 5);
  REQUIRE(w.plans() == 3);
  REQUIRE(w.add(8, b, 1, 19.5));
  REQUIRE(w.add(9, a, 1, 19.5));
  REQUIRE(w.take(19.5));  // three came
  REQUIRE(w.plans() == 4);
  REQUIRE(w.add(10, b, 1, 20));
  REQUIRE(w.take(25));  // one waited for five seconds
  REQUIRE(w.plans() == 5);
}

TEST_CASE("window: an open group keeps its members through later plans, preemption and aborts") {
  token_window w({.every = 2, .ttl = never});
  prompt_list prompts;
  for (std::int32_t r = 0; r < 4; ++r) prompts.push_back(about(1, r));
  prompts.push_back(about(2, 9));
  for (request_id id = 0; id < 4; ++id) REQUIRE(w.add(id, prompts[id], 1, 0));
  const auto first = w.take(0);
  REQUIRE((first->group == 1 && w.groups().find(1)->members == 4));
  for (request_id id = 4; id < 6; ++id) REQUIRE(w.add(id, prompts[4], 100, 0));  // decode more: would come first
  const auto second = w.take(0);
  REQUIRE((w.plans() == 2 && second->group == 1));
  REQUIRE(w.leave(3)->members == 3);  // an abort while it waits
  REQUIRE(w.leave(first->id)->members == 2);
  const auto third = w.take(0);
  REQUIRE(third->group == 1);
  REQUIRE(w.take(0)->group == 2);
  REQUIRE(w.leave(second->id)->members == 1);
  const auto last = w.leave(third->id);
  REQUIRE((last->members == 0 && last->tokens == 64));
  REQUIRE_FALSE(w.leave(third->id));
}

TEST_CASE("window: a group that melts to one before it opens is none; one without room neither") {
  token_window w({.max_members = 2, .ttl = never});
  prompt_list prompts;
  for (std::int32_t r = 0; r < 5; ++r) prompts.push_back(about(r / 2, r));
  prompts.push_back(about(2, 7));
  for (request_id id = 0; id < 6; ++id) REQUIRE(w.add(id, prompts[id], 10 - static_cast<double>(id / 2), 0));
  REQUIRE(w.take(0)->group == 1);
  w.leave(3);  // of the second group
  REQUIRE(w.take(0)->group == 1);
  const auto alone = w.take(0);
  REQUIRE((alone->id == 2 && alone->group == 0 && alone->tokens == 0));
  REQUIRE(w.take(0)->group == 0);  // two members of the first group still run
  w.leave(0), w.leave(1);
  REQUIRE(w.take(0)->group == 0);
  REQUIRE_FALSE(w.take(0));
}

TEST_CASE("window: what has waited for its time is passed by none that came later") {
  std::mt19937_64 random(8);
  token_window w({.every = 16, .seconds = 0.5, .ttl = 3, .plan = {.tile = 4}});
  std::deque<std::vector<std::int32_t>> prompts;
  std::map<request_id, double> since;
  std::map<request_id, std::uint32_t> group_of;
  std::uint64_t rank = 0;
  std::size_t grouped = 0, out_of_order = 0;
  request_id next = 0;
  for (double now = 0; now < 400 || !since.empty(); now += 0.05) {
    if (now < 400) {  // more come than go, until they stop
      for (std::uint64_t k = random() % 3; k-- > 0;) {
        prompts.push_back(about(static_cast<std::int32_t>(random() % 5), static_cast<std::int32_t>(next), 4 * (random() % 4)));
        REQUIRE(w.add(next, prompts.back(), static_cast<double>(random() % 100), now));
        since[next++] = now;
      }
    }
    if (random() % 20 == 0 && !since.empty()) {  // an abort
      const request_id id = std::next(since.begin(), static_cast<std::ptrdiff_t>(random() % since.size()))->first;
      w.leave(id);
      since.erase(id);
    }
    const auto x = w.take(now);
    REQUIRE(x.has_value() == !since.empty());
    if (!x) continue;
    REQUIRE(x->rank == ++rank);
    REQUIRE(since.count(x->id) == 1);
    const auto& [oldest, came] = *since.begin();
    if (now - came >= 3) REQUIRE(x->id == oldest);
    out_of_order += x->id != oldest;
    since.erase(x->id);
    REQUIRE(w.waiting() == since.size());
    if (x->group == 0) continue;
    ++grouped;
    REQUIRE((x->tokens % 4 == 0 && prompts[x->id].size() > x->tokens));
    const auto open = w.groups().find(x->group);
    REQUIRE((open && open->tokens == x->tokens));
    w.groups().for_each_member(x->group, [&](request_id other) {
      REQUIRE(naive_common(prompts[other], prompts[x->id]) >= x->tokens);
    });
    if (random() % 2 == 0) w.leave(x->id);  // some finish at once, the others never
    if (random() % 200 == 0)
      for (request_id id = 0; id < next; ++id)
        if (!since.count(id)) w.leave(id);
  }
  REQUIRE(grouped > 1000);
  REQUIRE(out_of_order > 100);
}

TEST_CASE("window: what can't be added is refused and changes nothing") {
  token_window w({.max_waiting = 2, .ttl = never});
  const auto a = about(1, 1);
  REQUIRE(w.add(1, a, 1, 0));
  REQUIRE(w.add(1, a, 1, 0) == status{errc::out_of_range, "id (one that is not known)", 1});
  REQUIRE(w.add(2, a, std::nan(""), 0).code == errc::not_finite);
  REQUIRE(w.add(2, a, 1, never).code == errc::not_finite);
  REQUIRE(w.add(2, a, 1, 0));
  REQUIRE(w.add(3, a, 1, 0) == status{errc::out_of_range, "waiting requests", 3, 0, 2});
  REQUIRE(w.take(0)->group == 1);
  REQUIRE(w.add(1, a, 1, 0).what == std::string("id (one that is not known)"));  // taken, and a member still
  REQUIRE(w.waiting() == 1);
  REQUIRE_THROWS_AS(token_window({.every = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(token_window({.max_waiting = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(token_window({.max_members = 1}), std::invalid_argument);
  REQUIRE_THROWS_AS(token_window({.seconds = -1}), std::invalid_argument);
  REQUIRE_THROWS_AS(token_window({.ttl = std::nan("")}), std::invalid_argument);
  REQUIRE_THROWS_AS(token_window({.plan = {.tile = 0}}), std::invalid_argument);
}
