// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/step.hpp"

#include <string>

#include "catch.hpp"

using namespace quire::schedule;

TEST_CASE("options that could never work name themselves and what is allowed") {
  const auto refused = [](scheduler_options o) -> std::string {
    try {
      static_cast<void>(detail::checked(o));
    } catch (const std::invalid_argument& e) { return e.what(); }
    return "";
  };
  REQUIRE(refused({}).empty());
  REQUIRE(refused({.max_running = 0}).find("max_running is 0, allowed 1") != std::string::npos);
  REQUIRE(refused({.max_requests = 0}).find("max_requests") != std::string::npos);
  REQUIRE(refused({.max_requests = 0xffffffffu}).find("4294967295") != std::string::npos);
  REQUIRE(refused({.max_sequence = 0}).find("max_sequence") != std::string::npos);
  REQUIRE(refused({.max_parked = 0}).find("max_parked") != std::string::npos);
}
