// SPDX-License-Identifier: Apache-2.0
// The bodies of POST /v1/completions and /v1/chat/completions, checked and in one form. Knows no model: lengths in tokens and
// token numbers are checked where the tokenizer is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "../lm/chat.hpp"
#include "fields.hpp"

namespace quire_server {

using quire_lm::token;

/// How tokens are chosen. Penalties count what was generated; the repetition penalty counts the prompt as well.
struct sampling {
  float temperature = 1, top_p = 1, min_p = 0, presence = 0, frequency = 0, repetition = 1;
  int top_k = 0;                      ///< 0: all
  std::optional<std::uint64_t> seed;  ///< none: another one for each request
  std::vector<std::pair<token, float>> bias;
};

using prompt_source = std::variant<std::string, std::vector<token>>;

/// One request of either kind.
struct generation_request {
  bool chat = false;
  std::string model;  ///< empty: whatever is served
  std::vector<prompt_source> prompts;
  std::vector<quire_lm::message> messages;  ///< of a chat
  std::uint32_t n = 1;                      ///< texts for each prompt
  std::optional<std::uint32_t> max_tokens;
  sampling how;
  std::vector<std::string> stop;
  std::optional<std::uint32_t> logprobs;  ///< of the chosen token, and of so many likeliest ones
  bool stream = false, include_usage = false, echo = false, ignore_eos = false;
  std::string user;
};

/// What a server allows, besides what the protocol does.
struct request_limits {
  std::uint32_t n = 8;
  std::uint32_t prompts = 64;
  std::uint32_t max_tokens = 4096;  ///< that may be asked for
};

namespace detail {

inline std::vector<std::string> read_stop(const json* v) {
  constexpr std::size_t most = 16, longest = 1024;
  const std::string allowed = "a string, or up to 16 strings, of 1 to 1024 bytes";
  std::vector<std::string> out;
  if (v == nullptr) return out;
  if (!v->is_string() && !v->is_array()) throw bad_value("stop", *v, allowed);
  if (v->is_array() && v->size() > most) throw bad_field("stop", std::to_string(v->size()) + " strings", allowed);
  for (const json& s : v->is_array() ? *v : json::array({*v})) {
    if (!s.is_string() || s.get_ref<const std::string&>().empty() || s.get_ref<const std::string&>().size() > longest) throw bad_value("stop", s, allowed);
    out.push_back(s.get<std::string>());
  }
  return out;
}

inline std::vector<token> read_tokens(const json& list) {
  std::vector<token> out;
  out.reserve(list.size());
  for (const json& t : list) out.push_back(static_cast<token>(fields::whole_of("prompt", t, 0, 0x7fffffff)));
  return out;
}
inline std::vector<prompt_source> read_prompts(const json* v, std::uint32_t most) {
  const std::string allowed = "a string, an array of strings, an array of tokens, or an array of arrays of tokens";
  if (v == nullptr) throw api_error(400, "prompt is absent, allowed " + allowed, "prompt", "missing_required_parameter");
  if (v->is_string()) return {v->get<std::string>()};
  if (!v->is_array() || v->empty()) throw bad_value("prompt", *v, allowed);
  if (v->front().is_number()) return {read_tokens(*v)};
  if (v->size() > most) throw bad_field("prompt", std::to_string(v->size()) + " prompts", "at most " + std::to_string(most) + " prompts in one request");
  std::vector<prompt_source> out;
  for (const json& p : *v) {
    if (p.is_string()) out.emplace_back(p.get<std::string>());
    else if (p.is_array() && !p.empty()) out.emplace_back(read_tokens(p));
    else throw bad_value("prompt", p, allowed);
  }
  return out;
}

inline std::string read_content(const std::string& where, const json* v) {
  const std::string allowed = "a string, or an array of parts of type 'text'";
  if (v == nullptr) return {};
  if (v->is_string()) return v->get<std::string>();
  if (!v->is_array()) throw bad_value(where, *v, allowed);
  std::string out;
  for (std::size_t i = 0; i < v->size(); ++i) {
    fields part((*v)[i], where + "[" + std::to_string(i) + "]");
    if (const std::string type = part.text("type", ""); type != "text") throw bad_value(part.name("type"), json(type), "'text'");
    out += part.text("text", "");
    part.ignore({"cache_control"});
    part.finish();
  }
  return out;
}
inline std::vector<quire_lm::message> read_messages(const json* v) {
  if (v == nullptr) throw api_error(400, "messages is absent, allowed an array of messages", "messages", "missing_required_parameter");
  if (!v->is_array() || v->empty()) throw bad_value("messages", *v, "an array of at least one message");
  std::vector<quire_lm::message> out;
  for (std::size_t i = 0; i < v->size(); ++i) {
    fields m((*v)[i], "messages[" + std::to_string(i) + "]");
    std::string role = m.text("role", "");
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant") throw bad_value(m.name("role"), json(role), "system, developer, user or assistant");
    const json* content = m.take("content");
    if (content == nullptr && role != "assistant") throw bad_value(m.name("content"), json(nullptr), "a string, or an array of parts of type 'text'");
    out.push_back({role, read_content(m.name("content"), content)});
    for (const char* f : {"tool_calls", "function_call", "audio"}) m.refuse(f, {json::array()});
    m.ignore({"name", "refusal", "annotations", "reasoning_content"});
    m.finish();
  }
  return out;
}

inline std::vector<std::pair<token, float>> read_bias(const json* v) {
  std::vector<std::pair<token, float>> out;
  if (v == nullptr) return out;
  constexpr std::size_t most = 1024;
  if (!v->is_object() || v->size() > most) throw bad_value("logit_bias", *v, "an object of up to 1024 token numbers with a number from -100 to 100 each");
  for (const auto& [key, value] : v->items()) {
    std::int64_t id = -1;
    if (!key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos) id = std::stoll(key);
    if (id < 0) throw bad_value("logit_bias", json(key), "token numbers as keys");
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100)) throw bad_value("logit_bias." + key, value, "a number from -100 to 100");
    out.emplace_back(static_cast<token>(id), value.get<float>());
  }
  return out;
}

}  // namespace detail

/// The request in a body. fails: api_error 400 naming the field, its value and what is allowed.
[[nodiscard]] inline generation_request read_request(std::string_view body, bool chat, const request_limits& limits) {
  constexpr int deepest = 16;  // what writes JSON follows it by recursion
  const auto shallow = [](int depth, json::parse_event_t, json&) {
    return depth <= deepest ? true : throw api_error(400, "the body is nested deeper than allowed, " + std::to_string(deepest), "", "invalid_json");
  };
  json parsed;
  try {
    parsed = json::parse(body, shallow);
  } catch (const json::exception& e) {
    throw api_error(400, std::string("the body is no JSON: ") + e.what(), "", "invalid_json");
  }
  fields f(parsed);
  generation_request r;
  r.chat = chat;
  r.model = f.text("model", "");
  if (chat) r.messages = detail::read_messages(f.take("messages"));
  else r.prompts = detail::read_prompts(f.take("prompt"), limits.prompts);
  r.n = static_cast<std::uint32_t>(f.whole("n", 1, 1, limits.n));

  const std::int64_t none = -1;
  std::int64_t most = f.whole("max_tokens", none, 1, limits.max_tokens);
  if (chat) {
    const std::int64_t newer = f.whole("max_completion_tokens", none, 1, limits.max_tokens);
    if (newer != none && most != none && newer != most) throw bad_field("max_completion_tokens", std::to_string(newer), "the same as max_tokens, or one of the two");
    most = newer != none ? newer : most;
  }
  if (most != none) r.max_tokens = static_cast<std::uint32_t>(most);

  r.how.temperature = static_cast<float>(f.number("temperature", 1, 0, 2));
  r.how.top_p = static_cast<float>(f.number("top_p", 1, 0, 1, true));
  r.how.min_p = static_cast<float>(f.number("min_p", 0, 0, 1));
  r.how.top_k = static_cast<int>(std::max<std::int64_t>(0, f.whole("top_k", 0, -1, 0x7fffffff)));  // some clients say -1 for all
  r.how.presence = static_cast<float>(f.number("presence_penalty", 0, -2, 2));
  r.how.frequency = static_cast<float>(f.number("frequency_penalty", 0, -2, 2));
  r.how.repetition = static_cast<float>(f.number("repetition_penalty", 1, 0, 100, true));
  if (const json* seed = f.take("seed")) {
    if (!seed->is_number_integer()) throw bad_value("seed", *seed, "a whole number of 64 bits");
    r.how.seed = seed->is_number_unsigned() ? seed->get<std::uint64_t>() : static_cast<std::uint64_t>(seed->get<std::int64_t>());
  }
  r.how.bias = detail::read_bias(f.take("logit_bias"));
  r.stop = detail::read_stop(f.take("stop"));

  if (chat) {
    const bool wanted = f.flag("logprobs", false);
    const std::int64_t top = f.whole("top_logprobs", none, 0, 20);
    if (top != none && !wanted) throw bad_field("top_logprobs", std::to_string(top), "null while logprobs is not true");
    if (wanted) r.logprobs = static_cast<std::uint32_t>(top == none ? 0 : top);
  } else {
    const std::int64_t top = f.whole("logprobs", none, 0, 20);
    if (top != none) r.logprobs = static_cast<std::uint32_t>(top);
    r.echo = f.flag("echo", false);
    if (r.echo && r.logprobs) throw bad_field("echo", "true with logprobs", "one of the two");
    const std::int64_t best = f.whole("best_of", none, 1, limits.n);
    if (best != none && best != r.n) throw bad_field("best_of", std::to_string(best), "the same as n");
    f.refuse("suffix", {""});
  }

  r.stream = f.flag("stream", false);
  if (const json* options = f.take("stream_options")) {
    if (!r.stream) throw bad_value("stream_options", *options, "null while stream is not true");
    fields o(*options, "stream_options");
    r.include_usage = o.flag("include_usage", false);
    o.ignore({"include_obfuscation"});
    o.finish();
  }
  r.ignore_eos = f.flag("ignore_eos", false);
  r.user = f.text("user", "");
  if (chat) {
    f.refuse("response_format", {json{{"type", "text"}}});
    f.refuse("modalities", {json::array({"text"})});
    f.refuse("tool_choice", {"none", "auto"});
    f.refuse("function_call", {"none", "auto"});
    for (const char* list : {"tools", "functions"}) f.refuse(list, {json::array()});
    for (const char* other : {"audio", "prediction", "web_search_options", "reasoning_effort", "verbosity"}) f.refuse(other);
    f.ignore({"parallel_tool_calls"});
  }
  f.ignore({"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"});
  f.finish();
  return r;
}

}  // namespace quire_server
