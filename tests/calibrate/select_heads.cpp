// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/select_heads.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "catch.hpp"
#include "quire/core/random.hpp"

using namespace quire;
using namespace quire::calibrate;
using classes = std::vector<std::uint8_t>;

namespace {
int count(const classes& c) { return std::accumulate(c.begin(), c.end(), 0); }
}  // namespace

TEST_CASE("a quantile keeps exactly the wanted number of heads, ties by index") {
  classes c;
  REQUIRE(select_by_sparsity(std::vector<double>{0.5, 1, 0.5, 0.5, 0}, 0.4, c));
  CHECK(c == classes{1, 1, 1, 0, 0});
  REQUIRE(select_by_sparsity(std::vector<double>(6, 1.0), 0.5, c));
  CHECK(c == classes{1, 1, 1, 0, 0, 0});
  const double inf = std::numeric_limits<double>::infinity();
  REQUIRE(select_top(std::vector<double>{-inf, inf, 0}, 2, c));
  CHECK(c == classes{0, 1, 1});
  splitmix64 random(1);
  std::vector<double> scores(90);
  for (double& x : scores) x = static_cast<double>(random.below(5));  // many ties
  for (int percent = 0; percent <= 100; ++percent) {
    REQUIRE(select_by_sparsity(scores, percent / 100.0, c));
    REQUIRE(count(c) == 90 - static_cast<int>(std::lround(0.9 * percent)));
    for (std::size_t a = 0; a < 90; ++a)
      for (std::size_t b = 0; b < 90; ++b)
        if (c[a] && !c[b] && (scores[a] < scores[b] || (scores[a] == scores[b] && a > b))) FAIL("head " << b << " should come before " << a);
  }
}

TEST_CASE("a threshold keeps what reaches it") {
  classes c;
  REQUIRE(select_by_threshold(std::vector<double>{0.5, 0.49, 1, 0}, 0.5, c));
  CHECK(c == classes{1, 0, 1, 0});
}

TEST_CASE("the union takes 13 and 1 of 90 heads, and a head in both once") {
  std::vector<double> induction(90, 0.0), echo(90, 0.0);
  for (std::size_t h = 0; h < 90; ++h) induction[h] = static_cast<double>(h);
  echo[3] = 1;
  classes c;
  REQUIRE(select_union(induction, echo, c));
  CHECK(count(c) == 14);
  CHECK(c[3] == 1);
  CHECK(c[77] == 1);
  CHECK(c[76] == 0);
  echo[89] = 2;
  REQUIRE(select_union(induction, echo, c));
  CHECK(count(c) == 13);
  REQUIRE(select_union(std::vector<double>(90, 0.5), std::vector<double>(90, 0.5), c));  // all tied: still k, not all
  CHECK(count(c) == 13);
  REQUIRE(select_union(induction, echo, c, {.induction = 0, .echo = 0.001}));
  CHECK(count(c) == 1);
  REQUIRE(select_union(induction, echo, c, {.induction = 0, .echo = 0}));
  CHECK(count(c) == 0);
}

TEST_CASE("bad requests are named and change nothing") {
  classes c{7};
  const std::vector<double> ok{1, 2}, nan{1, std::nan("")};
  CHECK(describe(select_by_sparsity(ok, 1.5, c)) == "out_of_range: sparsity, in millionths is 1500000, allowed 0 to 1000000");
  CHECK(select_by_sparsity(ok, std::nan(""), c).code == errc::out_of_range);
  CHECK(describe(select_top(ok, 3, c)) == "out_of_range: k is 3, allowed 0 to 2");
  CHECK(select_top(nan, 1, c) == status{errc::not_finite, "score of head", 1});
  CHECK(select_by_threshold(nan, 1, c).code == errc::not_finite);
  CHECK(select_by_threshold(ok, std::nan(""), c) == status{errc::not_finite, "threshold"});
  CHECK(describe(select_union(ok, std::vector<double>{1}, c)) == "out_of_range: echo scores (how many) is 1, allowed 2 to 2");
  CHECK(select_union(ok, nan, c) == status{errc::not_finite, "score of head", 1});
  CHECK(select_union(ok, ok, c, {.induction = -1}).code == errc::out_of_range);
  CHECK(c == classes{7});
}
