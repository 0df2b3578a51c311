// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/copy_engine.hpp"

#include "catch.hpp"

using quire::serve::simulate::copy_engine;

TEST_CASE("a job takes its launches and its bytes, after those before it") {
  copy_engine l({.bytes_per_second = 1024, .launch = 0.25});
  REQUIRE(l.copy(10, 512, 2) == 11.0);    // 2 launches, half a second of bytes
  REQUIRE(l.copy(10, 1024, 1) == 12.25);  // waits for the first
  REQUIRE(l.copy(20, 0, 4) == 21.0);      // it was idle
  REQUIRE(l.free_at() == 21.0);
  REQUIRE(l.busy() == 1.0 + 1.25 + 1.0);
}

TEST_CASE("many small copies are bound by launches, one large copy by bandwidth") {
  const copy_engine::options pcie{};
  constexpr std::uint64_t piece = 32 * 1024;
  for (const std::uint64_t n : {1u, 64u, 4096u}) {
    copy_engine many(pcie), one(pcie);
    const double small = many.copy(0, n * piece, n), large = one.copy(0, n * piece, 1);
    REQUIRE(small - large == Approx(static_cast<double>(n - 1) * pcie.launch).margin(1e-12));
  }
}
