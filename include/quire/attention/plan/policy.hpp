// SPDX-License-Identifier: Apache-2.0
// Policies: which way of dealing a step gets, chosen from what the whole step holds. All are cuts of one line of pieces, and pieces
// and their merge tree are fixed, so a policy changes speed and never a bit of a result: every one of them is batch-invariant.
#pragma once

#include "dealing.hpp"

namespace quire::inline v0::attention {

/// What a policy knows of a step.
struct step_totals {
  std::uint64_t pieces = 0;
  std::uint32_t items = 0;
  std::uint32_t longest = 0;   ///< pieces of the item with most
};

/// Stretches of `size` pieces, each item cut on its own: what splitting kernels do. One unit of the line is one share.
struct even_shares {
  std::uint32_t size = ~0u;   ///< at least 1

  QUIRE_HD constexpr std::uint64_t length(item_load i) const noexcept { return (std::uint64_t{i.pieces} + size - 1) / size; }
  QUIRE_HD constexpr std::uint32_t piece_at(item_load i, std::uint64_t at) const noexcept {
    const std::uint64_t piece = at * size;
    return piece < i.pieces ? static_cast<std::uint32_t>(piece) : i.pieces;
  }
};
static_assert(Dealing<even_shares>);

/// dealing(totals, units): how this step is laid on the line; units: workers that run at a time (thread blocks that a device
/// holds, threads of a team). workers(totals, length of the line, units): how many get a stretch of it, deal()ed evenly; more than
/// `units` start as others end.
template <class P>
concept Policy = std::is_trivially_copyable_v<P> && requires(const P p, step_totals t, std::uint64_t length, std::uint32_t units) {
  { p.dealing(t, units) } noexcept -> Dealing;
  { p.workers(t, length, units) } noexcept -> std::same_as<std::uint32_t>;
};

/// Equal cost for every worker that runs; the default. Workers are fewer where they would not get `least` pieces each: below that,
/// writing and merging states costs more than another worker saves (LeanAttention: two tiles of 128 tokens, one piece of ours).
struct lean_split : lean {
  std::uint32_t least = 1;

  QUIRE_HD constexpr lean dealing(step_totals, std::uint32_t) const noexcept { return *this; }
  QUIRE_HD constexpr std::uint32_t workers(step_totals t, std::uint64_t, std::uint32_t units) const noexcept {
    const std::uint64_t most = t.pieces / least;
    return t.pieces == 0 ? 0 : most == 0 ? 1 : most < units ? static_cast<std::uint32_t>(most) : units;
  }
};
static_assert(Policy<lean_split>);

/// One worker for each share; the base of what splits items one by one.
struct share_per_worker {
  QUIRE_HD constexpr std::uint32_t workers(step_totals, std::uint64_t length, std::uint32_t) const noexcept { return static_cast<std::uint32_t>(length); }
};

/// One worker for each item, as FlashAttention-2 without splits.
struct no_split : share_per_worker {
  QUIRE_HD constexpr even_shares dealing(step_totals, std::uint32_t) const noexcept { return {}; }
};
static_assert(Policy<no_split>);

/// `splits` stretches of the longest item; shorter ones have fewer of the same size. Flash-Decoding.
struct fixed_split : share_per_worker {
  std::uint32_t splits = 1;   ///< at least 1

  QUIRE_HD constexpr even_shares dealing(step_totals t, std::uint32_t) const noexcept {
    const std::uint32_t size = t.longest / splits + (t.longest % splits != 0);
    return {size == 0 ? 1 : size};
  }
};
static_assert(Policy<fixed_split>);

/// FlashAttention's rule for the number of splits, in the form of its third version: none where items fill four fifths of the
/// units, none for items of four blocks or fewer, else the smallest number whose last wave is within 85 % of the best.
QUIRE_HD constexpr std::uint32_t heuristic_splits(std::uint32_t items, std::uint32_t longest, std::uint32_t units) noexcept {
  if (items == 0 || longest <= 4 || items * 5.0 >= units * 4.0) return 1;
  constexpr std::uint32_t limit = 128;
  const std::uint32_t most = std::min(limit, std::min(units, longest));
  const auto efficiency = [&](std::uint32_t splits) {
    const std::uint64_t work = std::uint64_t{items} * splits, waves = (work + units - 1) / units;
    return static_cast<double>(work) / static_cast<double>(waves * units);
  };
  double best = 0;
  for (std::uint32_t s = 1; s <= most; ++s) best = std::max(best, efficiency(s));
  for (std::uint32_t s = 1; s <= most; ++s)
    if (efficiency(s) >= 0.85 * best) return s;
  return 1;
}
/// from: FlashAttention-3 (arXiv:2407.08608), its decode heuristic
struct heuristic_split : share_per_worker {
  QUIRE_HD constexpr even_shares dealing(step_totals t, std::uint32_t units) const noexcept {
    return fixed_split{{}, heuristic_splits(t.items, t.longest, units)}.dealing(t, units);
  }
};
static_assert(Policy<heuristic_split>);

}  // namespace quire::inline v0::attention
