// SPDX-License-Identifier: Apache-2.0
#include "lm/unicode.hpp"

#include <set>

#include "catch.hpp"

using namespace quire_lm;

TEST_CASE("UTF-8 is valid exactly where the standard says") {
  const auto bad_at = [](std::string_view text) { return valid_utf8_prefix(text); };
  REQUIRE(bad_at("") == 0);
  REQUIRE(bad_at("plain") == 5);
  REQUIRE(
      bad_at("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf") ==
      25);
  for (const char* bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
                          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc2", "\xc2z",
                          "\xe2\x82", "\xe2\x82z", "\xf0\x9f\x98", "\xf0\x9f\x98z"}) {
    INFO(quoted(bad));
    REQUIRE(bad_at(std::string("ok") + bad) == 2);
  }
  REQUIRE_THROWS_WITH(require_utf8("a\xc3\xa9\xff", "prompt"),
                      Catch::Contains("prompt has byte 0xff at byte offset 3"));
}

TEST_CASE("a stream shows code points when they are whole") {
  const std::string text = "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80!";
  utf8_stream stream;
  std::string shown;
  for (const char c : text) {
    const std::string now = stream.push(std::string(1, c));
    REQUIRE(valid_utf8_prefix(now) == now.size());
    shown += now;
    REQUIRE(text.starts_with(shown));
  }
  REQUIRE(shown == text);
  REQUIRE(stream.finish().empty());
  REQUIRE(stream.push("\xf0\x9f").empty());
  REQUIRE(stream.finish() == "\xef\xbf\xbd");
  REQUIRE(stream.push("\xff"
                      "a\xc3"
                      "b") ==
          "\xef\xbf\xbd"
          "a\xef\xbf\xbd"
          "b");
  REQUIRE(stream.push("ok") == "ok");
}

TEST_CASE("the byte alphabet writes each byte as one printable character") {
  const byte_alphabet alphabet;
  std::set<std::string> bytes;
  for (unsigned point = 0; point < 0x144; ++point) {
    const std::string written =
        point < 0x80 ? std::string(1, static_cast<char>(point))
                     : std::string{static_cast<char>(0xc0 | point >> 6), static_cast<char>(0x80 | (point & 63))};
    bool pure = false;
    const std::string raw = alphabet.bytes(written, &pure);
    REQUIRE(pure == (raw.size() == 1 && (point < 0x80 ? point > 0x20 && point < 0x7f : point > 0xa0 && point != 0xad)));
    if (pure) bytes.insert(raw);
  }
  REQUIRE(bytes.size() == 256);
  REQUIRE(alphabet.bytes("\xc4\xa0the") == " the");
  REQUIRE(alphabet.bytes("\xc4\x8a") == "\n");
  bool pure = true;
  REQUIRE(alphabet.bytes("\xe2\x82\xac", &pure) == "\xe2\x82\xac");
  REQUIRE_FALSE(pure);
}
