// SPDX-License-Identifier: Apache-2.0
// Dealing: the pieces of all items of a step lie on one line, and workers get equal stretches of it. A way of dealing says how
// long an item is and where its pieces begin; a piece belongs to the worker whose stretch holds its beginning.
#pragma once

#include <algorithm>
#include <concepts>
#include <type_traits>

#include "../../core/deal.hpp"

namespace quire::inline v0::attention {

/// What dealing knows of an item.
struct item_load {
  std::uint32_t pieces = 0, rows = 0;   ///< rows: query rows that each piece is folded for
};

/// What folding costs, in eighths of the time that one more query row adds to a piece. Beginning an item: taking its queries,
/// writing or merging its states. A piece: reading its tiles, then arithmetic for each row.
/// Measured by bench_dealing on one thread: head size 64 and 128, bf16 and int4, 1 to 192 rows. A row adds 490-620 ns to a piece
/// at 64 channels and 800-1070 at 128; the tiles cost as much as 5 to 10 rows from memory and half a row from L2; a start costs
/// 0.1-0.15 of a row for each row, 0.7-1 where queries and outputs are rotated. Caches of a model's layers come from memory.
struct fold_costs {
  std::uint32_t start = 2, start_row = 2;
  std::uint32_t piece = 48, piece_row = 8;

  QUIRE_HD constexpr std::uint64_t start_of(std::uint32_t rows) const noexcept { return start + std::uint64_t{start_row} * rows; }
  QUIRE_HD constexpr std::uint64_t piece_of(std::uint32_t rows) const noexcept { return piece + std::uint64_t{piece_row} * rows; }
};

/// length: of the item on the line, 0 for an item without pieces. piece_at: ordinal of the first piece that begins at or past
/// `at` (counted from the item's beginning), `pieces` where none does; piece_at(i, 0) is 0 and no piece begins past the length.
template <class D>
concept Dealing = std::is_trivially_copyable_v<D> && requires(const D d, item_load i, std::uint64_t at) {
  { d.length(i) } noexcept -> std::same_as<std::uint64_t>;
  { d.piece_at(i, at) } noexcept -> std::same_as<std::uint32_t>;
};

/// Ordinals of an item's pieces that begin on the stretch `mine` of the line, where `before` is the length of all items before.
template <Dealing D>
QUIRE_HD constexpr range share_of(const D& d, item_load i, std::uint64_t before, range mine) noexcept {
  const std::uint64_t length = d.length(i);
  const auto first = [&](std::uint64_t at) -> std::uint64_t { return at <= before ? 0 : at - before >= length ? i.pieces : d.piece_at(i, at - before); };
  const range r{first(mine.begin), first(mine.end)};
  return r.begin < r.end ? r : range{};
}

/// Stretches of equal cost, whatever items they cut: stream-K from true lengths with a start cost for each item. A worker ends at
/// most one grain and one start past its stretch. Items are cut at multiples of `grain` pieces; their last grain takes the rest.
/// from: LeanAttention (arXiv:2405.10480), FlashMLA's payload rule; test: tests/attention/plan/dealing.cpp
struct lean {
  fold_costs costs{};
  std::uint32_t grain = 1;

  QUIRE_HD constexpr std::uint64_t length(item_load i) const noexcept { return i.pieces == 0 ? 0 : costs.start_of(i.rows) + i.pieces * costs.piece_of(i.rows); }
  QUIRE_HD constexpr std::uint32_t piece_at(item_load i, std::uint64_t at) const noexcept {
    if (at == 0 || i.pieces == 0) return 0;
    const std::uint64_t one = grain * costs.piece_of(i.rows), second = costs.start_of(i.rows) + one;  // the start is paid before the first piece
    const std::uint64_t n = at <= second ? 1 : 1 + (at - second + one - 1) / one;
    return n < i.pieces / grain ? static_cast<std::uint32_t>(n) * grain : i.pieces;
  }
};
static_assert(Dealing<lean>);

}  // namespace quire::inline v0::attention
