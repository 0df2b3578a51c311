// SPDX-License-Identifier: Apache-2.0
#include "quire/core/executor.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire;

TEST_CASE("every worker runs once per region and barriers order phases") {
  for (std::uint32_t workers : {1u, 2u, 3u, 5u}) {
    thread_executor pool(workers);
    REQUIRE(pool.workers() == workers);
    std::vector<int> mine(workers), seen(workers);
    for (int round = 1; round <= 200; ++round) {
      pool.run([&](const team& t) {
        mine[t.worker] = round;
        t.barrier();
        int sum = 0;
        for (int m : mine) sum += m;
        seen[t.worker] = sum;
        t.barrier();
      });
      for (int s : seen) REQUIRE(s == round * static_cast<int>(workers));
    }
  }
}

TEST_CASE("zero workers means one, and the serial executor is a team of one") {
  REQUIRE(thread_executor(0).workers() == 1);
  int calls = 0;
  serial_executor{}.run([&](const team& t) {
    t.barrier();
    calls += static_cast<int>(t.workers);
  });
  REQUIRE(calls == 1);
}
