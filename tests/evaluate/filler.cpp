// SPDX-License-Identifier: Apache-2.0
#include "quire/evaluate/filler.hpp"

#include <set>

#include "catch.hpp"

using namespace quire::evaluate;

TEST_CASE("filler is sentences without digits, hardly ever twice the same, the same for the same seed") {
  quire::splitmix64 d(1), again(1);
  std::set<std::string> seen, openings;
  for (int i = 0; i < 5000; ++i) {
    const std::string s = filler_sentence(d);
    REQUIRE(s == filler_sentence(again));
    REQUIRE(s.find_first_of("0123456789") == s.npos);
    REQUIRE((s[0] >= 'A' && s[0] <= 'Z'));
    REQUIRE(s.find('.') == s.size() - 1);
    REQUIRE((s.find("  ") == s.npos && s.find('\n') == s.npos));
    REQUIRE((s.size() > 25 && s.size() < 110));
    seen.insert(s);
    openings.insert(s.substr(0, 12));
  }
  REQUIRE(seen.size() > 4980);
  REQUIRE(openings.size() > 60);
}
