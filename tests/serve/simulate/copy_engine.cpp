// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/copy_engine.hpp"

#include "catch.hpp"
#include "quire/serve/simulate/random.hpp"
#include "quire/tier/virtual_link.hpp"

using namespace quire;
using quire::serve::simulate::copy_engine;
using way = copy_engine::way;

TEST_CASE("a batch is bound by its launches or by its bytes, whichever is slower, and follows those before it") {
  copy_engine l({.bytes_per_second = 1024, .launch = 0.25});
  REQUIRE(l.copy(way::out, 10, 128, 1) == 10.375);        // a launch, an eighth of a second of bytes
  REQUIRE(l.copy(way::out, 20, 512, 4) == 21.125);        // four launches, the last copy's bytes
  REQUIRE(l.copy(way::out, 30, 4096, 4) == 34.25);        // a launch, all bytes
  REQUIRE(l.copy(way::out, 31, 1024, 1) == 35.25);        // behind the bytes of the last
  REQUIRE(l.copy(way::in, 31, 1024, 1) == 32.5);          // the other direction is free, the issuing thread was not
  REQUIRE(l.copy(way::in, 40, 0, 0) == 40);
  REQUIRE(l.idle_at() == 35.25);
  REQUIRE(l.busy() == (128 + 512 + 4096 + 1024 + 1024) / 1024.0);
}

TEST_CASE("batches land when tier's virtual link lands their last copy") {
  serve::simulate::draws r(1);
  for (int trial = 0; trial < 50; ++trial) {
    const double launch = r.between(1e-6, 1e-5), bandwidth = r.between(1e9, 3e10);
    copy_engine batches({.bytes_per_second = bandwidth, .launch = launch});
    tier::virtual_link link({.launch_seconds = launch, .bytes_per_second = {bandwidth, bandwidth}, .copies = 1 << 16});
    double now = 0;
    for (std::uint32_t b = 0; b < 20; ++b) {
      now += r.exponential(1e-3);
      const std::uint64_t n = 1 + r.below(300), piece = 1 + r.below(1 << 18);
      const bool out = r.unit() < 0.5;
      const double ends = batches.copy(out ? way::out : way::in, now, n * piece, n);
      for (std::uint64_t i = 0; i < n; ++i)
        REQUIRE(link.start(b, {.way = out ? tier::lane::out : tier::lane::in, .bytes = piece}, now));
      tier::virtual_link until_then = link;  // a copy that is asked what will happen
      double last = now;
      for (std::uint64_t landed = 0; landed < n;) {
        last = until_then.wait(last);
        const auto l = until_then.poll(last);
        REQUIRE(l.has_value());
        landed += l->id == b;
      }
      REQUIRE(ends == Approx(last).epsilon(1e-9));
    }
  }
}
