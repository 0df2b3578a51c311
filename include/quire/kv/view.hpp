// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "layout.hpp"

namespace quire::inline v0::kv {

/// One overlay tile of one head: a raw tile piece, then for each of its 64 tokens where it stands and what it received.
struct overlay_tile {
  std::byte* piece = nullptr;
  std::uint32_t* positions = nullptr;
  float* scores = nullptr;
};

/// What kernels see of a store: trivially copyable, owns nothing, valid until the store changes.
template <Layout L>
struct store_view {
  using layout_type = L;

  /// A sequence as kernels see it. `kept_from[g]`: first tile after the sinks that group g still holds.
  struct record {
    const std::uint32_t* pages[L::max_groups] = {};
    std::uint32_t kept_from[L::max_groups] = {};
    const std::uint32_t* overlay = nullptr;
    std::uint32_t length = 0;   ///< committed tokens
    std::uint32_t whole_until = 0;
    std::byte* tail = nullptr;  ///< open tails of all (layer, head)
    std::byte* state = nullptr;
  };

  L layout;
  std::byte* base[L::max_groups] = {};
  std::byte* overlay_base = nullptr;
  const record* sequences = nullptr;
  std::uint64_t seed = 0;
  const std::byte* params = nullptr;

  QUIRE_HD std::byte* sealed(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t tile) const noexcept {
    const head_slot s = layout.slot(layer, head);
    return base[s.group] + sequences[sequence].pages[s.group][tile] * page_bytes(layout, s.group) + offset(s);
  }
  QUIRE_HD std::byte* tail(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head) const noexcept {
    const extents e = layout.extent();
    return sequences[sequence].tail + (layer * e.kv_heads + head) * layout.raw().piece_bytes(e.head_dim);
  }
  QUIRE_HD head_state state(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head) const noexcept {
    const head_slot s = layout.slot(layer, head);
    return layout.state().at(sequences[sequence].state, s.group, s.index);
  }
  /// Overlay tile `i` of a head of group 0.
  QUIRE_HD overlay_tile overlay(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t i) const noexcept {
    std::byte* at = overlay_base + sequences[sequence].overlay[i] * overlay_page_bytes(layout) + layout.slot(layer, head).index * overlay_stride(layout);
    auto* positions = reinterpret_cast<std::uint32_t*>(at + layout.raw().piece_bytes(layout.extent().head_dim));
    return {at, positions, reinterpret_cast<float*>(positions + tile_tokens)};
  }
  QUIRE_HD codec_context context(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t tile, side which) const noexcept {
    codec_context c{layer, head, tile, which, seed, params};
    if constexpr (balances<typename L::sealed_pair>) c.params = reinterpret_cast<const std::byte*>(state(sequence, layer, head).balance);
    static_cast<void>(sequence);
    return c;
  }

  /// Tiles that a head's queries in tile `tile` see no more and whose sums they read instead.
  QUIRE_HD std::uint32_t dropped_tiles(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t tile) const noexcept {
    return layout.slot(layer, head).group == 1 ? layout.group_sees(1).whole_to(sequences[sequence].whole_until).dropped_tiles(tile) : 0;
  }
  /// Of those, how many the sums hold when a step begins: as many as gave their pages back. Where a device sums, fewer than are dropped
  /// after a prompt that was read whole has ended (store::read_whole_until).
  QUIRE_HD std::uint32_t summed_tiles(std::uint32_t sequence) const noexcept {
    const std::uint32_t kept = sequences[sequence].kept_from[L::max_groups - 1], sinks = tiles_touched(layout.group_sees(L::max_groups - 1).sinks);
    return kept > sinks ? kept - sinks : 0;
  }
  /// Runs for queries that stand in tile `tile`: sealed tiles before it, then `exact`, the raw tile that holds the tokens
  /// [64·tile, 64·tile + exact_tokens), then what else the head keeps. That is the causal_seal rule. A compensation token is
  /// written to `mean`, one raw tile piece of finite numbers that only this call touches; without it there is none.
  QUIRE_HD head_view head(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t tile, const std::byte* exact,
                          std::uint32_t exact_tokens, std::byte* mean = nullptr) const noexcept {
    head_view v;
    describe_head(v, sequence, layer, head, tile, exact, exact_tokens, mean);
    if constexpr (L::compensates)
      if (const std::uint32_t dropped = dropped_tiles(sequence, layer, head, tile); dropped != 0 && mean != nullptr)
        layout.dropped().write(layout.raw(), state(sequence, layer, head), layout.extent().head_dim, dropped * tile_tokens, mean);
    return v;
  }
  /// The same, written in place: a kernel's `v` lies in shared memory. A compensation token stands in `mean` already.
  QUIRE_HD void describe_head(head_view& v, std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t tile, const std::byte* exact,
                              std::uint32_t exact_tokens, const std::byte* mean = nullptr) const noexcept {
    const head_slot s = layout.slot(layer, head);
    const record& r = sequences[sequence];
    const std::uint32_t dim = layout.extent().head_dim;
    v.count = 0;
    v.sees = layout.group_sees(s.group).whole_to(r.whole_until);
    const auto sealed_run = [&](std::uint32_t first, std::uint32_t last) {
      if (first >= last) return;
      run& x = v.runs[v.count++] = {};
      x.base = base[s.group] + offset(s);
      x.pages = r.pages[s.group] + first;
      x.page_stride = page_bytes(layout, s.group);
      x.value_offset = static_cast<std::uint32_t>(layout.sealed().value_offset(dim));
      x.tokens = (last - first) * tile_tokens;
      x.slot = first;
      x.position = static_cast<std::int32_t>(first * tile_tokens);
      x.form = 1;
      if constexpr (L::overlays)
        if (const std::uint64_t* live = state(sequence, layer, head).live) x.live = live + first;
    };
    const std::uint32_t sinks = tiles_touched(v.sees.sinks), kept = r.kept_from[s.group];
    if (v.sees.limited() && kept > sinks) {
      sealed_run(0, sinks < tile ? sinks : tile);
      sealed_run(kept, tile);
    } else {
      sealed_run(0, tile);
    }
    const auto raw_run = [&](const std::byte* at, std::uint32_t tokens, std::uint32_t slot) -> run& {
      run& x = v.runs[v.count++] = {};
      x.base = at;
      x.value_offset = static_cast<std::uint32_t>(layout.raw().value_offset(dim));
      x.tokens = tokens;
      x.slot = slot;
      x.position = static_cast<std::int32_t>(tile * tile_tokens);
      return x;
    };
    if (exact_tokens != 0) raw_run(exact, exact_tokens, tile);
    if constexpr (L::overlays)
      if (const std::uint32_t held = s.group == 0 ? layout.policy().budget(tile * tile_tokens) : 0; held != 0) {
        run& x = raw_run(overlay_base + s.index * overlay_stride(layout), held, tile + 1);
        x.pages = r.overlay;
        x.page_stride = overlay_page_bytes(layout);
        x.position = 0;
        x.position_offset = static_cast<std::uint32_t>(layout.raw().piece_bytes(dim));
        x.exempt = true;
      }
    if constexpr (L::compensates)
      if (const std::uint32_t dropped = dropped_tiles(sequence, layer, head, tile); dropped != 0 && mean != nullptr) {
        run& x = raw_run(mean, 1, tile + 1);
        x.position = 0;
        x.bias = layout.dropped().bias(dropped * tile_tokens);
        x.exempt = true;
      }
    static_cast<void>(mean);
  }

 private:
  QUIRE_HD std::size_t offset(head_slot s) const noexcept { return s.index * layout.sealed().piece_bytes(layout.extent().head_dim); }
};

}  // namespace quire::inline v0::kv
