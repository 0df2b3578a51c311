// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/priorities.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire::serve::simulate;

TEST_CASE("priorities change once in 1/frequency steps, by seed") {
  priority_pattern p(10, {.frequency = 0.04, .seed = 1}), q(10, {.frequency = 0.04, .seed = 1});
  int changes = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t before = p.version();
    const bool changed = p.stepped();
    REQUIRE(q.stepped() == changed);
    REQUIRE((p.version() != before) == changed);
    changes += changed;
    for (std::uint32_t t = 0; t < 10; ++t) REQUIRE(p.of(t) == q.of(t));
  }
  REQUIRE(changes >= 39);
  REQUIRE(changes <= 40);
}

TEST_CASE("markov tenants stay in their class with the given probability, independent ones do not") {
  const auto stay_share = [](priority_pattern::kind kind) {
    priority_pattern p(200, {.pattern = kind, .frequency = 1, .stay = 0.8, .seed = 9});
    const auto middle = [&](std::uint32_t t) { return kind == priority_pattern::kind::markov ? p.of(t) > 0 : p.of(t) > 1 << 19; };
    int same = 0, all = 0;
    std::vector<bool> was(200);
    for (std::uint32_t t = 0; t < 200; ++t) was[t] = middle(t);
    for (int i = 0; i < 200; ++i) {
      REQUIRE(p.stepped());
      for (std::uint32_t t = 0; t < 200; ++t) same += middle(t) == was[t], was[t] = middle(t), ++all;
    }
    return same / static_cast<double>(all);
  };
  REQUIRE(stay_share(priority_pattern::kind::markov) == Approx(0.8).margin(0.01));
  REQUIRE(stay_share(priority_pattern::kind::independent) == Approx(0.5).margin(0.01));
}

TEST_CASE("the drawn order puts urgent tenants first and evicts them last as the pattern goes") {
  priority_pattern p(8, {.frequency = 1, .seed = 4});
  const drawn_order order{&p};
  const drawn_victim victim{&p};
  for (int step = 0; step < 20; ++step) {
    const std::uint64_t before = order.version();
    for (std::uint32_t a = 0; a < 8; ++a)
      for (std::uint32_t b = 0; b < 8; ++b) {
        const quire::schedule::request x{.id = a, .arrival = 1.0 * a, .tenant = a}, y{.id = b, .arrival = 1.0 * b, .tenant = b};
        REQUIRE(order.admit_before(x, y) == (a != b && (p.of(a) != p.of(b) ? p.of(a) > p.of(b) : a < b)));
        REQUIRE(order.yields(y, x) == (p.of(a) > p.of(b)));
        REQUIRE(victim.evict_before(y, x) == order.admit_before(x, y));
      }
    REQUIRE(p.stepped());
    REQUIRE(order.version() != before);
  }
}
