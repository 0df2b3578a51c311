// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "../core/status.hpp"
#include "view.hpp"

namespace quire::inline v0::kv {

/// A sequence of a step and the tokens that stand when the step is done: those before it and its own, all reserved.
struct packed_sequence {
  std::uint32_t sequence = 0, tokens = 0;
};

/// Bytes that `pack_view` writes for so many sequences that stand at `tokens` each, at most.
template <Layout L>
constexpr std::size_t packed_view_bytes(const L& layout, std::uint32_t sequences, std::uint32_t tokens) noexcept {
  return sequences * (sizeof(typename store_view<L>::record) + (std::size_t{layout.groups()} * tiles_filled(tokens) + layout.overlay_tiles(tokens)) * sizeof(std::uint32_t));
}

/// What kernels need of some sequences in one stretch of bytes, to be copied to where they read: records, then page tables. A view's
/// own records and tables are the host's. `memory` is written as it will stand at `to`; in `out` sequence i is which[i]. Bases of pages and
/// state blocks stay as they are. Both places are aligned as a record is. Nothing is allocated.
/// cost: the tables, 4 bytes a tile and group or overlay; fails: out_of_range (memory). test: tests/kv/packed_view.cpp
template <Layout L>
status pack_view(const store_view<L>& from, std::span<const packed_sequence> which, std::span<std::byte> memory, const std::byte* to, store_view<L>& out) noexcept {
  using record = typename store_view<L>::record;
  std::size_t need = which.size() * sizeof(record);
  for (const packed_sequence& p : which) need += packed_view_bytes(from.layout, 1, p.tokens) - sizeof(record);
  if (need > memory.size()) return {errc::out_of_range, "bytes of a packed view", static_cast<std::int64_t>(memory.size()), static_cast<std::int64_t>(need), std::int64_t{1} << 40};
  auto* const records = reinterpret_cast<record*>(memory.data());
  std::size_t at = which.size() * sizeof(record);
  for (std::size_t i = 0; i < which.size(); ++i) {
    record r = from.sequences[which[i].sequence];
    const auto table = [&](const std::uint32_t*& pages, std::uint32_t tiles) {
      std::uninitialized_copy_n(pages, tiles, reinterpret_cast<std::uint32_t*>(memory.data() + at));
      pages = reinterpret_cast<const std::uint32_t*>(to + at);
      at += tiles * sizeof(std::uint32_t);
    };
    for (std::uint32_t g = 0; g < from.layout.groups(); ++g) table(r.pages[g], tiles_filled(which[i].tokens));
    table(r.overlay, from.layout.overlay_tiles(which[i].tokens));
    if (from.layout.state().bytes() == 0) r.state = nullptr;
    std::construct_at(records + i, r);
  }
  out = from;
  out.sequences = reinterpret_cast<const record*>(to);
  return {};
}

}  // namespace quire::inline v0::kv
