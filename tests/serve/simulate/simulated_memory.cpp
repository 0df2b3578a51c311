// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/simulated_memory.hpp"

#include "catch.hpp"

using namespace quire;
using quire::serve::simulate::SimulatedMemory;
using schedule::request_id;

namespace {
struct endless {
  status reserve(request_id, std::uint32_t) { return {}; }
  void release(request_id) {}
  void at(double) {}
  void settle() {}
  double starts_at(double now) const { return now; }
  double wakes_at() const { return 1e300; }
  void computed(request_id, std::uint32_t) {}
  void ended(request_id) {}
};
struct timeless : endless {
  void at(double) = delete;
};
struct unsettled : endless {
  int settle() { return 0; }
};
struct changes_when_asked : endless {
  double wakes_at() { return 0; }  // must be const: asking moves nothing
};
struct roomless {
  void at(double) {}
  void settle() {}
  double starts_at(double now) const { return now; }
  double wakes_at() const { return 0; }
  void computed(request_id, std::uint32_t) {}
  void ended(request_id) {}
};
}  // namespace

TEST_CASE("a simulated memory is a scheduler's memory that knows the time, and near misses are none") {
  STATIC_REQUIRE(SimulatedMemory<endless>);
  STATIC_REQUIRE_FALSE(SimulatedMemory<timeless>);
  STATIC_REQUIRE_FALSE(SimulatedMemory<unsettled>);
  STATIC_REQUIRE_FALSE(SimulatedMemory<changes_when_asked>);
  STATIC_REQUIRE_FALSE(SimulatedMemory<roomless>);
}
