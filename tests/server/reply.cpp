// SPDX-License-Identifier: Apache-2.0
#include "server/reply.hpp"

#include "catch.hpp"
#include "lm/gguf_writer.hpp"
#include "lm/gguf.hpp"

using namespace quire_server;

namespace {

quire_lm::tokenizer small() { return quire_lm::tokenizer(quire_lm::gguf::parse(gguf_test::bytes_of(gguf_test::small_vocabulary().write("smollm").file()))); }

reply_writer writer(const generation_request& ask, const quire_lm::tokenizer& t) { return {ask, "id-1", "m", "f", 7, t}; }
/// The JSON of an event.
json event(const std::string& text) {
  REQUIRE(text.starts_with("data: "));
  REQUIRE(text.ends_with("\n\n"));
  REQUIRE(text.find('\n') == text.size() - 2);
  return json::parse(text.substr(6));
}
measured_token measured(token id, float logprob, std::uint64_t offset, std::vector<std::pair<token, float>> top = {}) { return {{id, logprob, std::move(top)}, offset}; }

}  // namespace

TEST_CASE("a completion in events") {
  const auto t = small();
  generation_request ask;
  ask.stream = ask.include_usage = true;
  reply_writer w = writer(ask, t);
  REQUIRE(event(w.event({1, {"ab", {}}, finish_reason::none})) ==
          json::parse(R"({"id":"id-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"f",
                          "choices":[{"index":1,"text":"ab","logprobs":null,"finish_reason":null}],"usage":null})"));
  REQUIRE(event(w.event({1, {"", {}}, finish_reason::stop}))["choices"][0]["finish_reason"] == "stop");
  const std::string end = w.end({3, 4, 1});
  REQUIRE(end.ends_with("\n\ndata: [DONE]\n\n"));
  const json usage = json::parse(end.substr(6, end.find("\n\n") - 6));
  REQUIRE(usage["choices"].empty());
  REQUIRE(usage["usage"] == json::parse(R"({"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":1}})"));
}

TEST_CASE("a chat's text opens with its role, once for each text") {
  const auto t = small();
  generation_request ask;
  ask.chat = ask.stream = true;
  reply_writer w = writer(ask, t);
  REQUIRE(event(w.event({0, {"a", {}}, finish_reason::none}))["choices"][0]["delta"] == json({{"role", "assistant"}, {"content", "a"}}));
  REQUIRE(event(w.event({0, {"b", {}}, finish_reason::none}))["choices"][0]["delta"] == json({{"content", "b"}}));
  REQUIRE(event(w.event({2, {"", {}}, finish_reason::length}))["choices"][0]["delta"] == json({{"role", "assistant"}, {"content", ""}}));
  const json last = event(w.event({0, {"", {}}, finish_reason::length}));
  REQUIRE(last["choices"][0]["delta"].empty());
  REQUIRE(last["choices"][0]["finish_reason"] == "length");
  REQUIRE_FALSE(last.contains("usage"));
  REQUIRE(w.end({}) == "data: [DONE]\n\n");
}

TEST_CASE("answers in one piece, with log-probabilities of either kind") {
  const auto t = small();
  const token a = t.encode("a").at(0), b = t.encode("b").at(0);
  generation_request ask;
  ask.logprobs = 1;
  std::vector<collected_text> texts(1);
  texts[0] = {"ab", {measured(a, -0.5f, 0, {{b, -0.25f}}), measured(b, -1, 1, {{b, -1.0f}})}, finish_reason::length};
  json body = writer(ask, t).whole(texts, {1, 2, 0});
  REQUIRE(body["choices"][0] ==
          json::parse(R"({"index":0,"text":"ab","logprobs":{"tokens":["a","b"],"token_logprobs":[-0.5,-1.0],"top_logprobs":[{"b":-0.25},{"b":-1.0}],"text_offset":[0,1]},
                          "finish_reason":"length"})"));
  ask.chat = true;
  body = writer(ask, t).whole(texts, {1, 2, 0});
  REQUIRE(body["object"] == "chat.completion");
  REQUIRE(body["choices"][0]["message"] == json::parse(R"({"role":"assistant","content":"ab","refusal":null})"));
  REQUIRE(body["choices"][0]["logprobs"]["content"][0] ==
          json::parse(R"({"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-0.25,"bytes":[98]}]})"));
}

TEST_CASE("a token that is part of a character is written in bytes") {
  const auto t = small();
  generation_request ask;
  ask.logprobs = 0;
  const token part = t.encode("\xe2\x82\xac").at(0);
  REQUIRE(t.bytes(part).size() < 3);
  std::vector<collected_text> texts(1);
  texts[0] = {"", {measured(part, -1, 0)}, finish_reason::length};
  REQUIRE(writer(ask, t).whole(texts, {})["choices"][0]["logprobs"]["tokens"][0].get<std::string>().starts_with("bytes:\\x"));
}
