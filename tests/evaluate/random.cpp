// SPDX-License-Identifier: Apache-2.0
#include "quire/evaluate/random.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <vector>

#include "catch.hpp"

using namespace quire::evaluate;

TEST_CASE("draws are the published sequence, on every machine") {
  draws d(1234567);  // SplitMix64's first outputs for this seed
  for (const std::uint64_t x : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u, 16408922859458223821u})
    REQUIRE(d.bits() == x);
}

TEST_CASE("draws below n reach every value about equally often") {
  draws d(3);
  for (const std::uint64_t n : {1u, 2u, 7u, 32u}) {
    std::vector<double> count(n, 0.0);
    for (int i = 0; i < 32000; ++i) count[static_cast<std::size_t>(d.below(n))] += 1;
    double chi = 0;
    for (const double c : count) chi += (c - 32000.0 / static_cast<double>(n)) * (c - 32000.0 / static_cast<double>(n)) / (32000.0 / static_cast<double>(n));
    REQUIRE(chi < 3 * static_cast<double>(n) + 12);  // beyond any likely value for n − 1 degrees
  }
  double mean = 0;
  for (int i = 0; i < 10000; ++i) {
    const double u = d.unit();
    REQUIRE((u >= 0 && u < 1));
    mean += u / 10000;
  }
  REQUIRE(mean == Approx(0.5).margin(0.02));
}

TEST_CASE("a shuffle keeps every element and reaches every order") {
  std::set<std::array<int, 4>> orders;
  draws d(9);
  for (int i = 0; i < 2000; ++i) {
    std::array<int, 4> x{0, 1, 2, 3};
    d.shuffle(std::span<int>(x));
    orders.insert(x);
    std::sort(x.begin(), x.end());
    REQUIRE(x == std::array<int, 4>{0, 1, 2, 3});
  }
  REQUIRE(orders.size() == 24);
}

TEST_CASE("parts differ from each other and from the whole, and can be made again") {
  const draws whole(5);
  std::set<std::uint64_t> firsts{draws(5).bits()};
  for (std::uint64_t i = 0; i < 1000; ++i) {
    firsts.insert(whole.part(i).bits());
    REQUIRE(whole.part(i).bits() == draws(5).part(i).bits());
  }
  REQUIRE(firsts.size() == 1001);
}
