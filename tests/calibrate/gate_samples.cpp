// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/gate_samples.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "quire/core/random.hpp"

using namespace quire;
using namespace quire::calibrate;

namespace {
gate_samples some() {
  gate_samples s{.layers = 2, .kv_heads = 2, .samples = 3, .d = std::vector<double>(48)};
  splitmix64 random(1);
  for (double& x : s.d) x = random.unit() / 3;
  return s;
}
std::vector<std::byte> bytes_of(const gate_samples& s) {
  std::vector<std::byte> b;
  REQUIRE(gate_file::write(s, b));
  return b;
}
void seal(std::vector<std::byte>& b) { gate_file::detail::store(b.data() + b.size() - 8, quire::fnv1a({b.data(), b.size() - 8}), 8); }
}  // namespace

TEST_CASE("samples come back from their bytes") {
  const auto s = some();
  const auto b = bytes_of(s);
  CHECK(b.size() == 24 + 48 * 8 + 8);
  CHECK(std::to_integer<int>(b[0]) == 'q');
  CHECK(std::to_integer<int>(b[8]) == 1);
  gate_samples back;
  REQUIRE(gate_file::read(b, back));
  CHECK(back == s);
  CHECK(back.sample(1)[0] == s.d[16]);
}

TEST_CASE("no cut and no changed bit is taken") {
  const auto good = bytes_of(some());
  gate_samples out;
  for (std::size_t n = 0; n < good.size(); ++n)
    if (gate_file::read(std::span(good).first(n), out)) FAIL("cut at " << n);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    if (gate_file::read(bad, out)) FAIL("bit " << bit);
  }
  CHECK(out.d.empty());
}

TEST_CASE("what is wrong with a file is named") {
  gate_samples out;
  auto b = bytes_of(some());
  b[8] = std::byte{2};
  CHECK(describe(gate_file::read(b, out)) == "version_mismatch: version of the gate file is 2, allowed 1 to 1");
  b = bytes_of(some());
  b[0] = std::byte{'Q'};
  CHECK(gate_file::read(b, out).code == errc::corrupt);
  b = bytes_of(some());
  b[12] = b[13] = b[14] = b[15] = std::byte{0xff};
  CHECK(gate_file::read(b, out).code == errc::out_of_range);  // and nothing is allocated for it
  b = bytes_of(some());
  b[20] = std::byte{4};
  CHECK(describe(gate_file::read(b, out)) == "corrupt: gate file (size) is 416, allowed 544 to 544");
  b = bytes_of(some());
  for (std::size_t i = 24; i < 32; ++i) b[i] = std::byte{0xff};
  seal(b);
  CHECK(gate_file::read(b, out) == status{errc::not_finite, "element of the gate file", 0});
  auto s = some();
  s.d.pop_back();
  CHECK(describe(gate_file::write(s, b)) == "out_of_range: elements of the gate file is 47, allowed 48 to 48");
  s.layers = 0;
  CHECK(gate_file::write(s, b).code == errc::out_of_range);
}
