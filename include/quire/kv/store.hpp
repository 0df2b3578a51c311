// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <numeric>
#include <span>
#include <vector>

#include "dropped.hpp"
#include "sequence_entry.hpp"
#include "store_options.hpp"

namespace quire::inline v0::kv {

/// Owner of all pages, host side, wherever they lie (`memory` of the options). Sequences are small numbers; every failing call leaves the store as it was.
/// A step on a sequence is reserve(n) → kernels append and read through `view()` → commit(n).
/// Not copyable; one thread at a time, and no kernel may run during a non-const call. No allocation after construction.
/// throws (constructor only): std::bad_alloc. test: tests/kv/store.cpp
template <Layout L>
class store {
 public:
  using layout_type = L;
  using demand = page_demand<L::max_groups>;
  using tile_type = tile_pages<L::max_groups>;
  static constexpr std::uint32_t absent = page_pool::none;
  static constexpr std::uint32_t tails = L::max_groups, overlays = L::max_groups + 1, pools = L::max_groups + 2;  ///< pool numbers
  static constexpr std::uint32_t states = pools;  ///< the pool of state blocks: every open sequence has one, no demand counts it

  store(const L& layout, const store_options<L>& options)
      : layout_(layout), options_(options), records_(options.sequences), sequences_(options.sequences) {
    for (std::uint32_t g = 0; g < L::max_groups; ++g)
      pools_[g] = page_pool(g < layout.groups() ? options.pages[g] : 0, g < layout.groups() ? page_bytes(layout, g) : 0, options.sequences, options.memory);
    pools_[tails] = page_pool(options.sequences, tail_bytes(layout), options.sequences, options.memory);
    pools_[overlays] = page_pool(L::overlays ? options.overlay_pages : 0, overlay_page_bytes(layout), options.sequences, options.memory);
    pools_[states] = page_pool(options.sequences, layout.state().bytes(), options.sequences, options.memory);
    if constexpr (L::compensates) decoded_.resize(std::size_t{layout.extent().head_dim} * tile_tokens);
    for (auto& s : sequences_) {
      for (auto& table : s.pages) table.reserve(tiles_filled(options.max_tokens));
      s.overlay.reserve(layout.overlay_tiles(options.max_tokens));
    }
  }
  store(const store&) = delete;
  store& operator=(const store&) = delete;

  const L& layout() const noexcept { return layout_; }
  const store_options<L>& options() const noexcept { return options_; }

  /// A new empty sequence. fails: out_of_pages when all `sequences` handles or state blocks are taken.
  status open(std::uint32_t& sequence) noexcept {
    for (std::uint32_t s = 0; s < sequences_.size(); ++s)
      if (!sequences_[s].live) {
        if (pools_[states].free_pages() == 0) return {errc::out_of_pages, "state blocks", 1, 0, 0};
        sequences_[s].state = pools_[states].acquire();
        sequences_[s].live = true;
        sequence = s;
        reset_state(s);
        refresh(s);
        return {};
      }
    return {errc::out_of_pages, "sequences", static_cast<std::int64_t>(sequences_.size()) + 1, 0, static_cast<std::int64_t>(sequences_.size())};
  }
  /// Gives every page back and forgets the sequence. Unknown handles are ignored.
  void close(std::uint32_t sequence) noexcept {
    if (!known(sequence)) return;
    entry& s = sequences_[sequence];
    for (std::uint32_t g = 0; g < L::max_groups; ++g) pools_[g].shrink(s.pages[g], 0);
    pools_[overlays].shrink(s.overlay, 0);
    for (page_pool& p : pools_) p.leave(sequence);
    if (s.tail != absent) pools_[tails].release(s.tail);
    pools_[states].release(s.state);
    s.length = 0, s.tail = absent, s.state = absent, s.raw_tile = absent, s.live = false, s.kept_from = {}, s.copied = 0, s.steps = 0, s.whole_until = 0;
    refresh(sequence);
  }

  std::uint32_t length(std::uint32_t sequence) const noexcept { return known(sequence) ? sequences_[sequence].length : 0; }
  bool known(std::uint32_t sequence) const noexcept { return sequence < sequences_.size() && sequences_[sequence].live; }

  /// Pages still missing to hold `tokens` more tokens.
  demand need(std::uint32_t sequence, std::uint32_t tokens) const noexcept {
    demand d;
    if (!known(sequence) || tokens == 0) return d;
    const entry& s = sequences_[sequence];
    const std::uint32_t length = s.length + std::min(tokens, ~s.length);
    const auto missing = [](std::uint32_t want, std::size_t have) { return want > have ? want - static_cast<std::uint32_t>(have) : 0; };
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) d.pages[g] = missing(tiles_filled(length), s.pages[g].size());
    d.pages[tails] = s.tail == absent;
    d.pages[overlays] = missing(layout_.overlay_tiles(length), s.overlay.size());
    return d;
  }
  bool fits(const demand& d) const noexcept {
    for (std::uint32_t p = 0; p < pools; ++p)
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
    for (std::uint32_t p = 0; p < pools; ++p)
      if (d.pages[p] > pools_[p].free_pages()) return {errc::out_of_pages, "pages", d.pages[p], 0, pools_[p].free_pages()};
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t i = 0; i < d.pages[g]; ++i) s.pages[g].push_back(page_for(g, sequence, d.pages[g] - i));
    for (std::uint32_t i = 0; i < d.pages[overlays]; ++i) s.overlay.push_back(new_page(overlays, sequence, d.pages[overlays] - i));
    if (d.pages[tails] != 0) s.tail = new_page(tails);
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
  /// Queries before position `tokens` see every token, whatever their heads keep: a prompt is read whole and then cut down, as
  /// DuoAttention and RazorAttention do. Until then all is held (`pages_for` a chunk as long as the prompt). Rounded down to a tile
  /// where windows move by tiles. May be said again while nothing was dropped; what goes then is given back as `catch_up` says.
  /// fails: unknown_sequence, unsupported_shape (overlays), out_of_range (less than it holds), not_rewindable (something was dropped).
  status read_whole_until(std::uint32_t sequence, std::uint32_t tokens) noexcept {
    if (!known(sequence)) return unknown(sequence);
    entry& s = sequences_[sequence];
    if (L::overlays) return {errc::unsupported_shape, "tokens to read whole (of overlays)", tokens, 0, 0};
    if (tokens < s.length) return {errc::out_of_range, "tokens to read whole", tokens, s.length, options_.max_tokens};
    if (s.dropped(layout_)) return {errc::not_rewindable, "tokens to read whole", tokens, 0, s.whole_until};
    s.whole_until = layout_.group_sees(L::max_groups - 1).by_tile ? tokens / tile_tokens * tile_tokens : tokens;
    catch_up(sequence);
    return {};
  }
  /// Sums what the end of a prompt read whole drops and gives it back; sums in a device's memory are the next step's (attention/cuda/settle.cuh).
  void catch_up(std::uint32_t sequence) noexcept {
    entry& s = sequences_[sequence];
    const bool sums_here = !L::compensates || options_.memory == nullptr;
    if constexpr (L::compensates)
      if (sums_here) sum_dropped(view(), sequence, view().summed_tiles(sequence), s.sees(layout_, 1).dropped_tiles(s.length / tile_tokens), decoded_.data());
    for (std::uint32_t g = 0; g < layout_.groups() && sums_here && s.length != 0; ++g) drop_unseen(s, g);
    refresh(sequence);
  }
  std::uint32_t whole_until(std::uint32_t sequence) const noexcept { return known(sequence) ? sequences_[sequence].whole_until : 0; }
  /// A copy of `from` that shares its sealed tiles; open tails, overlays and state are copied. fails: unknown_sequence, out_of_pages.
  status fork(std::uint32_t from, std::uint32_t& to) noexcept {
    if (!known(from)) return unknown(from);
    if (sequences_[from].tail != absent && pools_[tails].free_pages() == 0) return {errc::out_of_pages, "tail pages", 1, 0, 0};
    const std::uint32_t exact = layout_.overlay_tiles(sequences_[from].length);
    if (exact > pools_[overlays].free_pages()) return {errc::out_of_pages, "overlay pages", exact, 0, pools_[overlays].free_pages()};
    if (status s = open(to); !s) return s;
    const entry& a = sequences_[from];
    entry& b = sequences_[to];
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t t = 0; t < tiles_filled(a.length); ++t)
        if (b.pages[g].push_back(a.pages[g][t]); a.pages[g][t] != absent) pools_[g].share(a.pages[g][t]);
    b.length = a.length, b.kept_from = a.kept_from, b.raw_tile = a.raw_tile, b.steps = a.steps, b.whole_until = a.whole_until;
    const auto copy = [&](std::uint32_t pool, std::uint32_t page, std::uint32_t owner, std::uint32_t left) {
      const std::uint32_t own = page_for(pool, owner, left);
      pools_[pool].copy(own, 0, pools_[pool].page(page), pools_[pool].page_bytes());
      return own;
    };
    for (std::uint32_t i = 0; i < exact; ++i) b.overlay.push_back(copy(overlays, a.overlay[i], to, exact - i));
    if (a.tail != absent) b.tail = copy(tails, a.tail, absent, 1);
    pools_[states].copy(b.state, 0, state_at(from), layout_.state().bytes());
    refresh(to);
    return {};
  }
  /// Forgets all tokens from `length` on. Inside a tile this needs its exact rows: they are there for the newest tile, and
  /// for every tile where sealed tiles are raw tiles. What later tokens left in the state block can't be taken out again:
  /// overlays and balancers go back to nothing only, means to where no further tile had been summed.
  /// fails: unknown_sequence, out_of_range, not_rewindable.
  status truncate(std::uint32_t sequence, std::uint32_t length) noexcept {
    if (!known(sequence)) return unknown(sequence);
    entry& s = sequences_[sequence];
    if (length > s.length) return {errc::out_of_range, "length", length, 0, s.length};
    if (length == 0) reset_state(sequence);  // a failed first step may have left its mark
    if (length == s.length) return {};
    const std::uint32_t tile = length / tile_tokens;
    if (length != 0 && (L::overlays || balances<typename L::sealed_pair>)) return {errc::not_rewindable, "length", length, s.length, s.length};
    if constexpr (L::compensates)
      if (s.sees(layout_, 1).dropped_tiles(tile) != s.sees(layout_, 1).dropped_tiles(s.length / tile_tokens) && length != 0) return no_rewind(s, length);
    if (!s.holds(layout_, length)) return no_rewind(s, length);
    if (length % tile_tokens != 0 && tile != s.raw_tile && !reopen(s, tile)) return no_rewind(s, length);
    if (length % tile_tokens != 0) s.raw_tile = tile;
    if (length % tile_tokens == 0 && tile != s.raw_tile + 1) s.raw_tile = absent;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) {
      pools_[g].shrink(s.pages[g], tile);
      s.kept_from[g] = std::min(s.kept_from[g], tile);
    }
    pools_[overlays].shrink(s.overlay, layout_.overlay_tiles(length));
    s.length = length;
    s.copied = std::min(s.copied, tile);
    refresh(sequence);
    return {};
  }

  /// Pages of a sealed, committed tile, `absent` where its group dropped it. Precondition: tile < length / tile_tokens.
  tile_type tile(std::uint32_t sequence, std::uint32_t tile) const noexcept {
    tile_type t;
    for (std::uint32_t g = 0; g < L::max_groups; ++g) t.page[g] = g < layout_.groups() ? sequences_[sequence].pages[g][tile] : absent;
    return t;
  }
  /// A tile that something besides sequences holds too (kv/prefix_cache.hpp), until it is dropped as often. Precondition: it is held.
  void hold(const tile_type& t) noexcept { for (std::uint32_t g = 0; g < layout_.groups(); ++g) pools_[g].share(t.page[g]); }
  void drop(const tile_type& t) noexcept { for (std::uint32_t g = 0; g < layout_.groups(); ++g) pools_[g].release(t.page[g]); }
  /// Gives a sequence another copy of a sealed tile of the same bytes. Preconditions: as for `tile` and `hold`; nothing is dropped.
  void replace(std::uint32_t sequence, std::uint32_t at, const tile_type& by) noexcept {
    hold(by), drop(tile(sequence, at));
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) sequences_[sequence].pages[g][at] = by.page[g];
  }
  /// Lets an empty sequence begin with sealed tiles that others hold; the exact rows of none of them are there.
  /// fails: unknown_sequence, out_of_range (not empty, or too many tiles), out_of_pages.
  status attach(std::uint32_t sequence, std::span<const tile_type> tiles) noexcept {
    static_assert(prefix_shareable<L>, "quire::kv::store: a sequence of this layout is more than its sealed tiles (dropped tiles, overlays or a state block): it can't begin with shared ones");
    if (!known(sequence)) return unknown(sequence);
    entry& s = sequences_[sequence];
    if (s.length != 0 || !s.pages[0].empty()) return {errc::out_of_range, "tokens reserved before the shared ones", std::max(s.length, 1u), 0, 0};
    if (const std::uint32_t most = tiles_filled(options_.max_tokens); tiles.size() > most) return {errc::out_of_range, "shared tiles", static_cast<std::int64_t>(tiles.size()), 0, most};
    if (tiles.empty()) return {};
    if (pools_[tails].free_pages() == 0) return {errc::out_of_pages, "tail pages", 1, 0, 0};  // copies hold them
    for (const tile_type& t : tiles) hold(t), s.pages[0].push_back(t.page[0]);
    if (s.tail == absent) s.tail = new_page(tails);
    s.length = static_cast<std::uint32_t>(tiles.size()) * tile_tokens, s.raw_tile = absent;
    refresh(sequence);
    return {};
  }

  std::uint32_t free_pages(std::uint32_t pool) const noexcept { return pools_[pool].free_pages(); }
  std::size_t free_bytes() const noexcept {
    return std::accumulate(pools_.begin(), pools_.begin() + pools, std::size_t{0}, [](std::size_t n, const page_pool& p) { return n + p.free_pages() * p.page_bytes(); });
  }
  /// Bytes a sequence holds now: its pages (shared ones counted in full), tail and state block.
  std::size_t bytes(std::uint32_t sequence) const noexcept {
    if (!known(sequence)) return 0;
    const entry& s = sequences_[sequence];
    std::size_t bytes = s.overlay.size() * overlay_page_bytes(layout_) + (s.tail == absent ? 0 : tail_bytes(layout_) + layout_.state().bytes());
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      bytes += pools_[g].page_bytes() * static_cast<std::size_t>(std::count_if(s.pages[g].begin(), s.pages[g].end(), [](auto p) { return p != absent; }));
    return bytes;
  }
  state_block state(std::uint32_t sequence) noexcept { return {state_plan::version, layout_.state().bytes(), sequences_[sequence].steps, state_at(sequence)}; }
  sequence_mark mark(std::uint32_t sequence) const noexcept {
    const entry& s = sequences_[sequence];
    return {s.length, s.raw_tile, {s.kept_from[0], L::max_groups > 1 ? s.kept_from[L::max_groups - 1] : 0}, s.steps, s.whole_until};
  }
  /// An empty-handed sequence with that mark: pages acquired, bytes whatever they are (see kv/image.hpp). `kept(g, tile)` may
  /// name a page that still holds a sealed tile: the sequence shares it instead of acquiring one; `absent` says there is none.
  /// fails: corrupt (a mark that no sequence of this layout has), out_of_range, out_of_pages.
  template <class Kept>
  status adopt(const sequence_mark& m, std::uint32_t& sequence, Kept&& kept) noexcept {
    if (m.length > options_.max_tokens) return {errc::out_of_range, "tokens of the sequence", m.length, 0, options_.max_tokens};
    if (L::overlays && m.whole_until != 0) return {errc::corrupt, "tokens read whole", m.whole_until};
    const std::uint32_t full = m.length / tile_tokens;
    if (m.length % tile_tokens != 0 ? m.raw_tile != full : m.raw_tile != absent && m.raw_tile + 1 != full) return {errc::corrupt, "raw tile of the sequence", m.raw_tile};
    std::uint32_t s = 0;
    if (status opened = open(s); !opened) return opened;
    entry& e = sequences_[s];
    const auto refuse = [&](status why) { return close(s), why; };
    e.length = m.length, e.raw_tile = m.raw_tile, e.steps = m.steps, e.whole_until = m.whole_until;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) {
      const visibility sees = e.sees(layout_, g);
      e.kept_from[g] = m.kept_from[g];
      for (std::uint32_t t = 0; t < full; ++t) {
        const bool gone = sees.limited() && t >= tiles_touched(sees.sinks) && t < m.kept_from[g];
        if (gone && !sees.drops(m.length, t)) return refuse({errc::corrupt, "first kept tile", m.kept_from[g]});
        std::uint32_t page = gone ? absent : kept(g, t);
        if (page != absent) pools_[g].share(page);
        else if (!gone) page = page_for(g, s, full - t);
        e.pages[g].push_back(page);
        if (!gone && page == absent) return refuse({errc::out_of_pages, "pages", 1, 0, 0});
      }
    }
    if (layout_.overlay_tiles(m.length) > pools_[overlays].free_pages() || pools_[tails].free_pages() == 0)
      return refuse({errc::out_of_pages, "overlay and tail pages", layout_.overlay_tiles(m.length) + std::int64_t{1}, 0, pools_[overlays].free_pages()});
    for (std::uint32_t i = 0; i < layout_.overlay_tiles(m.length); ++i) e.overlay.push_back(new_page(overlays, s, layout_.overlay_tiles(m.length) - i));
    if (m.length != 0) e.tail = new_page(tails);
    refresh(s);
    sequence = s;
    return {};
  }
  status adopt(const sequence_mark& m, std::uint32_t& sequence) noexcept { return adopt(m, sequence, [](auto, auto) { return absent; }); }
  /// f(pool, i, page) over everything a sequence's committed tokens hold, in an order that only the mark decides: sealed tiles
  /// (i: the tile), overlays (i: which), the tail and the state block.
  template <class F>
  void for_each_page(std::uint32_t sequence, F&& f) const {
    const entry& s = sequences_[sequence];
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t t = 0; t < tiles_filled(s.length); ++t)
        if (s.pages[g][t] != absent) f(g, t, s.pages[g][t]);
    for (std::uint32_t i = 0; i < layout_.overlay_tiles(s.length); ++i) f(overlays, i, s.overlay[i]);
    if (s.tail != absent && s.length != 0) f(tails, 0u, s.tail);
    f(states, 0u, s.state);
  }
  /// The pool of a number, `states` included: to hold pages beyond the life of a sequence (share, release), or to know places.
  page_pool& pool(std::uint32_t p) noexcept { return pools_[p]; }
  const page_pool& pool(std::uint32_t p) const noexcept { return pools_[p]; }
  /// Sealed tiles [0, copied) are the same bytes as when they were noted as copied elsewhere; truncation lowers it.
  std::uint32_t copied(std::uint32_t sequence) const noexcept { return known(sequence) ? sequences_[sequence].copied : 0; }
  void note_copied(std::uint32_t sequence) noexcept { if (known(sequence)) sequences_[sequence].copied = tiles_filled(sequences_[sequence].length); }
  /// What kernels read and append through; valid until the next non-const call.
  store_view<L> view() const noexcept {
    store_view<L> v{.layout = layout_, .sequences = records_.data(), .seed = options_.seed, .params = options_.params};
    for (std::uint32_t g = 0; g < L::max_groups; ++g) v.base[g] = pools_[g].base();
    v.overlay_base = pools_[overlays].base();
    return v;
  }
  /// Walks every invariant: no page lost, owned twice or counted wrong; tables as long as lengths say. `others(pool, held)` adds
  /// the references [page] that are held outside. Allocates.
  template <std::invocable<std::uint32_t, std::vector<std::uint32_t>&> Others>
  bool check(Others&& others) const {
    for (std::uint32_t p = 0; p <= pools; ++p) {
      std::vector<std::uint32_t> held(pools_[p].pages(), 0);
      others(p, held);
      for (const entry& s : sequences_)
        if (!s.count(layout_, p, held)) return false;
      if (!pools_[p].check(held)) return false;
    }
    return true;
  }
  /// `others`: the tiles held by others than sequences, as often as they are.
  bool check(std::span<const tile_type> others = {}) const {
    return check([&](std::uint32_t p, std::vector<std::uint32_t>& held) {
      for (const tile_type& t : others)
        if (p < layout_.groups()) ++held[t.page[p]];
    });
  }

 private:
  using entry = detail::sequence_entry<L::max_groups>;

  status unknown(std::uint32_t sequence) const noexcept { return {errc::unknown_sequence, "sequence", sequence, 0, static_cast<std::int64_t>(sequences_.size()) - 1}; }
  status no_rewind(const entry& s, std::uint32_t length) const noexcept { return {errc::not_rewindable, "length", length, s.least_length(layout_), s.length}; }
  std::uint32_t reserved(const entry& s) const noexcept { return s.reserved(layout_, options_.max_tokens); }
  /// A page next to the sequence's last one, if there is one, as the first of `left` that are wanted now.
  std::uint32_t page_for(std::uint32_t pool, std::uint32_t sequence, std::uint32_t left) noexcept {
    return pools_[pool].acquire(sequence, std::max(left, options_.group_pages));
  }
  std::uint32_t new_page(std::uint32_t pool, std::uint32_t sequence = absent, std::uint32_t left = 1) noexcept {
    const std::uint32_t page = page_for(pool, sequence, left);
    pools_[pool].clear(page);  // masked columns are multiplied by zero: keep them finite
    return page;
  }
  void reset_state(std::uint32_t sequence) noexcept { pools_[states].clear(sequences_[sequence].state); }
  std::byte* state_at(std::uint32_t sequence) noexcept { return pools_[states].page(sequences_[sequence].state); }
  void drop_unseen(entry& s, std::uint32_t g) noexcept {
    const visibility sees = s.sees(layout_, g);
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
          pools_[tails].copy(s.tail, (layer * e.kv_heads + head) * piece, pools_[at.group].page(s.pages[at.group][tile]) + at.index * piece, piece);
        }
      return true;
    }
    return false;
  }
  void refresh(std::uint32_t sequence) noexcept {
    const entry& s = sequences_[sequence];
    auto& r = records_[sequence];
    for (std::uint32_t g = 0; g < L::max_groups; ++g) r.pages[g] = s.pages[g].data(), r.kept_from[g] = s.kept_from[g];
    r.overlay = s.overlay.data();
    r.length = s.length;
    r.whole_until = s.whole_until;
    r.tail = s.tail == absent ? nullptr : pools_[tails].page(s.tail);
    r.state = s.state == absent ? nullptr : state_at(sequence);
  }

  L layout_;
  store_options<L> options_;
  std::array<page_pool, pools + 1> pools_;
  std::vector<typename store_view<L>::record> records_;
  std::vector<entry> sequences_;
  std::vector<float> decoded_;   ///< one tile, where dropped ones are summed
};

}  // namespace quire::inline v0::kv
