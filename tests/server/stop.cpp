// SPDX-License-Identifier: Apache-2.0
#include "server/stop.hpp"

#include <algorithm>
#include <random>

#include "catch.hpp"

using quire_server::stop_matcher;

namespace {

/// What a matcher shows of `text` cut into pieces at `cuts`.
std::string shown(const std::vector<std::string>& stops, const std::string& text, const std::vector<std::size_t>& cuts, bool& stopped) {
  stop_matcher m(stops);
  std::string out;
  std::size_t from = 0;
  for (const std::size_t to : cuts) out += m.push(text.substr(from, to - from)), from = to;
  out += m.push(text.substr(from));
  stopped = m.stopped();
  return out + m.finish();
}

/// By definition: the stop string whose last byte comes first, the longest of those, and everything before it.
std::string expected(const std::vector<std::string>& stops, const std::string& text, bool& stopped) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& s : stops)
      if (s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0) longest = std::max(longest, s.size());
    if (longest != 0) return stopped = true, text.substr(0, end - longest);
  }
  return stopped = false, text;
}

}  // namespace

TEST_CASE("a stop string is found wherever the text is cut, and nothing of it is shown") {
  bool stopped = false;
  for (std::size_t cut = 0; cut <= 11; ++cut) {
    REQUIRE(shown({"STOP"}, "go on STOP!", {cut}, stopped) == "go on ");
    REQUIRE(stopped);
  }
  REQUIRE(shown({"STOP"}, "go on STO", {2, 7, 8}, stopped) == "go on STO");
  REQUIRE_FALSE(stopped);
  REQUIRE(shown({}, "anything", {3}, stopped) == "anything");
  REQUIRE_FALSE(stopped);
}

TEST_CASE("random texts and stop strings agree with the definition") {
  std::mt19937 random(3);
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  const auto word = [&](std::uint32_t least, std::uint32_t most) {
    std::string s;
    for (std::uint32_t n = least + draw(most - least + 1); n > 0; --n) s += static_cast<char>('a' + draw(2));  // two letters: much overlap
    return s;
  };
  int stops_met = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::string> stops;
    for (std::uint32_t n = draw(4); n > 0; --n) stops.push_back(word(1, 7));
    const std::string text = word(0, 24);
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < text.size(); ++at)
      if (draw(2)) cuts.push_back(at);
    bool stopped = false, want = false;
    const std::string should = expected(stops, text, want);
    REQUIRE(shown(stops, text, cuts, stopped) == should);
    REQUIRE(stopped == want);
    stops_met += stopped;
  }
  REQUIRE(stops_met > 5000);
}

TEST_CASE("no more is held back than may begin a stop string") {
  stop_matcher m({"abab", "bx"});
  REQUIRE(m.push("ccab") == "cc");  // "ab" begins the first
  REQUIRE(m.push("ac") == "abac");
  REQUIRE(m.push("b") == "");
  REQUIRE(m.push("y") == "by");
  REQUIRE(m.push("abab") == "");
  REQUIRE(m.stopped());
  REQUIRE(m.push("more") == "");
  REQUIRE(m.finish() == "");
}
