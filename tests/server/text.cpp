// SPDX-License-Identifier: Apache-2.0
#include "server/text.hpp"

#include "catch.hpp"

using namespace quire_server;

namespace {
token_logprobs of(token id) { return {id, -static_cast<float>(id), {}}; }
std::vector<token> ids(const piece& p) {
  std::vector<token> out;
  for (const measured_token& t : p.tokens) out.push_back(t.id);
  return out;
}
using list = std::vector<token>;
}  // namespace

TEST_CASE("a character in two tokens is shown when it is whole, with both") {
  text_assembler t({});
  auto a = of(1), b = of(2), c = of(3), d = of(4);
  piece p = t.push("x\xe2\x82", &a);
  REQUIRE(p.text == "x");
  REQUIRE(ids(p) == list{1});
  p = t.push("\xac", &b);
  REQUIRE(p.text == "\xe2\x82\xac");
  REQUIRE(ids(p) == list{2});
  REQUIRE(p.tokens[0].offset == 1);  // characters, not bytes
  p = t.push("\xf0\x9f", &c);
  REQUIRE(p.text.empty());
  REQUIRE(p.tokens.empty());
  p = t.push("!", &d);
  REQUIRE(p.text == "\xef\xbf\xbd\xef\xbf\xbd!");  // what can't be completed is replaced
  REQUIRE(ids(p) == list{3, 4});
  REQUIRE(t.finish().text.empty());
}

TEST_CASE("the end shows what waited") {
  text_assembler t({"stop"});
  auto a = of(1), b = of(2), empty = of(3);
  REQUIRE(t.push("well, st", &a).text == "well, ");
  piece p = t.push("o", &b);
  REQUIRE(p.text.empty());
  REQUIRE(p.tokens.empty());
  REQUIRE(t.push("", &empty).tokens.empty());
  p = t.finish();
  REQUIRE(p.text == "sto");
  REQUIRE(ids(p) == list{2, 3});
  REQUIRE_FALSE(t.stopped());
}

TEST_CASE("tokens that begin inside a stop string are not told of") {
  text_assembler t({" end"});
  auto a = of(1), b = of(2), c = of(3), d = of(4);
  REQUIRE(t.push("the", &a).text == "the");
  REQUIRE(t.push(" e", &b).text.empty());
  REQUIRE(t.push("n", &c).text.empty());
  const piece p = t.push("d of it", &d);
  REQUIRE(p.text.empty());
  REQUIRE(p.tokens.empty());
  REQUIRE(t.stopped());
  REQUIRE(t.finish().text.empty());
  REQUIRE(t.finish().tokens.empty());

  text_assembler u({"nd"});
  auto whole = of(9);
  const piece q = u.push(" end", &whole);
  REQUIRE(q.text == " e");
  REQUIRE(ids(q) == list{9});  // it begins before the stop string
}

TEST_CASE("a character that is not whole at the end is replaced, and a stop string may be made of it") {
  text_assembler t({});
  REQUIRE(t.push("a\xe2\x82").text == "a");
  REQUIRE(t.finish().text == "\xef\xbf\xbd");
  text_assembler u({"\xef\xbf\xbd"});
  REQUIRE(u.push("a\xe2\x82").text == "a");
  REQUIRE(u.finish().text.empty());
  REQUIRE(u.stopped());
}
