// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/repeat_tokens.hpp"

#include <set>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::calibrate;

TEST_CASE("a lead token, then the same different tokens over and over") {
  const repeat_probe probe{.period = 50, .repeats = 3};
  std::vector<std::int32_t> ids, again, other;
  REQUIRE(make_repeat_tokens(probe, 1, 1000, 60, 5, ids));
  REQUIRE(ids.size() == probe.tokens());
  CHECK(ids[0] == 1);
  const std::set<std::int32_t> period(ids.begin() + 1, ids.begin() + 51);
  CHECK(period.size() == 50);
  CHECK(*period.begin() >= 1000);
  CHECK(*period.rbegin() < 1060);
  for (std::size_t i = 51; i < ids.size(); ++i) REQUIRE(ids[i] == ids[i - 50]);
  REQUIRE(make_repeat_tokens(probe, 1, 1000, 60, 5, again));
  CHECK(again == ids);
  REQUIRE(make_repeat_tokens(probe, 1, 1000, 60, 6, other));
  CHECK(other != ids);
  REQUIRE(make_repeat_tokens({.period = 60, .repeats = 2}, 1, 0, 60, 5, ids));  // all of the range
  CHECK(std::set<std::int32_t>(ids.begin() + 1, ids.begin() + 61).size() == 60);
}

TEST_CASE("every id is as likely") {
  std::vector<int> seen(10, 0);
  std::vector<std::int32_t> ids;
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    REQUIRE(make_repeat_tokens({.period = 2, .repeats = 2}, 0, 0, 10, seed, ids));
    ++seen[static_cast<std::size_t>(ids[1])];
    ++seen[static_cast<std::size_t>(ids[2])];
  }
  for (const int n : seen) CHECK(n == Approx(1000).margin(150));
}

TEST_CASE("bad probes are named") {
  std::vector<std::int32_t> ids{7};
  CHECK(describe(make_repeat_tokens({.period = 1}, 0, 0, 10, 0, ids)) == "out_of_range: period is 1, allowed 2 to 1048576");
  CHECK(describe(make_repeat_tokens({.period = 4, .repeats = 1}, 0, 0, 10, 0, ids)) == "out_of_range: repeats is 1, allowed 2 to 64");
  CHECK(make_repeat_tokens({.period = 1 << 19, .repeats = 4}, 0, 0, 1 << 20, 0, ids).code == errc::out_of_range);
  CHECK(describe(make_repeat_tokens({.period = 11}, 0, 0, 10, 0, ids)) == "out_of_range: ids to draw from is 10, allowed 11 to 2147483647");
  CHECK(describe(make_repeat_tokens({.period = 4}, 0, -1, 10, 0, ids)) == "out_of_range: first id is -1, allowed 0 to 2147483638");
  CHECK(make_repeat_tokens({.period = 4}, 0, 0x7fffffff, 10, 0, ids).code == errc::out_of_range);
  CHECK(ids == std::vector<std::int32_t>{7});
}
