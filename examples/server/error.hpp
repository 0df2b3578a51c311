// SPDX-License-Identifier: Apache-2.0
// What a client did wrong, or what the server could not do, as OpenAI's clients expect to read it.
#pragma once

#include <nlohmann/json.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

#include "../lm/error.hpp"

namespace quire_server {

/// JSON with keys in the order in which they are written.
using json = nlohmann::ordered_json;
using quire_lm::bad_input;

/// One line of JSON; text that is not UTF-8 is replaced, never thrown about.
[[nodiscard]] inline std::string text_of(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

/// An HTTP status with the error object that goes with it.
struct api_error : std::runtime_error {
  api_error(int http_status, const std::string& message, std::string_view named = "", std::string_view code_name = "")
      : std::runtime_error(message), status(http_status), param(named), code(code_name) {}
  int status;
  std::string param;  ///< the request's field at fault; empty: none
  std::string code;   ///< for programs; empty: none
};

/// OpenAI's `type` of an error, which follows from the status.
[[nodiscard]] inline const char* error_type(int status) noexcept {
  switch (status) {
    case 401: return "authentication_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "service_unavailable_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
  }
}

[[nodiscard]] inline json error_body(const api_error& e) {
  const auto or_null = [](const std::string& s) { return s.empty() ? json(nullptr) : json(s); };
  return {{"error",
           {{"message", e.what()}, {"type", error_type(e.status)}, {"param", or_null(e.param)}, {"code", or_null(e.code)}}}};
}

/// A field that can't be used: 400 naming it, its value and what is allowed.
[[nodiscard]] inline api_error bad_field(const std::string& field, const std::string& value, const std::string& allowed) {
  return {400, field + " is " + value + ", allowed " + allowed, field, "invalid_value"};
}

}  // namespace quire_server
