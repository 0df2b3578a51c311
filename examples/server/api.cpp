// SPDX-License-Identifier: Apache-2.0
#include "api.hpp"

#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

namespace quire_server {
namespace {

using std::chrono::milliseconds;

/// How often a connection looks whether its client is still there.
constexpr milliseconds watch{50};

/// A route by path, and the one method it takes (HEAD goes where GET does).
struct route {
  std::string_view path, method;
  bool guarded;  ///< asks for the API key
};
constexpr route routes[] = {{"/v1/completions", "POST", true}, {"/v1/chat/completions", "POST", true}, {"/v1/models", "GET", true},
                            {"/v1/models/", "GET", true},      {"/health", "GET", false},             {"/metrics", "GET", false}};
const route* find_route(std::string_view path) {
  for (const route& r : routes)
    if (path == r.path || (r.path.ends_with('/') && path.starts_with(r.path) && path.size() > r.path.size())) return &r;
  return nullptr;
}

/// Of one request, for the log line: written by its handler, on the same thread.
struct note {
  std::string id{}, tenant{};
  token_usage usage{};
  double first = 0;
  steady::time_point since{};
};
thread_local note noted;

void reply(httplib::Response& r, int status, const json& body) {
  r.status = status;
  r.set_content(text_of(body) + "\n", "application/json");
}
void reply(httplib::Response& r, const api_error& e) {
  if (e.status == 429 || e.status == 503) r.set_header("Retry-After", "1");
  reply(r, e.status, error_body(e));
}

/// Takes as long for a wrong key as for the right one of the same length.
bool same_secret(std::string_view given, std::string_view kept) {
  unsigned char differs = given.size() == kept.size() ? 0 : 1;
  for (std::size_t i = 0; i < kept.size(); ++i) differs |= static_cast<unsigned char>(kept[i] ^ (i < given.size() ? given[i] : 0));
  return differs == 0;
}

std::uint64_t random_bits() {
  std::random_device source;
  return std::uint64_t{source()} << 32 | source();
}

std::optional<std::int32_t> whole_header(const httplib::Request& q, const char* name, std::int32_t low, std::int32_t high) {
  if (!q.has_header(name)) return std::nullopt;
  const std::string text = q.get_header_value(name);
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= low && value <= high) return value;
  throw bad_field(name, quire_lm::quoted(text), "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
}

std::string whole_characters(std::string_view bytes) {
  quire_lm::utf8_stream s;
  std::string out = s.push(bytes);
  return out + s.finish();
}

}  // namespace

api::api(service& work, metrics& counted, served_model model, api_options options)
    : work_(work), counted_(counted), model_(std::move(model)), options_(std::move(options)), id_base_(random_bits()) {}

void api::install(http_server& server) {
  server.set_payload_max_length(options_.body_bytes);
  server.set_keep_alive_max_count(std::size_t{1} << 30);  // what answers tell; connections end for other reasons
  server.set_pre_routing_handler([this](const request& q, response& r) {
    noted = {.since = steady::now()};
    return turns_away(q, r) ? httplib::Server::HandlerResponse::Handled : httplib::Server::HandlerResponse::Unhandled;
  });
  server.set_expect_100_continue_handler([this](const request& q, response&) { return q.get_header_value<std::uint64_t>("Content-Length") > options_.body_bytes ? 413 : 100; });
  server.set_exception_handler([](const request&, response& r, std::exception_ptr e) {
    try {
      std::rethrow_exception(e);
    } catch (const api_error& known) {
      reply(r, known);
    } catch (const bad_input& input) {
      reply(r, api_error(400, input.what()));
    } catch (const std::exception& other) {
      reply(r, api_error(500, other.what()));
    }
  });
  server.set_error_handler([](const request&, response& r) {
    if (r.body.empty()) reply(r, api_error(r.status, r.status == 413 ? "the request is too large" : "the request can't be read as HTTP"));
  });
  server.set_logger([this](const request& q, const response& r) { log(q, r); });

  server.Post("/v1/completions", [this](const request& q, response& r, const httplib::ContentReader& reader) { generate(q, r, reader, false); });
  server.Post("/v1/chat/completions", [this](const request& q, response& r, const httplib::ContentReader& reader) { generate(q, r, reader, true); });
  server.Get("/v1/models", [this](const request&, response& r) { reply(r, 200, {{"object", "list"}, {"data", json::array({describe_model()})}}); });
  server.Get("/v1/models/(.+)", [this](const request& q, response& r) {
    if (q.matches[1] != model_.name) throw api_error(404, "model is " + quire_lm::quoted(q.matches[1].str()) + ", allowed " + quire_lm::quoted(model_.name), "model", "model_not_found");
    reply(r, 200, describe_model());
  });
  server.Get("/health", [this](const request& q, response& r) { health(q, r); });
  server.Get("/metrics", [this](const request&, response& r) { r.set_content(counted_.text(), "text/plain; version=0.0.4"); });
}

/// Answers what is decided by the header alone.
bool api::turns_away(const request& q, response& r) const {
  const route* at = find_route(q.path);
  const auto refuse = [&](const api_error& why) {
    reply(r, why);
    return true;
  };
  if (at == nullptr) return refuse({404, "path is " + quire_lm::quoted(q.path) + ", which is not served here", "", "unknown_path"});
  if (q.method != at->method && !(q.method == "HEAD" && at->method == "GET")) {
    r.set_header("Allow", std::string(at->method));
    return refuse({405, "method is " + quire_lm::quoted(q.method) + ", allowed " + std::string(at->method), "", "method_not_allowed"});
  }
  // A walk over the whole store between two steps is not for everybody.
  if ((at->guarded || q.has_param("deep")) && !options_.key.empty()) {
    const std::string given = q.get_header_value("Authorization");
    constexpr std::string_view scheme = "Bearer ";
    if (!given.starts_with(scheme) || !same_secret(std::string_view(given).substr(scheme.size()), options_.key)) {
      r.set_header("WWW-Authenticate", "Bearer");
      return refuse({401, "the API key is absent or wrong, allowed the one the server was started with, as 'Authorization: Bearer KEY'", "", "invalid_api_key"});
    }
  }
  if (at->method != "POST") return false;
  if (http_server::overloaded()) return refuse({503, "too many connections", "", "too_many_connections"});
  if (q.has_header("Transfer-Encoding") && q.has_header("Content-Length")) return refuse({400, "Transfer-Encoding and Content-Length are both there, allowed one of them"});
  if (q.has_header("Transfer-Encoding")) return false;
  if (!q.has_header("Content-Length")) return refuse({411, "Content-Length is absent, allowed it or Transfer-Encoding: chunked"});
  const std::string length = q.get_header_value("Content-Length");
  std::uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bytes);
  if (error == std::errc::invalid_argument || end != length.data() + length.size()) return refuse({400, "Content-Length is " + quire_lm::quoted(length) + ", allowed a whole number"});
  if (error != std::errc() || bytes > options_.body_bytes)
    return refuse({413, "the body has " + quire_lm::quoted(length) + " bytes, allowed at most " + std::to_string(options_.body_bytes), "", "body_too_large"});
  return false;
}

std::string api::read_body(const httplib::ContentReader& reader) const {
  std::string body;
  bool too_large = false;
  const bool whole = reader([&](const char* data, std::size_t n) {
    too_large = body.size() + n > options_.body_bytes;
    if (!too_large) body.append(data, n);
    return !too_large;
  });
  if (too_large) throw api_error(413, "the body is larger than allowed, " + std::to_string(options_.body_bytes) + " bytes", "", "body_too_large");
  if (!whole) throw api_error(400, "the body ended before its end, or is encoded in a way that can't be read");
  http_server::current().body_pending = false;
  return body;
}

void api::generate(const request& q, response& r, const httplib::ContentReader& reader, bool chat) {
  const std::string type = q.get_header_value("Content-Type");
  if (type.starts_with("multipart/")) throw api_error(415, "Content-Type is " + quire_lm::quoted(type) + ", allowed application/json");
  const std::string body = read_body(reader);
  generation_request ask = read_request(body, chat, options_.limits);
  const auto j = make_job(q, std::move(ask));
  char id[40];
  std::snprintf(id, sizeof id, "%s-%016" PRIx64 "%08" PRIx64, chat ? "chatcmpl" : "cmpl", id_base_, ids_++);
  noted.id = id;
  r.set_header("x-request-id", id);
  reply_writer writer(j->ask, id, model_.name, model_.fingerprint, static_cast<std::int64_t>(std::time(nullptr)), *model_.tokens);
  work_.submit(j);
  if (j->ask.stream) answer_stream(r, j, std::move(writer));
  else answer_whole(r, j, std::move(writer));
}

std::shared_ptr<job> api::make_job(const request& q, generation_request ask) const {
  const quire_lm::tokenizer& tokens = *model_.tokens;
  if (!ask.model.empty() && ask.model != model_.name)
    throw api_error(404, "model is " + quire_lm::quoted(ask.model) + ", allowed " + quire_lm::quoted(model_.name), "model", "model_not_found");
  auto j = std::make_shared<job>();
  const auto known = [&](token t, const char* field) {
    if (static_cast<std::size_t>(t) >= tokens.size()) throw bad_field(field, "token " + std::to_string(t), "tokens from 0 to " + std::to_string(tokens.size() - 1));
  };
  if (ask.chat) {
    if (!model_.chat) throw api_error(400, "messages can't be used with this model: " + model_.no_chat, "messages", "no_chat_template");
    j->prompts.push_back(encode_chat(tokens, format_chat(*model_.chat, ask.messages)));
  }
  for (const prompt_source& p : ask.prompts) {
    if (const auto* text = std::get_if<std::string>(&p)) {
      j->prompts.push_back(tokens.encode(*text, {.add_special = true, .parse_special = true}));
    } else {
      for (const token t : std::get<std::vector<token>>(p)) known(t, "prompt");
      j->prompts.push_back(std::get<std::vector<token>>(p));
    }
  }
  const char* field = ask.chat ? "messages" : "prompt";
  std::size_t longest = 0;
  for (const auto& p : j->prompts) {
    if (p.empty()) throw bad_field(field, "without tokens in this vocabulary", "at least one");
    longest = std::max(longest, p.size());
  }
  if (longest >= model_.context)
    throw api_error(400, std::string(field) + " has " + std::to_string(longest) + " tokens, allowed at most " + std::to_string(model_.context - 1) +
                             " (the context of " + std::to_string(model_.context) + " less one to generate)", field, "context_length_exceeded");
  const auto room = static_cast<std::uint32_t>(model_.context - longest);
  constexpr std::uint32_t usual = 16;  // OpenAI's, of completions
  if (ask.max_tokens && *ask.max_tokens > room)
    throw api_error(400, "max_tokens is " + std::to_string(*ask.max_tokens) + " after a prompt of " + std::to_string(longest) + " tokens, allowed 1 to " +
                             std::to_string(room) + " (the context is " + std::to_string(model_.context) + ")", "max_tokens", "context_length_exceeded");
  j->max_tokens = ask.max_tokens ? *ask.max_tokens : std::min(room, ask.chat ? options_.limits.max_tokens : usual);
  for (const auto& [t, by] : ask.how.bias) known(t, "logit_bias");

  j->priority = whole_header(q, "x-priority", -1000, 1000).value_or(0);
  if (const auto ms = whole_header(q, "x-deadline-ms", 1, 86400000)) j->deadline = noted.since + milliseconds(*ms);
  noted.tenant = q.has_header("x-tenant") ? q.get_header_value("x-tenant") : ask.user;
  j->tenant = tenant_of(noted.tenant);
  j->seed = ask.how.seed ? *ask.how.seed : random_bits();
  j->arrived = noted.since;
  j->out = std::make_shared<update_stream>(std::size_t{options_.stream_capacity} * j->prompts.size() * ask.n, ask.stream);
  if (!ask.echo) ask.prompts.clear();
  j->ask = std::move(ask);
  return j;
}

namespace {

/// What an echo puts before text number `i`.
std::string echo_of(const job& j, const quire_lm::tokenizer& tokens, std::uint32_t i) {
  if (!j.ask.echo) return {};
  const prompt_source& p = j.ask.prompts[i / j.ask.n];
  const auto* text = std::get_if<std::string>(&p);
  return text ? *text : whole_characters(tokens.decode(std::get<std::vector<token>>(p)));
}

}  // namespace

void api::answer_whole(response& r, const std::shared_ptr<job>& j, reply_writer writer) {
  std::vector<collected_text> texts(j->texts());
  for (std::uint32_t i = 0; i < texts.size(); ++i) texts[i].text = echo_of(*j, *model_.tokens, i);
  for (;;) {
    update_stream::batch batch = j->out->take(watch);
    for (update& u : batch.updates) {
      collected_text& t = texts[u.choice];
      t.text += u.shown.text;
      std::move(u.shown.tokens.begin(), u.shown.tokens.end(), std::back_inserter(t.tokens));
      t.finish = u.finish;
    }
    if (batch.over) break;
    if (!http_server::current().alive()) {
      work_.cancel(j, interruption::disconnect);
      throw api_error(499, "the client has gone");
    }
  }
  noted.usage = j->out->usage();
  if (j->out->error()) throw api_error(*j->out->error());
  reply(r, 200, writer.whole(texts, j->out->usage()));
}

void api::answer_stream(response& r, const std::shared_ptr<job>& j, reply_writer writer) {
  struct state {
    reply_writer writer;
    std::vector<bool> echoed;
    steady::time_point spoke;
  };
  auto s = std::make_shared<state>(state{std::move(writer), std::vector<bool>(j->texts(), !j->ask.echo), steady::now()});
  r.set_header("Cache-Control", "no-cache");
  const auto provide = [this, j, s](std::size_t, httplib::DataSink& sink) {
    const update_stream::batch batch = j->out->take(watch);
    std::string out;
    for (update u : batch.updates) {
      if (!s->echoed[u.choice]) u.shown.text.insert(0, echo_of(*j, *model_.tokens, u.choice));
      s->echoed[u.choice] = true;
      out += s->writer.event(u);
    }
    const auto now = steady::now();
    if (!batch.updates.empty() && noted.first == 0) noted.first = std::chrono::duration<double>(now - j->arrived).count();
    if (batch.over) out += j->out->error() ? reply_writer::error_event(*j->out->error()) : s->writer.end(j->out->usage());
    if (out.empty() && now - s->spoke > std::chrono::seconds(10)) out = ": waiting\n\n";  // proxies close what is silent
    if (!out.empty()) s->spoke = now;
    if (!http_server::current().alive() || (!out.empty() && !sink.write(out.data(), out.size()))) {
      work_.cancel(j, http_server::current().alive() ? interruption::slow_reader : interruption::disconnect);
      return false;
    }
    if (batch.over) {
      noted.usage = j->out->usage();
      sink.done();
    }
    return true;
  };
  // Where the server is torn down under an answer, the provider is not called again.
  r.set_chunked_content_provider("text/event-stream", provide, [this, j](bool whole) {
    if (!whole) work_.cancel(j, interruption::disconnect);
  });
}

void api::health(const request& q, response& r) {
  const bool draining = counted_.draining.load(std::memory_order_relaxed) != 0;
  json body{{"status", draining ? "draining" : "ok"}, {"model", model_.name}, {"live", counted_.live.load()}, {"running", counted_.running.load()}, {"waiting", counted_.waiting.load()}};
  bool sound = true;
  if (q.has_param("deep")) {
    sound = work_.check();
    body["store_check"] = sound;
    body["pages"] = counted_.pages.load();
    body["free_pages"] = counted_.free_pages.load();
  }
  if (!sound) body["status"] = "broken";
  reply(r, sound && !draining ? 200 : 503, body);
}

json api::describe_model() const {
  return {{"id", model_.name}, {"object", "model"}, {"created", model_.created}, {"owned_by", "quire"}, {"max_model_len", model_.context}};
}

void api::log(const request& q, const response& r) const {
  const route* at = find_route(q.path);
  counted_.answered(at ? at->path : "other", r.status);
  if (!options_.log) return;
  char when[32];
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", ::gmtime_r(&t, &utc));
  const double total = std::chrono::duration<double>(steady::now() - noted.since).count();
  std::fprintf(stderr, "%s %s %s %d id=%s tenant=%s prompt=%" PRIu64 " generated=%" PRIu64 " first=%.3f total=%.3f\n", when, q.method.c_str(),
               quire_lm::quoted(q.path).c_str(), r.status, noted.id.empty() ? "-" : noted.id.c_str(), quire_lm::quoted(noted.tenant).c_str(), noted.usage.prompt,
               noted.usage.generated, noted.first, total);
}

}  // namespace quire_server
