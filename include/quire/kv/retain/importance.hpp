// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include "../../core/extents.hpp"

namespace quire::inline v0::kv::retain {

/// Who stays exact: a share of all tokens, part of it the newest, the rest those that received most attention.
/// Decided when a tile fills, so the choice depends on tokens and never on the chunking; a token once let go never returns.
/// `score`: attention received, summed over query rows and the query heads of a kv head. It favours early tokens, which more
/// rows have seen; `per_row` divides by the number of rows that could see the token.
/// from: H2O (arXiv:2306.14048) for the score, MiKV (arXiv:2402.18096) for the use; test: tests/kv/retain/importance.cpp
struct importance {
  float share = 0.2f;             ///< of all tokens, 0 to 1
  std::uint32_t least = 64;       ///< tokens kept however short the sequence is
  std::uint32_t most = ~0u;       ///< and never more than these: a fixed budget
  float recent = 0.5f;            ///< part of the budget that the newest tokens hold
  bool per_row = false;

  /// Tokens kept of `tokens`: never falls, and rises by at most as many as came.
  QUIRE_HD constexpr std::uint32_t budget(std::uint32_t tokens) const noexcept {
    const auto part = static_cast<std::uint32_t>(static_cast<double>(share) * tokens);
    std::uint32_t n = part > least ? part : least;
    n = n < most ? n : most;
    return n < tokens ? n : tokens;
  }
  /// How many of `keep` tokens are kept because they are the newest.
  QUIRE_HD constexpr std::uint32_t newest(std::uint32_t keep) const noexcept { return static_cast<std::uint32_t>(static_cast<double>(recent) * keep); }

  struct candidate {
    float score = 0;
    std::uint32_t position = 0;
    std::uint32_t place = 0;   ///< the caller's name for it
  };
  /// Reorders `all`, candidates after `tokens` tokens, so that those who stay come first; returns how many do.
  /// cost: linear in the candidates. Ties go to the newer token.
  std::uint32_t choose(std::span<candidate> all, std::uint32_t tokens) const noexcept {
    const std::uint32_t keep = std::min(budget(tokens), static_cast<std::uint32_t>(all.size()));
    const std::uint32_t protect = tokens - newest(keep);
    if (per_row)
      for (candidate& c : all) c.score /= static_cast<float>(tokens - c.position);
    const auto before = [&](const candidate& a, const candidate& b) {
      const bool pa = a.position >= protect, pb = b.position >= protect;
      if (pa != pb) return pa;
      if (a.score != b.score && !pa) return a.score > b.score;
      return a.position > b.position;
    };
    if (keep < all.size()) std::nth_element(all.begin(), all.begin() + keep, all.end(), before);
    return keep;
  }
};

}  // namespace quire::inline v0::kv::retain
