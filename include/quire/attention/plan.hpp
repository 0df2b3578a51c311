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

/// Blocks of query rows that a span is cut into, at multiples of `block` tokens: a power of two up to a tile.
QUIRE_HD constexpr std::uint32_t blocks_of(const query_span& s, std::uint32_t block) noexcept {
  return s.count == 0 ? 0 : (s.first + s.count - 1) / block - s.first / block + 1;
}
/// Item of a kv head and the span's i-th block. `shared`: leading pieces left out where the head keeps all tokens.
template <kv::Layout L>
QUIRE_HD constexpr work_item item_of(const L& layout, std::uint32_t layer, std::uint32_t head, std::uint32_t number, const query_span& s, std::uint32_t block, std::uint32_t i,
                                     std::uint32_t shared = 0) noexcept {
  const std::uint32_t begin = (s.first / block + i) * block, first = begin > s.first ? begin : s.first;
  const std::uint32_t end = s.first + s.count < begin + block ? s.first + s.count : begin + block;
  const std::uint32_t group = layout.slot(layer, head).group, tile = first / tile_tokens;
  const kv::visibility sees = layout.group_sees(group).whole_to(s.whole_until);
  work_item item{number, head, first, end - first, live_pieces_of(sees, first, tile + 1 + kv::extra_tiles(layout, group, tile, sees))};
  if (!sees.limited()) item.pieces.recent = item.prefix = shared;
  return item;
}

/// Visits the items of a step in a fixed order: f(item, its load, where it begins on the line). Returns the line's length. Heads
/// of one block come together, so that their tiles are read while query rows are warm. `shared(span)`: pieces that are left out
/// at the front of heads that keep all tokens.
template <kv::Layout L, Dealing D, class F, class Shared = nothing_shared>
std::uint64_t for_each_item(const L& layout, const problem& p, std::uint32_t layer, std::span<const query_span> spans, std::uint32_t block, const D& dealing, F&& f,
                            const Shared& shared = {}) {
  std::uint64_t at = 0;
  for (std::uint32_t s = 0; s < spans.size(); ++s)
    for (std::uint32_t i = 0; i < blocks_of(spans[s], block); ++i)
      for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
        const work_item item = item_of(layout, layer, h, s, spans[s], block, i, shared(s));
        const item_load load{item.pieces.count(), item.count * p.group()};
        f(item, load, at);
        at += dealing.length(load);
      }
  return at;
}

}  // namespace quire::inline v0::attention
