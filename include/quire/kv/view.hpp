// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "layout.hpp"
#include "pool.hpp"

namespace quire::inline v0::kv {

/// What kernels see of a store: trivially copyable, owns nothing, valid until the store changes.
template <Layout L>
struct store_view {
  using layout_type = L;

  /// A sequence as kernels see it. `kept_from[g]`: first tile after the sinks that group g still holds.
  struct record {
    const std::uint32_t* pages[L::max_groups] = {};
    std::uint32_t kept_from[L::max_groups] = {};
    std::uint32_t length = 0;   ///< committed tokens
    std::byte* tail = nullptr;  ///< open tails of all (layer, head)
  };

  L layout;
  std::byte* base[L::max_groups] = {};
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
  QUIRE_HD codec_context context(std::uint32_t layer, std::uint32_t head, std::uint32_t tile, side which) const noexcept {
    return {layer, head, tile, which, seed, params};
  }

  /// Runs for queries that stand in tile `tile`: sealed tiles before it, then `exact`, the raw tile that holds the tokens
  /// [64·tile, 64·tile + exact_tokens). That is the causal_seal rule.
  QUIRE_HD head_view head(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t tile, const std::byte* exact,
                          std::uint32_t exact_tokens) const noexcept {
    const head_slot s = layout.slot(layer, head);
    const record& r = sequences[sequence];
    const std::uint32_t dim = layout.extent().head_dim;
    head_view v;
    v.sees = layout.group_sees(s.group);
    const auto sealed_run = [&](std::uint32_t first, std::uint32_t last) {
      if (first >= last) return;
      run& x = v.runs[v.count++];
      x.base = base[s.group] + offset(s);
      x.pages = r.pages[s.group] + first;
      x.page_stride = page_bytes(layout, s.group);
      x.value_offset = static_cast<std::uint32_t>(layout.sealed().value_offset(dim));
      x.tokens = (last - first) * tile_tokens;
      x.slot = first;
      x.position = static_cast<std::int32_t>(first * tile_tokens);
      x.form = 1;
    };
    const std::uint32_t sinks = tiles_touched(v.sees.sinks), kept = r.kept_from[s.group];
    if (v.sees.limited() && kept > sinks) {
      sealed_run(0, sinks < tile ? sinks : tile);
      sealed_run(kept, tile);
    } else {
      sealed_run(0, tile);
    }
    if (exact_tokens != 0) {
      run& x = v.runs[v.count++];
      x.base = exact;
      x.value_offset = static_cast<std::uint32_t>(layout.raw().value_offset(dim));
      x.tokens = exact_tokens;
      x.slot = tile;
      x.position = static_cast<std::int32_t>(tile * tile_tokens);
    }
    return v;
  }

 private:
  QUIRE_HD std::size_t offset(head_slot s) const noexcept { return s.index * layout.sealed().piece_bytes(layout.extent().head_dim); }
};

}  // namespace quire::inline v0::kv
