// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/virtual_link.hpp"

#include "catch.hpp"

using namespace quire;
using tier::lane;

namespace {
double finish(tier::virtual_link& link, int copies, std::uint64_t bytes, lane way) {
  for (int i = 0; i < copies; ++i) REQUIRE(link.start(static_cast<std::uint32_t>(i), {.way = way, .bytes = bytes}, 0));
  double last = 0;
  for (int i = 0; i < copies; ++i) {
    last = link.wait(last);
    CHECK_FALSE(link.poll(last * (1 - 1e-12)));
    const auto landed = link.poll(last);
    REQUIRE(landed);
    CHECK(landed->id == static_cast<std::uint32_t>(i));
  }
  return last;
}
}  // namespace

TEST_CASE("copies cost what the launch or the bandwidth allows, whichever is slower") {
  const auto time = [](int copies, std::uint64_t bytes) {
    tier::virtual_link link({.launch_seconds = 5e-6, .bytes_per_second = {25e9, 25e9}});
    return finish(link, copies, bytes, lane::out);
  };
  CHECK(time(1, 2 << 20) == Approx(5e-6 + (2 << 20) / 25e9));
  CHECK(time(64, 32 << 10) == Approx(64 * 5e-6 + (32 << 10) / 25e9));       // launch-bound: 32 KiB take 1.3 us
  CHECK(time(64, 2 << 20) == Approx(5e-6 + 64 * ((2 << 20) / 25e9)));       // bandwidth-bound
}

TEST_CASE("directions overlap, one thread issues for both") {
  tier::virtual_link link({.launch_seconds = 1, .bytes_per_second = {10, 5}});
  REQUIRE(link.start(1, {.way = lane::out, .bytes = 100}, 0));  // issued at 1, lands at 11
  REQUIRE(link.start(2, {.way = lane::in, .bytes = 20}, 0));    // issued at 2, lands at 6
  REQUIRE(link.start(3, {.way = lane::out, .bytes = 10}, 0));   // lands at 12
  CHECK(link.next() == Approx(6));
  CHECK_FALSE(link.poll(5.9));
  CHECK(link.poll(6)->id == 2);
  CHECK_FALSE(link.poll(6));
  CHECK(link.wait(7) == Approx(11));
  CHECK(link.poll(20)->id == 1);
  CHECK(link.poll(20)->id == 3);
  CHECK_FALSE(link.poll(20));
  CHECK(link.busy_seconds(lane::out) == Approx(11));
  CHECK(link.busy_seconds(lane::in) == Approx(4));
}

TEST_CASE("a full direction refuses and the other does not") {
  tier::virtual_link link({.copies = 2});
  for (std::uint32_t i = 0; i < 2; ++i) REQUIRE(link.start(i, {.way = lane::out, .bytes = 1}, 0));
  CHECK_FALSE(link.start(2, {.way = lane::out, .bytes = 1}, 0));
  CHECK(link.start(2, {.way = lane::in, .bytes = 1}, 0));
  CHECK(link.poll(1));
  CHECK(link.start(3, {.way = lane::out, .bytes = 1}, 1));
}
