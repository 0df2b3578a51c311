// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <tuple>
#include <type_traits>

#include "codec.hpp"
#include "codec/raw.hpp"
#include "run.hpp"
#include "state.hpp"

namespace quire::inline v0::kv {

/// Where a (layer, head) lives: heads of one group have equal lengths and share pages and one page table per sequence.
struct head_slot {
  std::uint32_t group = 0;
  std::uint32_t index = 0;   ///< place inside the group's page
};

/// How heads are kept. Trivially copyable, host and device, owns nothing. A page of group g holds one tile of every head
/// of the group: address of (page, layer, head) = base + page·page_bytes(g) + slot(layer, head).index·piece_bytes.
/// `raw` (form 0) is the codec pair of open tails, `sealed` (form 1) that of full tiles. `stepwise`: what a query reads
/// depends on the attention of the tiles before it, so a step is taken tile by tile. Only heads of group 0 have overlays
/// (`overlay_tiles`: raw tiles beside the sealed ones once `tokens` tokens stand), only those of group 1 a remainder.
template <class L>
concept Layout = std::is_trivially_copyable_v<L> && requires(const L l, std::uint32_t i) {
  requires CodecPair<typename L::raw_pair> && CodecPair<typename L::sealed_pair>;
  requires RawCodec<typename L::raw_pair::key_codec> && RawCodec<typename L::raw_pair::value_codec>;
  { L::rule } -> std::convertible_to<read_rule>;
  { L::traits } -> std::convertible_to<layout_traits>;
  { L::max_groups } -> std::convertible_to<std::uint32_t>;
  { L::stepwise } -> std::convertible_to<bool>;
  { L::overlays } -> std::convertible_to<bool>;
  { L::compensates } -> std::convertible_to<bool>;
  { l.extent() } noexcept -> std::same_as<extents>;
  { l.sealed() } noexcept -> std::same_as<typename L::sealed_pair>;
  { l.raw() } noexcept -> std::same_as<typename L::raw_pair>;
  { l.groups() } noexcept -> std::same_as<std::uint32_t>;
  { l.group_heads(i) } noexcept -> std::same_as<std::uint32_t>;
  { l.group_sees(i) } noexcept -> std::same_as<visibility>;
  { l.slot(i, i) } noexcept -> std::same_as<head_slot>;
  { l.overlay_tiles(i) } noexcept -> std::same_as<std::uint32_t>;
  { l.state() } noexcept -> std::same_as<state_plan>;
};

/// Whether sealed keys are stored through a channel balancer that lives in the state block.
template <class Pair>
inline constexpr bool balances = requires { requires Pair::key_codec::balances; };

/// Whether a sequence at a tile boundary is its sealed tiles and nothing else, and their bytes depend on its tokens alone: all
/// heads in one group that drops nothing, no overlay, remainder or balancer. What may enter a prefix index.
template <class L>
inline constexpr bool prefix_shareable =
    L::traits.shareable && L::traits.prefix_pure && L::max_groups == 1 && !L::overlays && !L::compensates && !balances<typename L::sealed_pair>;

template <Layout L>
QUIRE_HD constexpr std::size_t page_bytes(const L& l, std::uint32_t g) noexcept {
  return l.group_heads(g) * l.sealed().piece_bytes(l.extent().head_dim);
}
/// Bytes of one head's overlay tile: exact rows, their positions (u32) and what attention they received (f32).
template <Layout L>
QUIRE_HD constexpr std::size_t overlay_stride(const L& l) noexcept {
  return l.raw().piece_bytes(l.extent().head_dim) + 2 * sizeof(std::uint32_t) * tile_tokens;
}
template <Layout L>
QUIRE_HD constexpr std::size_t overlay_page_bytes(const L& l) noexcept {
  if constexpr (L::overlays) return l.group_heads(0) * overlay_stride(l);
  return 0;
}
/// Tiles a head of group g, which `sees` so much, reads after the open one: its overlay, or its compensation token. For queries in tile `tile`.
template <Layout L>
QUIRE_HD constexpr std::uint32_t extra_tiles(const L& l, std::uint32_t g, std::uint32_t tile, const visibility& sees) noexcept {
  if constexpr (L::overlays)
    if (g == 0) return l.overlay_tiles(tile * tile_tokens);
  if constexpr (L::compensates)
    if (g == 1) return sees.dropped_tiles(tile) != 0;
  static_cast<void>(sees);
  return 0;
}
/// Bytes of one sequence's open tails: one raw tile of keys and values for every (layer, head).
template <Layout L>
QUIRE_HD constexpr std::size_t tail_bytes(const L& l) noexcept {
  return l.extent().heads() * l.raw().piece_bytes(l.extent().head_dim);
}
/// Longest stretch of bytes that swap, migration and files can move at once.
template <Layout L>
QUIRE_HD constexpr std::size_t contiguous_run_bytes(const L& l) noexcept {
  std::size_t least = tail_bytes(l);
  for (std::uint32_t g = 0; g < l.groups(); ++g) least = l.group_heads(g) != 0 && page_bytes(l, g) < least ? page_bytes(l, g) : least;
  return least;
}

/// Sealed pages of group g that a sequence of `length` tokens holds between steps.
template <Layout L>
QUIRE_HD constexpr std::uint32_t pages_held(const L& l, std::uint32_t g, std::uint32_t length) noexcept {
  const visibility sees = l.group_sees(g);
  std::uint32_t held = 0;
  if (!sees.limited()) return tiles_filled(length);
  for (std::uint32_t t = 0; t < tiles_filled(length); ++t) held += !sees.drops(length, t);
  return held;
}
/// Bytes of a sequence by formula: sealed pages, overlays, open tails, state block. Page tables (4 bytes a tile and group)
/// not counted.
template <Layout L>
QUIRE_HD constexpr std::size_t sequence_bytes(const L& l, std::uint32_t length) noexcept {
  std::size_t bytes = tail_bytes(l) + l.state().bytes() + l.overlay_tiles(length) * overlay_page_bytes(l);
  for (std::uint32_t g = 0; g < l.groups(); ++g) bytes += pages_held(l, g, length) * page_bytes(l, g);
  return bytes;
}
/// Bytes each further token costs in the long run, all layers and heads; heads with a fixed window no longer grow.
template <Layout L>
QUIRE_HD constexpr double bytes_per_token(const L& l) noexcept {
  double bytes = 0;
  for (std::uint32_t g = 0; g < l.groups(); ++g) {
    const visibility sees = l.group_sees(g);
    const double part = !sees.limited() ? 1.0 : sees.share != 0 ? 1.0 / sees.share : 0.0;
    bytes += part * static_cast<double>(page_bytes(l, g)) / tile_tokens;
  }
  constexpr std::uint32_t far = 1u << 24;  // overlays grow by a share of all tokens
  return bytes + static_cast<double>(l.overlay_tiles(far)) / far * static_cast<double>(overlay_page_bytes(l));
}

}  // namespace quire::inline v0::kv
