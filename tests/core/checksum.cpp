// SPDX-License-Identifier: Apache-2.0
#include "quire/core/checksum.hpp"

#include <random>
#include <set>
#include <string_view>
#include <vector>

#include "catch.hpp"

using namespace quire;

namespace {
std::uint64_t of(const std::vector<unsigned char>& bytes) {
  checksum c;
  c.add(bytes.data(), bytes.size());
  return c.value();
}
}  // namespace

TEST_CASE("a checksum sees every bit, every length and the order, and not how bytes were cut") {
  std::mt19937 random(5);
  std::vector<unsigned char> bytes(203);
  for (auto& b : bytes) b = static_cast<unsigned char>(random());
  const std::uint64_t whole = of(bytes);
  for (int round = 0; round < 100; ++round) {
    checksum c;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t n = std::min<std::size_t>(random() % 23, bytes.size() - at);
      c.add(bytes.data() + at, n);
      at += n;
    }
    REQUIRE(c.value() == whole);
  }
  std::set<std::uint64_t> seen{whole};
  for (std::size_t i = 0; i < bytes.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = static_cast<unsigned char>(bytes[i] ^ 1 << bit);
      REQUIRE(seen.insert(of(bytes)).second);
      bytes[i] = static_cast<unsigned char>(bytes[i] ^ 1 << bit);
    }
  std::vector<unsigned char> zeros;
  for (int n = 0; n < 100; ++n, zeros.push_back(0)) REQUIRE(seen.insert(of(zeros)).second);
}

TEST_CASE("a word is its eight bytes") {
  const std::uint64_t w = 0x0123456789abcdefu;
  checksum a, b;
  a.add(w);
  b.add(&w, 8);
  CHECK(a.value() == b.value());
}

TEST_CASE("FNV-1a gives the published values") {
  const auto of_text = [](std::string_view text) { return fnv1a(std::as_bytes(std::span(text))); };
  CHECK(of_text("") == 0xcbf29ce484222325u);
  CHECK(of_text("a") == 0xaf63dc4c8601ec8cu);
  CHECK(of_text("foobar") == 0x85944171f73967e8u);
}
