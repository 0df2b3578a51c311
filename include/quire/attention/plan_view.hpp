// SPDX-License-Identifier: Apache-2.0
// A planned step as its readers see it: items, and cuts of the one line that the pieces of all items make. Arrays in memory
// of the caller's, the same on a host and a device.
#pragma once

#include <bit>
#include <type_traits>

#include "../core/deal.hpp"
#include "../core/extents.hpp"

namespace quire::inline v0::attention {

/// Consecutive query rows of one sequence in a step: rows [row, row + count) stand at positions [first, first + count).
struct query_span {
  std::uint32_t sequence = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint32_t row = 0;
  std::uint32_t whole_until = 0;   ///< the sequence's (kv::store::whole_until): plans depend on it
};

/// The rows of a span that stand in its k-th tile; none where it has fewer. What stepwise layouts take at a time.
QUIRE_HD constexpr query_span rows_in_tile(const query_span& s, std::uint32_t k) noexcept {
  const std::uint32_t tile = s.first / tile_tokens + k, from = s.first > tile * tile_tokens ? s.first : tile * tile_tokens;
  const std::uint32_t end = s.first + s.count, to = end < (tile + 1) * tile_tokens ? end : (tile + 1) * tile_tokens;
  return {s.sequence, from, from < to ? to - from : 0, s.row + from - s.first, s.whole_until};
}

/// Pieces with a token that some row of an item sees: [0, sinks) and [recent, end). Others are the identity.
struct live_pieces {
  std::uint32_t sinks = 0, recent = 0, end = 0;
  QUIRE_HD constexpr std::uint32_t count() const noexcept { return sinks + (end - recent); }
  /// The piece of ordinal i among the live ones.
  QUIRE_HD constexpr std::uint32_t piece(std::uint32_t i) const noexcept { return i < sinks ? i : i - sinks + recent; }
  friend bool operator==(const live_pieces&, const live_pieces&) = default;
};

/// The unit of planning: the query rows of one tile-aligned block of one sequence against one kv head.
struct work_item {
  std::uint32_t span = 0;          ///< index of its query_span
  std::uint32_t head = 0;          ///< kv head
  std::uint32_t first = 0, count = 0;  ///< query positions, all inside one tile
  live_pieces pieces;
  std::uint32_t prefix = 0;            ///< pieces at the front that were folded for several spans at once; not among `pieces`
  friend bool operator==(const work_item&, const work_item&) = default;
};

/// An item and who folds it: workers [first_worker, first_worker + workers), in the order of its pieces, each at least one.
/// Items [0, prefix_items) of a plan are shared prefixes: their rows are those of `count` spans, members [link, link + count) of the
/// plan, each standing behind the prefix. An item with a prefix begins with rows `ordinal`·group and on of item `link`.
struct plan_item : work_item {
  std::uint32_t first_worker = 0, workers = 0;
  std::uint32_t link = 0, ordinal = 0;
  friend bool operator==(const plan_item&, const plan_item&) = default;
};
/// One of those who share a prefix: its span, and the item that goes on from the prefix.
struct plan_member {
  std::uint32_t span = 0, item = 0;
  friend bool operator==(const plan_member&, const plan_member&) = default;
};

/// A place on the line: before the live piece of ordinal `piece` of an item. The line's end is {item_count, 0}.
struct plan_cut {
  std::uint32_t item = 0, piece = 0;
  friend bool operator==(const plan_cut&, const plan_cut&) = default;
};

/// Worker w folds from cuts[w] to cuts[w + 1]: part of an item begun before, whole items, part of one that others end. So a
/// worker shares at most its first item and its last with others. Workers [0, workers) fold something; `slots` is how many
/// cuts there are room for, and the cuts of workers past `workers` are the line's end, so a grid of `slots` blocks is always right.
struct plan_view {
  const plan_item* items = nullptr;   ///< [item_count]
  const plan_cut* cuts = nullptr;     ///< [slots + 1]
  const query_span* spans = nullptr;  ///< [span_count]
  const plan_member* members = nullptr;
  std::uint32_t item_count = 0, span_count = 0;
  std::uint32_t prefix_items = 0, member_count = 0;
  std::uint32_t workers = 0, slots = 0;
  std::uint32_t depth = 0;            ///< states that a worker's subtree stack holds at most, the one being folded included
  std::uint32_t merge_depth = 0;      ///< the same for whoever merges all shares of one item from the left
};
static_assert(std::is_trivially_copyable_v<plan_item> && std::is_trivially_copyable_v<plan_cut> && std::is_trivially_copyable_v<plan_view>);

/// Ordinals of the live pieces of `item` that `worker` folds.
QUIRE_HD constexpr range pieces_of(const plan_view& p, std::uint32_t worker, std::uint32_t item) noexcept {
  const plan_cut from = p.cuts[worker], to = p.cuts[worker + 1];
  if (item < from.item || item > to.item) return {};
  const std::uint32_t begin = item == from.item ? from.piece : 0, end = item == to.item ? to.piece : p.items[item].pieces.count();
  return begin < end ? range{begin, end} : range{};
}
/// Items of which `worker` folds something.
QUIRE_HD constexpr range items_of(const plan_view& p, std::uint32_t worker) noexcept {
  const plan_cut from = p.cuts[worker], to = p.cuts[worker + 1];
  if (from == to) return {};
  return {from.item, std::uint64_t{to.item} + (to.piece != 0)};
}
/// Where a worker keeps its part of a shared item: 0 for an item that another began, 1 for one that it begins.
inline constexpr std::uint32_t split_items = 2;
QUIRE_HD constexpr std::uint32_t split_slot(const plan_view& p, std::uint32_t worker, std::uint32_t item) noexcept {
  return p.cuts[worker].item == item && p.cuts[worker].piece != 0 ? 0 : 1;
}

/// The same plan where its arrays lie at the same distances from `to` as from `from`: after a copy to a device.
inline plan_view moved(plan_view p, const std::byte* from, const std::byte* to) noexcept {
  const auto move = [&](auto*& at) { at = reinterpret_cast<std::remove_reference_t<decltype(at)>>(to + (reinterpret_cast<const std::byte*>(at) - from)); };
  move(p.items), move(p.cuts), move(p.spans), move(p.members);
  return p;
}

}  // namespace quire::inline v0::attention
