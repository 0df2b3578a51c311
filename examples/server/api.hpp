// SPDX-License-Identifier: Apache-2.0
// The routes: what is asked over HTTP becomes a job of the service, what comes back becomes an answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "../lm/chat.hpp"
#include "http.hpp"
#include "reply.hpp"
#include "service.hpp"

namespace quire_server {

/// What clients are told of the model.
struct served_model {
  std::string name, fingerprint;
  std::int64_t created = 0;
  std::uint32_t context = 0;                    ///< tokens of one text, prompt included
  const quire_lm::tokenizer* tokens = nullptr;
  std::optional<quire_lm::chat_template> chat;
  std::string no_chat;                          ///< why there is none
};

struct api_options {
  std::string key;  ///< empty: nobody has to show one
  std::uint64_t body_bytes = std::uint64_t{2} << 20;
  std::uint32_t stream_capacity = 1024;  ///< updates that a slow reader may leave lying
  request_limits limits;
  bool log = false;
};

/// Installs its handlers into a server, which must not outlive it. Handlers run on the connections' threads.
/// Headers a client may send besides OpenAI's: x-tenant (who asks, for fair orders; else the body's `user`), x-priority
/// (-1000 to 1000, larger is more urgent) and x-deadline-ms (when the answer must be whole, for --admission deadline).
class api {
 public:
  api(service& work, metrics& counted, served_model model, api_options options);
  void install(http_server& server);

 private:
  using request = httplib::Request;
  using response = httplib::Response;

  bool turns_away(const request& q, response& r) const;
  void generate(const request& q, response& r, const httplib::ContentReader& reader, bool chat);
  std::string read_body(const httplib::ContentReader& reader) const;
  std::shared_ptr<job> make_job(const request& q, generation_request ask) const;
  void answer_whole(response& r, const std::shared_ptr<job>& j, reply_writer writer);
  void answer_stream(response& r, const std::shared_ptr<job>& j, reply_writer writer);
  void health(const request& q, response& r);
  json describe_model() const;
  void log(const request& q, const response& r) const;

  service& work_;
  metrics& counted_;
  const served_model model_;
  const api_options options_;
  std::uint64_t id_base_;  ///< random: answers of two servers don't share ids
  std::atomic<std::uint64_t> ids_{0};
};

}  // namespace quire_server
