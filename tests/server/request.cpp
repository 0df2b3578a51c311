// SPDX-License-Identifier: Apache-2.0
#include "server/request.hpp"

#include "catch.hpp"

using namespace quire_server;

namespace {

/// The refusal of a body, or fails the test.
api_error refused(const std::string& body, bool chat = false) {
  try {
    static_cast<void>(read_request(body, chat, {}));
  } catch (const api_error& e) {
    return e;
  }
  FAIL("accepted: " << body);
  return {0, ""};
}
/// `fields` added to a body that is otherwise good.
std::string completion(const std::string& extra) { return R"({"prompt":"x")" + (extra.empty() ? "" : "," + extra) + "}"; }
std::string chat(const std::string& extra) { return R"({"messages":[{"role":"user","content":"x"}])" + (extra.empty() ? "" : "," + extra) + "}"; }

}  // namespace

TEST_CASE("what is not said has OpenAI's defaults") {
  const generation_request r = read_request(completion(""), false, {});
  REQUIRE(r.n == 1);
  REQUIRE(r.how.temperature == 1);
  REQUIRE(r.how.top_p == 1);
  REQUIRE_FALSE(r.max_tokens);
  REQUIRE_FALSE(r.stream);
  REQUIRE_FALSE(r.logprobs);
  REQUIRE_FALSE(r.how.seed);
  REQUIRE(r.stop.empty());
  REQUIRE(std::get<std::string>(r.prompts.at(0)) == "x");
}

TEST_CASE("every field is read") {
  const generation_request r = read_request(
      R"({"model":"m","prompt":[[1,2],[3]],"n":2,"max_tokens":7,"temperature":0.5,"top_p":0.25,"top_k":-1,"min_p":0.125,"presence_penalty":-2,
          "frequency_penalty":1.5,"repetition_penalty":1.25,"seed":-1,"logit_bias":{"5":-100,"6":1.5},"stop":["a","b"],"logprobs":3,"echo":null,
          "best_of":2,"suffix":"","stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"user":"u","metadata":{"a":"b"}})",
      false, {});
  REQUIRE(r.model == "m");
  REQUIRE(r.prompts.size() == 2);
  REQUIRE(std::get<std::vector<token>>(r.prompts[0]) == std::vector<token>{1, 2});
  REQUIRE(r.n == 2);
  REQUIRE(r.max_tokens == 7u);
  REQUIRE(r.how.temperature == 0.5f);
  REQUIRE(r.how.top_p == 0.25f);
  REQUIRE(r.how.top_k == 0);
  REQUIRE(r.how.min_p == 0.125f);
  REQUIRE(r.how.presence == -2);
  REQUIRE(r.how.frequency == 1.5f);
  REQUIRE(r.how.repetition == 1.25f);
  REQUIRE(r.how.seed == ~std::uint64_t{0});
  REQUIRE(r.how.bias == std::vector<std::pair<token, float>>{{5, -100.0f}, {6, 1.5f}});
  REQUIRE(r.stop == std::vector<std::string>{"a", "b"});
  REQUIRE(r.logprobs == 3u);
  REQUIRE((r.stream && r.include_usage && r.ignore_eos));
  REQUIRE(r.user == "u");
}

TEST_CASE("prompts are a string, strings, tokens or lists of tokens") {
  REQUIRE(read_request(R"({"prompt":["a","b"]})", false, {}).prompts.size() == 2);
  REQUIRE(std::get<std::vector<token>>(read_request(R"({"prompt":[4,5,6]})", false, {}).prompts.at(0)).size() == 3);
  REQUIRE(read_request(R"({"prompt":["a",[1]]})", false, {}).prompts.size() == 2);
  for (const char* bad : {R"({"prompt":7})", R"({"prompt":[]})", R"({"prompt":[[]]})", R"({"prompt":[1,"a"]})", R"({"prompt":[-1]})", R"({"prompt":[1.5]})", R"({})",
                          R"({"prompt":[{}]})", R"({"prompt":null})"})
    REQUIRE(refused(bad).param == "prompt");
  std::string many = R"({"prompt":["a")";
  for (int i = 0; i < 64; ++i) many += R"(,"a")";
  REQUIRE(std::string(refused(many + "]}").what()) == "prompt is 65 prompts, allowed at most 64 prompts in one request");
}

TEST_CASE("a chat's messages become turns") {
  const generation_request r = read_request(
      R"({"messages":[{"role":"developer","content":"be brief"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"n"},
          {"role":"assistant","content":null},{"role":"user","content":"c"}],"max_completion_tokens":5,"logprobs":true,"top_logprobs":4,
          "response_format":{"type":"text"},"tools":[],"tool_choice":"auto","stop":"x"})",
      true, {});
  REQUIRE(r.messages.size() == 4);
  REQUIRE(r.messages[0].role == "system");
  REQUIRE(r.messages[1].content == "ab");
  REQUIRE(r.messages[2].content.empty());
  REQUIRE(r.max_tokens == 5u);
  REQUIRE(r.logprobs == 4u);
  REQUIRE(read_request(chat(R"("logprobs":true)"), true, {}).logprobs == 0u);
  REQUIRE_FALSE(read_request(chat(R"("logprobs":false)"), true, {}).logprobs);
}

TEST_CASE("a refusal names the field, its value and what is allowed") {
  struct wrong {
    const char *field, *value, *param, *message;
  };
  const wrong both[] = {
      {"temperature", "3", "temperature", "temperature is 3, allowed a number from 0 to 2"},
      {"temperature", "\"hot\"", "temperature", "temperature is \"hot\", allowed a number from 0 to 2"},
      {"top_p", "0", "top_p", "top_p is 0, allowed a number above 0 to 1"},
      {"min_p", "-0.5", "min_p", "min_p is -0.5, allowed a number from 0 to 1"},
      {"top_k", "1.5", "top_k", "top_k is 1.5, allowed a whole number from -1 to 2147483647"},
      {"n", "0", "n", "n is 0, allowed a whole number from 1 to 8"},
      {"n", "9", "n", "n is 9, allowed a whole number from 1 to 8"},
      {"n", "18446744073709551615", "n", "n is 18446744073709551615, allowed a whole number from 1 to 8"},
      {"max_tokens", "0", "max_tokens", "max_tokens is 0, allowed a whole number from 1 to 4096"},
      {"presence_penalty", "2.5", "presence_penalty", "presence_penalty is 2.5, allowed a number from -2 to 2"},
      {"frequency_penalty", "true", "frequency_penalty", "frequency_penalty is true, allowed a number from -2 to 2"},
      {"repetition_penalty", "0", "repetition_penalty", "repetition_penalty is 0, allowed a number above 0 to 100"},
      {"seed", "1.5", "seed", "seed is 1.5, allowed a whole number of 64 bits"},
      {"stop", "[\"\"]", "stop", "stop is \"\", allowed a string, or up to 16 strings, of 1 to 1024 bytes"},
      {"stop", "{}", "stop", "stop is {}, allowed a string, or up to 16 strings, of 1 to 1024 bytes"},
      {"logit_bias", "{\"x\":1}", "logit_bias", "logit_bias is \"x\", allowed token numbers as keys"},
      {"logit_bias", "{\"1\":101}", "logit_bias.1", "logit_bias.1 is 101, allowed a number from -100 to 100"},
      {"stream", "1", "stream", "stream is 1, allowed true or false"},
      {"stream_options", "{\"include_usage\":true}", "stream_options", "stream_options is {\"include_usage\":true}, allowed null while stream is not true"},
      {"temprature", "1", "temprature", "field 'temprature' is not known"},
      {"user", "7", "user", "user is 7, allowed a string"},
  };
  for (const wrong& w : both)
    for (const bool is_chat : {false, true}) {
      const std::string extra = "\"" + std::string(w.field) + "\":" + w.value;
      const api_error e = refused(is_chat ? chat(extra) : completion(extra), is_chat);
      REQUIRE(e.status == 400);
      REQUIRE(std::string(e.what()) == w.message);
      REQUIRE(e.param == w.param);
    }
  REQUIRE(refused(completion(R"("logprobs":21)")).param == "logprobs");
  REQUIRE(refused(completion(R"("logprobs":true)")).param == "logprobs");
  REQUIRE(refused(completion(R"("logprobs":1,"echo":true)")).param == "echo");
  REQUIRE(refused(completion(R"("best_of":3)")).param == "best_of");
  REQUIRE(std::string(refused(completion(R"("suffix":"z")")).what()) == "suffix is \"z\", which is not supported here, allowed \"\" or null");
  REQUIRE(refused(completion(R"("messages":[])")).code == "unknown_parameter");
  REQUIRE(refused(chat(R"("top_logprobs":2)"), true).param == "top_logprobs");
  REQUIRE(refused(chat(R"("response_format":{"type":"json_object"})"), true).code == "unsupported_parameter");
  REQUIRE(refused(chat(R"("tools":[{"type":"function"}])"), true).param == "tools");
  REQUIRE(refused(chat(R"("max_tokens":3,"max_completion_tokens":4)"), true).param == "max_completion_tokens");
  REQUIRE(refused(R"({"messages":[]})", true).param == "messages");
  REQUIRE(refused(R"({"messages":[{"role":"tool","content":"x"}]})", true).param == "messages[0].role");
  REQUIRE(refused(R"({"messages":[{"role":"user"}]})", true).param == "messages[0].content");
  REQUIRE(refused(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})", true).param == "messages[0].content[0].type");
  REQUIRE(refused(R"({"messages":["x"]})", true).param == "messages[0]");
}

TEST_CASE("a body that is no JSON, or no object, is said to be so") {
  for (const char* bad : {"", "{", "nope", "{\"prompt\":\"\xff\"}", "{\"temperature\":1e999,\"prompt\":\"x\"}"}) REQUIRE(refused(bad).code == "invalid_json");
  REQUIRE(std::string(refused("[]").what()) == "the body is [], allowed a JSON object");
  std::string deep(200000, '[');
  REQUIRE(refused(deep).code == "invalid_json");
  deep = "{\"prompt\":" + deep + std::string(200000, ']') + "}";
  REQUIRE(std::string(refused(deep).what()) == "the body is nested deeper than allowed, 16");
}

TEST_CASE("foreign text in a message is cut between characters") {
  const api_error e = refused(completion("\"user\":[\"" + std::string(61, 'a') + "\xc3\xa4\xc3\xa4\"]"));
  REQUIRE(quire_lm::valid_utf8_prefix(e.what()) == std::string(e.what()).size());
  REQUIRE(std::string(e.what()).size() < 120);
}

TEST_CASE("errors have OpenAI's form") {
  const json e = error_body(bad_field("n", "0", "1 to 8"));
  REQUIRE(text_of(e) == R"({"error":{"message":"n is 0, allowed 1 to 8","type":"invalid_request_error","param":"n","code":"invalid_value"}})");
  REQUIRE(text_of(error_body({503, "later"})) == R"({"error":{"message":"later","type":"service_unavailable_error","param":null,"code":null}})");
  REQUIRE(std::string(error_type(401)) == "authentication_error");
  REQUIRE(std::string(error_type(429)) == "rate_limit_error");
  REQUIRE(std::string(error_type(500)) == "server_error");
}
