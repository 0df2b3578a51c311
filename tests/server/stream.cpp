// SPDX-License-Identifier: Apache-2.0
#include "server/stream.hpp"

#include <thread>

#include "catch.hpp"

using namespace quire_server;
using std::chrono::milliseconds;

TEST_CASE("a stream holds so many updates and no more") {
  update_stream s(3, true);
  for (int i = 0; i < 3; ++i) REQUIRE(s.push({0, {"x", {}}, finish_reason::none}));
  REQUIRE_FALSE(s.push({0, {"y", {}}, finish_reason::none}));
  const update_stream::batch b = s.take(milliseconds(0));
  REQUIRE(b.updates.size() == 3);
  REQUIRE_FALSE(b.over);
  REQUIRE(s.push({0, {"z", {}}, finish_reason::none}));
  s.close({1, 2, 3}, api_error(500, "why"));
  s.close({9, 9, 9});  // the first counts
  const update_stream::batch last = s.take(milliseconds(1000));
  REQUIRE(last.over);
  REQUIRE(last.updates.size() == 1);
  REQUIRE(s.usage().generated == 2);
  REQUIRE(s.error()->status == 500);
}

TEST_CASE("updates come in order to another thread, whether it is woken for each or not") {
  for (const bool eager : {true, false}) {
    update_stream s(64, eager);
    constexpr std::uint32_t n = 20000;
    std::thread writer([&] {
      for (std::uint32_t i = 0; i < n; ++i)
        while (!s.push({i, {}, finish_reason::none})) std::this_thread::yield();
      s.close({0, n, 0});
    });
    std::uint32_t next = 0;
    for (bool over = false; !over;) {
      const update_stream::batch b = s.take(milliseconds(20));
      for (const update& u : b.updates) REQUIRE(u.choice == next++);
      over = b.over;
    }
    writer.join();
    REQUIRE(next == n);
  }
}
