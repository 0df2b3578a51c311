// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/median_filter.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "quire/core/random.hpp"

using namespace quire;
using namespace quire::calibrate;

namespace {

/// Pads by hand, sorts every window.
std::vector<double> brute(const std::vector<double>& x, std::uint32_t window) {
  const std::size_t half = window / 2;
  std::vector<double> padded(half, x.front());
  padded.insert(padded.end(), x.begin(), x.end());
  std::ptrdiff_t at = static_cast<std::ptrdiff_t>(x.size()) - 1, way = -1;
  for (std::size_t i = 0; i < half; ++i) {  // walk to and fro, never standing still unless there is one sample
    if (x.size() > 1) {
      if (at + way < 0 || at + way >= static_cast<std::ptrdiff_t>(x.size())) way = -way;
      at += way;
    }
    padded.push_back(x[static_cast<std::size_t>(at)]);
  }
  std::vector<double> out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::vector<double> w(padded.begin() + static_cast<std::ptrdiff_t>(i), padded.begin() + static_cast<std::ptrdiff_t>(i + window));
    std::sort(w.begin(), w.end());
    out.push_back(w[half]);
  }
  return out;
}

}  // namespace

TEST_CASE("the running median equals sorting every window") {
  splitmix64 random(5);
  for (std::size_t n : {1u, 2u, 3u, 4u, 5u, 16u, 31u, 100u, 257u})
    for (std::uint32_t window : {1u, 3u, 5u, 9u, 31u, 99u, 501u})
      for (const bool ties : {false, true}) {
        std::vector<double> x(n), out(n);
        for (double& v : x) v = ties ? static_cast<double>(random.below(4)) : random.unit() - 0.5;
        REQUIRE(median_filter(x, window, out));
        INFO("n " << n << " window " << window << " ties " << ties);
        REQUIRE(out == brute(x, window));
        REQUIRE(median_filter(x, window, x));  // in place
        REQUIRE(out == x);
      }
}

TEST_CASE("the right edge is reflected, the left one repeated") {
  const std::vector<double> x{10, 1, 2, 3, 4, 5, 20};
  std::vector<double> out(x.size());
  REQUIRE(median_filter(x, 5, out));
  CHECK(out == std::vector<double>{10, 3, 3, 3, 4, 5, 5});
}

TEST_CASE("bad windows and samples are named") {
  std::vector<double> x{1, 2, 3}, out(3), two(2);
  CHECK(describe(median_filter(x, 2, out)) == "out_of_range: window (an odd number) is 2, allowed 1 to 2147483647");
  CHECK(describe(median_filter(x, 0, out)) == "out_of_range: window (an odd number) is 0, allowed 1 to 2147483647");
  CHECK(describe(median_filter(x, 3, two)) == "out_of_range: out size is 2, allowed 3 to 3");
  x[1] = std::numeric_limits<double>::infinity();
  CHECK(median_filter(x, 3, out) == status{errc::not_finite, "sample", 1});
  CHECK(median_filter(std::span<const double>(), 3, std::span<double>()));
}
