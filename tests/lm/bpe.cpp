// SPDX-License-Identifier: Apache-2.0
#include "lm/bpe.hpp"

#include <chrono>
#include <map>
#include <random>

#include "catch.hpp"

using namespace quire_lm;

namespace {

/// A table of random merges over the letters a to e, and the same as an ordered list.
struct random_merges {
  merge_table table;
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  explicit random_merges(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::string> known{"a", "b", "c", "d", "e"};
    for (int i = 0; i < 60; ++i) {
      const std::string l = known[random() % known.size()], r = known[random() % known.size()];
      table.add(l, r);
      ranks.emplace(std::pair(l, r), ranks.size() + 1000 * static_cast<std::size_t>(i));
      if (l.size() + r.size() < 12) known.push_back(l + r);
    }
  }
  /// The definition: while some neighbours have a rank, merge the lowest, leftmost pair.
  std::vector<std::string> naive(const std::string& word) const {
    std::vector<std::string> parts;
    for (const char c : word) parts.emplace_back(1, c);
    for (;;) {
      std::size_t best = SIZE_MAX, at = 0;
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto it = ranks.find({parts[i], parts[i + 1]});
        if (it != ranks.end() && it->second < best) best = it->second, at = i;
      }
      if (best == SIZE_MAX) return parts;
      parts[at] += parts[at + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
  }
};

}  // namespace

TEST_CASE("merging by scan and by queue both do what the definition says") {
  std::mt19937_64 random(3);
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const random_merges merges(seed);
    merger merge(merges.table);
    for (int i = 0; i < 50; ++i) {
      std::string word;
      for (std::uint64_t n = random() % 60; n > 0; --n)
        word += static_cast<char>('a' + random() % (seed % 2 == 0 ? 5 : 2));
      const auto expected = merges.naive(word);
      for (const std::size_t scan_below : {std::size_t{0}, std::size_t{1000}}) {
        std::vector<std::string> got;
        for (const symbol s : merge(word, scan_below)) got.push_back(merges.table.text(s));
        REQUIRE(got == expected);
      }
    }
  }
}

TEST_CASE("a word of a megabyte merges in time that is not quadratic") {
  merge_table table;
  std::string run = "a";
  for (int i = 0; i < 12; ++i) {
    table.add(run, run);
    run += run;
  }
  merger merge(table);
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(merge(std::string(std::size_t{1} << 20, 'a')).size() == 256);
  REQUIRE(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));  // quadratic work would take hours
}
