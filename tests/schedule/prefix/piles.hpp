// SPDX-License-Identifier: Apache-2.0
// Random piles of prompts that share a lot, and what they share by plain comparison of every pair.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "quire/schedule/prefix/pile.hpp"

using prompt_list = std::vector<std::vector<std::int32_t>>;

/// Views of a list of prompts; the list outlives it.
struct views {
  std::vector<std::span<const std::int32_t>> of;
  explicit views(const prompt_list& prompts) : of(prompts.begin(), prompts.end()) {}
  quire::schedule::prefix::pile<std::int32_t> pile() const { return {.prompts = of}; }
};

/// Prompts made by extending a beginning of an earlier one; some are equal, some empty, some a beginning of another.
inline prompt_list random_prompts(std::mt19937_64& random, std::size_t count, std::size_t most_new, std::int32_t symbols) {
  prompt_list out;
  for (std::size_t r = 0; r < count; ++r) {
    std::vector<std::int32_t> p;
    if (!out.empty() && random() % 8 != 0) {
      const auto& from = out[random() % out.size()];
      p.assign(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(random() % 3 == 0 ? from.size() : random() % (from.size() + 1)));
    }
    for (std::size_t k = random() % (most_new + 1); k-- > 0;) p.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(symbols)));
    out.push_back(std::move(p));
  }
  return out;
}

/// Tokens that need not be computed with every beginning computed once: all tokens less the distinct beginnings.
inline std::uint64_t naive_saved(const prompt_list& prompts) {
  std::set<std::vector<std::int32_t>> distinct;
  std::uint64_t total = 0;
  for (const auto& p : prompts) {
    total += p.size();
    for (std::size_t k = 1; k <= p.size(); ++k) distinct.emplace(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(k));
  }
  return total - distinct.size();
}

inline std::size_t naive_common(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}
