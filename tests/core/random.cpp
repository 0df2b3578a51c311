// SPDX-License-Identifier: Apache-2.0
#include "quire/core/random.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "catch.hpp"

using quire::splitmix64;

TEST_CASE("the generator gives the published sequence") {
  splitmix64 r(1234567);  // reference output of SplitMix64 for this seed
  CHECK(r() == 6457827717110365317u);
  CHECK(r() == 3203168211198807973u);
  CHECK(r() == 9817491932198370423u);
  CHECK(r() == 4593380528125082431u);
  CHECK(r() == 16408922859458223821u);
}

TEST_CASE("numbers below a bound are uniform and stay below it") {
  splitmix64 r(7);
  for (std::uint64_t n : {1u, 2u, 3u, 7u, 10u}) {
    std::vector<int> count(n, 0);
    const int draws = 20000;
    for (int i = 0; i < draws; ++i) {
      const std::uint64_t x = r.below(n);
      REQUIRE(x < n);
      ++count[x];
    }
    const double want = draws / static_cast<double>(n);
    for (const int c : count) CHECK(c == Approx(want).margin(5 * std::sqrt(want) + 1));
  }
  CHECK(r.below(std::uint64_t{1} << 63 | 1) <= std::uint64_t{1} << 63);
}

TEST_CASE("the unit interval is open above and its mean is a half") {
  splitmix64 r(3);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = r.unit();
    if (!(x >= 0 && x < 1)) FAIL(x);
    sum += x;
  }
  CHECK(sum / 100000 == Approx(0.5).margin(0.005));
}

TEST_CASE("a shuffle is a permutation, every order of three as likely") {
  splitmix64 r(11);
  int count[6] = {};
  for (int i = 0; i < 12000; ++i) {
    int x[] = {0, 1, 2};
    r.shuffle(std::span<int>(x));
    ++count[x[0] * 2 + (x[1] > x[2] ? 1 : 0)];
  }
  for (const int c : count) CHECK(c == Approx(2000).margin(220));
  std::vector<int> big(1000);
  std::iota(big.begin(), big.end(), 0);
  r.shuffle(std::span(big));
  CHECK_FALSE(std::is_sorted(big.begin(), big.end()));
  std::sort(big.begin(), big.end());
  for (int i = 0; i < 1000; ++i) REQUIRE(big[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("parts differ from each other and from the whole, and can be made again") {
  const splitmix64 whole(5);
  std::set<std::uint64_t> firsts{splitmix64(5)()};
  for (std::uint64_t i = 0; i < 1000; ++i) {
    firsts.insert(whole.part(i)());
    REQUIRE(whole.part(i)() == splitmix64(5).part(i)());
  }
  REQUIRE(firsts.size() == 1001);
  CHECK(splitmix64(5).part(3)() == 13474341544647550825u);  // committed results were drawn from these parts
}
