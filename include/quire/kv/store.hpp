// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "view.hpp"

namespace quire::inline v0::kv {

/// Pages by pool: one pool per head group, then the pool of open tails.
template <std::uint32_t Groups>
struct page_demand {
  std::array<std::uint32_t, Groups + 1> pages{};
  friend bool operator==(const page_demand&, const page_demand&) = default;
};

/// Size of a store. `max_tokens` bounds one sequence; `pages[g]` bounds group g over all sequences (use `pages_for`).
template <Layout L>
struct store_options {
  std::uint32_t sequences = 1;
  std::uint32_t max_tokens = 4096;
  std::array<std::uint32_t, L::max_groups> pages{};
  std::uint64_t seed = 0;
  const std::byte* params = nullptr;
};

/// Pages that let `sequences` sequences of `tokens` tokens live at once, taken in steps of at most `chunk` tokens.
template <Layout L>
constexpr store_options<L> pages_for(const L& l, std::uint32_t sequences, std::uint32_t tokens, std::uint32_t chunk = 512) noexcept {
  store_options<L> o{.sequences = sequences, .max_tokens = tokens};
  for (std::uint32_t g = 0; g < l.groups(); ++g) {
    const visibility sees = l.group_sees(g);
    const std::uint32_t most = sees.limited() ? tiles_touched(sees.sinks) + tiles_touched(sees.window) + tiles_touched(chunk) + 2 : tiles_filled(tokens);
    o.pages[g] = sequences * std::min(tiles_filled(tokens), most);
  }
  return o;
}

/// Owner of all pages, host side. Sequences are small numbers; every failing call leaves the store as it was.
/// A step on a sequence is reserve(n) → kernels append and read through `view()` → commit(n).
/// Not copyable; one thread at a time, and no kernel may run during a non-const call. No allocation after construction.
/// throws (constructor only): std::bad_alloc. test: tests/kv/store.cpp
template <Layout L>
class store {
 public:
  using layout_type = L;
  using demand = page_demand<L::max_groups>;
  static constexpr std::uint32_t absent = page_pool::none;

  store(const L& layout, const store_options<L>& options)
      : layout_(layout), options_(options), records_(options.sequences), sequences_(options.sequences) {
    for (std::uint32_t g = 0; g < L::max_groups; ++g)
      pools_[g] = page_pool(g < layout.groups() ? options.pages[g] : 0, g < layout.groups() ? page_bytes(layout, g) : 0);
    pools_[L::max_groups] = page_pool(options.sequences, tail_bytes(layout));
    state_.resize(static_cast<std::size_t>(options.sequences) * layout.state_bytes());
    for (auto& s : sequences_)
      for (auto& table : s.pages) table.reserve(tiles_filled(options.max_tokens));
  }
  store(const store&) = delete;
  store& operator=(const store&) = delete;

  const L& layout() const noexcept { return layout_; }
  const store_options<L>& options() const noexcept { return options_; }

  /// A new empty sequence. fails: out_of_pages when all `sequences` handles are taken.
  status open(std::uint32_t& sequence) noexcept {
    for (std::uint32_t s = 0; s < sequences_.size(); ++s)
      if (!sequences_[s].live) {
        sequences_[s].live = true;
        sequence = s;
        refresh(s);
        return {};
      }
    return {errc::out_of_pages, "sequences", static_cast<std::int64_t>(sequences_.size()) + 1, 0, static_cast<std::int64_t>(sequences_.size())};
  }
  /// Gives every page back and forgets the sequence. Unknown handles are ignored.
  void close(std::uint32_t sequence) noexcept {
    if (!known(sequence)) return;
    entry& s = sequences_[sequence];
    for (std::uint32_t g = 0; g < L::max_groups; ++g) shrink(s, g, 0);
    if (s.tail != absent) pools_[L::max_groups].release(s.tail);
    s.length = 0, s.tail = absent, s.raw_tile = absent, s.live = false, s.kept_from = {}, s.steps = 0;
    refresh(sequence);
  }

  std::uint32_t length(std::uint32_t sequence) const noexcept { return known(sequence) ? sequences_[sequence].length : 0; }
  bool known(std::uint32_t sequence) const noexcept { return sequence < sequences_.size() && sequences_[sequence].live; }

  /// Pages still missing to hold `tokens` more tokens.
  demand need(std::uint32_t sequence, std::uint32_t tokens) const noexcept {
    demand d;
    if (!known(sequence) || tokens == 0) return d;
    const entry& s = sequences_[sequence];
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) {
      const std::uint32_t want = tiles_filled(s.length + std::min(tokens, ~s.length)), have = static_cast<std::uint32_t>(s.pages[g].size());
      d.pages[g] = want > have ? want - have : 0;
    }
    d.pages[L::max_groups] = s.tail == absent;
    return d;
  }
  bool fits(const demand& d) const noexcept {
    for (std::uint32_t p = 0; p <= L::max_groups; ++p)
      if (d.pages[p] > pools_[p].free_pages()) return false;
    return true;
  }
  /// Room for `tokens` more tokens, all or nothing. fails: unknown_sequence, out_of_range (max_tokens), out_of_pages.
  status reserve(std::uint32_t sequence, std::uint32_t tokens) noexcept {
    if (!known(sequence)) return unknown(sequence);
    entry& s = sequences_[sequence];
    if (tokens > options_.max_tokens - s.length)
      return {errc::out_of_range, "tokens of the sequence", std::int64_t{s.length} + tokens, 1, options_.max_tokens};
    const demand d = need(sequence, tokens);
    for (std::uint32_t p = 0; p <= L::max_groups; ++p)
      if (d.pages[p] > pools_[p].free_pages()) return {errc::out_of_pages, "pages", d.pages[p], 0, pools_[p].free_pages()};
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t i = 0; i < d.pages[g]; ++i) s.pages[g].push_back(pools_[g].acquire());
    if (d.pages[L::max_groups] != 0) s.tail = new_tail();
    refresh(sequence);
    return {};
  }
  /// Makes the tokens appended since the last commit part of the sequence (all of them: to keep fewer, truncate
  /// afterwards) and gives back pages that no later query sees.
  /// fails: unknown_sequence, out_of_range (more than was reserved).
  status commit(std::uint32_t sequence, std::uint32_t tokens) noexcept {
    if (!known(sequence)) return unknown(sequence);
    entry& s = sequences_[sequence];
    if (tokens == 0) return {};
    if (tokens > reserved(s) - s.length) return {errc::out_of_range, "tokens to commit", tokens, 0, reserved(s) - s.length};
    s.length += tokens;
    s.raw_tile = (s.length - 1) / tile_tokens;
    ++s.steps;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) drop_unseen(s, g);
    refresh(sequence);
    return {};
  }
  /// A copy of `from` that shares its sealed tiles; open tails and state are copied. fails: unknown_sequence, out_of_pages.
  status fork(std::uint32_t from, std::uint32_t& to) noexcept {
    if (!known(from)) return unknown(from);
    if (sequences_[from].tail != absent && pools_[L::max_groups].free_pages() == 0) return {errc::out_of_pages, "tail pages", 1, 0, 0};
    if (status s = open(to); !s) return s;
    const entry& a = sequences_[from];
    entry& b = sequences_[to];
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t t = 0; t < tiles_filled(a.length); ++t) {
        b.pages[g].push_back(a.pages[g][t]);
        if (a.pages[g][t] != absent) pools_[g].share(a.pages[g][t]);
      }
    b.length = a.length, b.kept_from = a.kept_from, b.raw_tile = a.raw_tile, b.steps = a.steps;
    if (a.tail != absent) {
      b.tail = pools_[L::max_groups].acquire();
      std::memcpy(pools_[L::max_groups].page(b.tail), pools_[L::max_groups].page(a.tail), tail_bytes(layout_));
    }
    std::copy_n(state_.begin() + from * layout_.state_bytes(), layout_.state_bytes(), state_.begin() + to * layout_.state_bytes());
    refresh(to);
    return {};
  }
  /// Forgets all tokens from `length` on. Inside a tile this needs its exact rows: they are there for the newest tile, and
  /// for every tile where sealed tiles are raw tiles. fails: unknown_sequence, out_of_range, not_rewindable.
  status truncate(std::uint32_t sequence, std::uint32_t length) noexcept {
    if (!known(sequence)) return unknown(sequence);
    entry& s = sequences_[sequence];
    if (length > s.length) return {errc::out_of_range, "length", length, 0, s.length};
    if (length == s.length) return {};
    const std::uint32_t tile = length / tile_tokens;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t t = 0; t < tile; ++t)
        if (s.pages[g][t] == absent && !layout_.group_sees(g).drops(length, t)) return no_rewind(s, length);
    if (length % tile_tokens != 0 && tile != s.raw_tile && !reopen(s, tile)) return no_rewind(s, length);
    if (length % tile_tokens != 0) s.raw_tile = tile;
    if (length % tile_tokens == 0 && tile != s.raw_tile + 1) s.raw_tile = absent;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) {
      shrink(s, g, tile);
      s.kept_from[g] = std::min(s.kept_from[g], tile);
    }
    s.length = length;
    refresh(sequence);
    return {};
  }

  std::uint32_t free_pages(std::uint32_t pool) const noexcept { return pools_[pool].free_pages(); }
  std::size_t free_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const page_pool& p : pools_) bytes += p.free_pages() * p.page_bytes();
    return bytes;
  }
  /// Bytes a sequence holds now: its pages (shared ones counted in full), tail and state block.
  std::size_t bytes(std::uint32_t sequence) const noexcept {
    if (!known(sequence)) return 0;
    const entry& s = sequences_[sequence];
    std::size_t bytes = s.tail == absent ? 0 : tail_bytes(layout_) + layout_.state_bytes();
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      bytes += pools_[g].page_bytes() * static_cast<std::size_t>(std::count_if(s.pages[g].begin(), s.pages[g].end(), [](auto p) { return p != absent; }));
    return bytes;
  }
  state_block state(std::uint32_t sequence) noexcept {
    return {1, layout_.state_bytes(), sequences_[sequence].steps, state_.data() + std::size_t{sequence} * layout_.state_bytes()};
  }
  /// What kernels read and append through; valid until the next non-const call.
  store_view<L> view() const noexcept {
    store_view<L> v{.layout = layout_, .sequences = records_.data(), .seed = options_.seed, .params = options_.params};
    for (std::uint32_t g = 0; g < L::max_groups; ++g) v.base[g] = pools_[g].base();
    return v;
  }
  /// Walks every invariant: no page lost, owned twice or counted wrong; tables as long as lengths say. Allocates.
  bool check() const {
    for (std::uint32_t p = 0; p <= L::max_groups; ++p) {
      std::vector<std::uint32_t> held(pools_[p].pages(), 0);
      for (const entry& s : sequences_) {
        if (p == L::max_groups) {
          if (s.tail != absent) ++held[s.tail];
          continue;
        }
        for (std::uint32_t page : s.pages[p])
          if (page != absent) ++held[page];
        if (p < layout_.groups() && s.pages[p].size() < tiles_filled(s.length)) return false;
        if (!s.live && (!s.pages[p].empty() || s.length != 0)) return false;
        for (std::uint32_t t = 0; p < layout_.groups() && t < tiles_filled(s.length); ++t)
          if ((s.pages[p][t] == absent) && !layout_.group_sees(p).drops(s.length, t)) return false;
      }
      if (!pools_[p].check(held)) return false;
    }
    return true;
  }

 private:
  struct entry {
    std::array<std::vector<std::uint32_t>, L::max_groups> pages;  ///< [tile] page or `absent`
    std::array<std::uint32_t, L::max_groups> kept_from{};
    std::uint32_t length = 0;
    std::uint32_t tail = absent;
    std::uint32_t raw_tile = absent;  ///< tile whose exact rows the tail holds
    std::uint64_t steps = 0;
    bool live = false;
  };

  status unknown(std::uint32_t sequence) const noexcept {
    return {errc::unknown_sequence, "sequence", sequence, 0, static_cast<std::int64_t>(sequences_.size()) - 1};
  }
  status no_rewind(const entry& s, std::uint32_t length) const noexcept {
    std::uint32_t low = s.raw_tile == absent ? s.length : s.raw_tile * tile_tokens;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)  // from here on no query sees a dropped tile
      if (const visibility v = layout_.group_sees(g); v.limited() && s.kept_from[g] > tiles_touched(v.sinks))
        low = std::max(low, s.kept_from[g] * tile_tokens + v.window - 1);
    return {errc::not_rewindable, "length", length, low, s.length};
  }
  std::uint32_t reserved(const entry& s) const noexcept {
    if (s.tail == absent) return 0;
    std::size_t tiles = options_.max_tokens / tile_tokens;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) tiles = std::min(tiles, s.pages[g].size());
    return std::min(options_.max_tokens, static_cast<std::uint32_t>(tiles) * tile_tokens + tile_tokens - 1);
  }

  std::uint32_t new_tail() noexcept {
    page_pool& tails = pools_[L::max_groups];
    const std::uint32_t page = tails.acquire();
    std::memset(tails.page(page), 0, tails.page_bytes());  // masked columns of a tail are multiplied by zero: keep them finite
    return page;
  }
  void shrink(entry& s, std::uint32_t g, std::uint32_t tiles) noexcept {
    while (s.pages[g].size() > tiles) {
      if (s.pages[g].back() != absent) pools_[g].release(s.pages[g].back());
      s.pages[g].pop_back();
    }
  }
  void drop_unseen(entry& s, std::uint32_t g) noexcept {
    const visibility sees = layout_.group_sees(g);
    if (!sees.limited()) return;
    std::uint32_t t = std::max(s.kept_from[g], tiles_touched(sees.sinks));
    for (; t < tiles_filled(s.length) && sees.drops(s.length, t); ++t) {
      pools_[g].release(s.pages[g][t]);
      s.pages[g][t] = absent;
    }
    s.kept_from[g] = t;
  }
  /// Brings the exact rows of a sealed tile back into the tail where sealed tiles are raw tiles.
  bool reopen(entry& s, std::uint32_t tile) noexcept {
    if constexpr (std::is_same_v<typename L::sealed_pair, typename L::raw_pair>) {
      const extents e = layout_.extent();
      const std::size_t piece = layout_.raw().piece_bytes(e.head_dim);
      for (std::uint32_t g = 0; g < layout_.groups(); ++g)
        if (s.pages[g][tile] == absent) return false;
      for (std::uint32_t layer = 0; layer < e.layers; ++layer)
        for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
          const head_slot at = layout_.slot(layer, head);
          std::memcpy(pools_[L::max_groups].page(s.tail) + (layer * e.kv_heads + head) * piece,
                      pools_[at.group].page(s.pages[at.group][tile]) + at.index * piece, piece);
        }
      return true;
    }
    return false;
  }
  void refresh(std::uint32_t sequence) noexcept {
    const entry& s = sequences_[sequence];
    auto& r = records_[sequence];
    for (std::uint32_t g = 0; g < L::max_groups; ++g) r.pages[g] = s.pages[g].data(), r.kept_from[g] = s.kept_from[g];
    r.length = s.length;
    r.tail = s.tail == absent ? nullptr : pools_[L::max_groups].page(s.tail);
  }

  L layout_;
  store_options<L> options_;
  std::array<page_pool, L::max_groups + 1> pools_;
  std::vector<typename store_view<L>::record> records_;
  std::vector<entry> sequences_;
  std::vector<std::byte> state_;
};

}  // namespace quire::inline v0::kv
