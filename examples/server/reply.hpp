// SPDX-License-Identifier: Apache-2.0
// What a client is sent about its texts: one object, or server-sent events.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../lm/tokenizer.hpp"
#include "request.hpp"
#include "stream.hpp"

namespace quire_server {

/// A text as far as a reader has put it together.
struct collected_text {
  std::string text;
  std::vector<measured_token> tokens;
  finish_reason finish = finish_reason::none;
};

/// Writes the answers to one request in OpenAI's form. One thread. test: tests/server/reply.cpp
class reply_writer {
 public:
  reply_writer(const generation_request& ask, std::string id, std::string model, std::string fingerprint, std::int64_t created, const quire_lm::tokenizer& tokens)
      : chat_(ask.chat),
        logprobs_(ask.logprobs.has_value()),
        usage_(ask.include_usage),
        id_(std::move(id)),
        model_(std::move(model)),
        fingerprint_(std::move(fingerprint)),
        created_(created),
        tokens_(tokens) {}

  const std::string& id() const noexcept { return id_; }

  /// An event for an update; a chat's text opens with its role.
  std::string event(const update& u) {
    json choice{{"index", u.choice}};
    if (chat_) {
      json delta = json::object();
      if (opened_.size() <= u.choice) opened_.resize(u.choice + 1, false);
      if (!opened_[u.choice]) delta["role"] = "assistant";
      if (!opened_[u.choice] || !u.shown.text.empty()) delta["content"] = u.shown.text;
      opened_[u.choice] = true;
      choice["delta"] = std::move(delta);
    } else {
      choice["text"] = u.shown.text;
    }
    choice["logprobs"] = logprobs_ ? logprobs(u.shown.tokens) : json(nullptr);
    choice["finish_reason"] = reason(u.finish);
    json body = frame(true);
    body["choices"] = json::array({std::move(choice)});
    if (usage_) body["usage"] = nullptr;
    return event_of(body);
  }
  /// What follows the last update.
  std::string end(const token_usage& usage) const {
    std::string out;
    if (usage_) {
      json body = frame(true);
      body["choices"] = json::array();
      body["usage"] = usage_of(usage);
      out = event_of(body);
    }
    return out + "data: [DONE]\n\n";
  }
  static std::string error_event(const api_error& e) { return event_of(error_body(e)); }

  /// The answer in one piece.
  json whole(std::span<const collected_text> texts, const token_usage& usage) const {
    json body = frame(false);
    body["choices"] = json::array();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const collected_text& t = texts[i];
      json choice{{"index", i}};
      if (chat_) choice["message"] = {{"role", "assistant"}, {"content", t.text}, {"refusal", nullptr}};
      else choice["text"] = t.text;
      choice["logprobs"] = logprobs_ ? logprobs(t.tokens) : json(nullptr);
      choice["finish_reason"] = reason(t.finish);
      body["choices"].push_back(std::move(choice));
    }
    body["usage"] = usage_of(usage);
    return body;
  }

 private:
  static std::string event_of(const json& body) { return "data: " + text_of(body) + "\n\n"; }
  json frame(bool streamed) const {
    const char* object = !chat_ ? "text_completion" : streamed ? "chat.completion.chunk" : "chat.completion";
    return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_}, {"system_fingerprint", fingerprint_}};
  }
  static json reason(finish_reason r) {
    return r == finish_reason::none ? json(nullptr) : json(r == finish_reason::stop ? "stop" : "length");
  }
  static json usage_of(const token_usage& u) {
    return {{"prompt_tokens", u.prompt}, {"completion_tokens", u.generated}, {"total_tokens", u.prompt + u.generated}, {"prompt_tokens_details", {{"cached_tokens", u.cached}}}};
  }

  json logprobs(std::span<const measured_token> tokens) const {
    json out;
    if (chat_) {
      out["content"] = json::array();
      for (const measured_token& t : tokens) {
        json entry = named(t.id, t.logprob);
        entry["top_logprobs"] = json::array();
        for (const auto& [id, logprob] : t.top) entry["top_logprobs"].push_back(named(id, logprob));
        out["content"].push_back(std::move(entry));
      }
      return out;
    }
    for (const char* list : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) out[list] = json::array();
    for (const measured_token& t : tokens) {
      out["tokens"].push_back(readable(t.id));
      out["token_logprobs"].push_back(t.logprob);
      json top = json::object();
      for (const auto& [id, logprob] : t.top) top[readable(id)] = logprob;
      out["top_logprobs"].push_back(std::move(top));
      out["text_offset"].push_back(t.offset);
    }
    return out;
  }
  json named(token id, float logprob) const {
    json bytes = json::array();
    for (const char c : tokens_.bytes(id, true)) bytes.push_back(static_cast<unsigned char>(c));
    return {{"token", readable(id)}, {"logprob", logprob}, {"bytes", std::move(bytes)}};
  }
  /// A token's text; part of a character as OpenAI writes it, `bytes:\xNN`.
  std::string readable(token id) const {
    const std::string_view bytes = tokens_.bytes(id, true);
    if (quire_lm::valid_utf8_prefix(bytes) == bytes.size()) return std::string(bytes);
    constexpr char digits[] = "0123456789abcdef";
    std::string out = "bytes:";
    for (const char c : bytes) {
      const auto b = static_cast<unsigned char>(c);
      out += {'\\', 'x', digits[b >> 4], digits[b & 15]};
    }
    return out;
  }

  bool chat_, logprobs_, usage_;
  std::string id_, model_, fingerprint_;
  std::int64_t created_;
  const quire_lm::tokenizer& tokens_;
  std::vector<bool> opened_;  ///< whose role was told
};

}  // namespace quire_server
