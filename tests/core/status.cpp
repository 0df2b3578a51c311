// SPDX-License-Identifier: Apache-2.0
#include "quire/core/status.hpp"

#include "catch.hpp"

using namespace quire;

TEST_CASE("a status says the parameter, its value and what is allowed") {
  REQUIRE(status{});
  REQUIRE(describe({}) == "ok");
  const status s{errc::out_of_range, "head_dim", 12, 8, 256};
  REQUIRE_FALSE(s);
  REQUIRE(describe(s) == "out_of_range: head_dim is 12, allowed 8 to 256");
  REQUIRE(describe({errc::io, "file", 0, 0, 0, 2}).find("native code 2") != std::string::npos);
}
