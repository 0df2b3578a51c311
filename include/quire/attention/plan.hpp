// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <span>

#include "../kv/view.hpp"
#include "plan/dealing.hpp"
#include "plan_view.hpp"
#include "problem.hpp"

namespace quire::inline v0::attention {

QUIRE_HD constexpr live_pieces live_pieces_of(kv::visibility sees, std::uint32_t first_query, std::uint32_t slots) noexcept {
  const std::uint32_t end = ceil_div(slots, piece_tiles);
  const std::uint32_t recent = sees.window_begin(first_query) / piece_tokens;
  const std::uint32_t sinks = ceil_div(sees.limited() ? sees.sinks : 0, piece_tokens);
  if (recent <= sinks) return {0, 0, end};
  return {sinks, recent < end ? recent : end, end};
}

/// Query tokens per item: a power of two up to a tile, so that rows (tokens × group) and their states stay in L2.
constexpr std::uint32_t block_tokens(const problem& p) noexcept {
  const std::uint32_t rows = std::clamp<std::uint32_t>(16384 / p.dim_k, 32, 192);
  return std::min(tile_tokens, std::bit_floor(std::max(1u, rows / p.group())));
}
constexpr std::uint32_t item_rows(const problem& p) noexcept { return block_tokens(p) * p.group(); }

/// Leading pieces of a span that somebody else folds: none.
struct nothing_shared {
  constexpr std::uint32_t operator()(std::uint32_t) const noexcept { return 0; }
};

/// Visits the items of a step in a fixed order: f(item, its load, where it begins on the line). Returns the line's length. Heads
/// of one block come together, so that their tiles are read while query rows are warm. `block`: query tokens of an item at most,
/// a power of two up to a tile. `shared(span)`: pieces that are left out at the front of heads that keep all tokens.
template <kv::Layout L, Dealing D, class F, class Shared = nothing_shared>
std::uint64_t for_each_item(const L& layout, const problem& p, std::uint32_t layer, std::span<const query_span> spans, std::uint32_t block, const D& dealing, F&& f,
                            const Shared& shared = {}) {
  std::uint64_t at = 0;
  for (std::uint32_t s = 0; s < spans.size(); ++s) {
    const std::uint32_t end = spans[s].first + spans[s].count;
    for (std::uint32_t first = spans[s].first, stop = 0; first < end; first = stop) {
      stop = std::min(end, (first / block + 1) * block);
      for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
        const std::uint32_t group = layout.slot(layer, h).group, tile = first / tile_tokens;
        work_item item{s, h, first, stop - first, live_pieces_of(layout.group_sees(group), first, tile + 1 + kv::extra_tiles(layout, group, tile))};
        if (!layout.group_sees(group).limited()) item.pieces.recent = item.prefix = shared(s);
        const item_load load{item.pieces.count(), item.count * p.group()};
        f(item, load, at);
        at += dealing.length(load);
      }
    }
  }
  return at;
}

}  // namespace quire::inline v0::attention
