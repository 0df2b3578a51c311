// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "store.hpp"

namespace quire::inline v0::kv {

/// Slots of the host tier by store pool: groups, tails, overlays, state blocks.
template <Layout L>
struct mirror_options {
  static constexpr std::uint32_t pools = L::max_groups + 3;
  std::uint32_t mirrors = 64;                    ///< conversations known at once, resident or not
  std::array<std::uint32_t, pools> slots{};      ///< over all mirrors (use `mirrors_for`)
  std::uint32_t group_slots = 16;                ///< room a mirror starts with, so that the next turns' tiles come to lie next to it
};

/// Slots for `sequences` conversations of `tokens` tokens outside the store at once.
template <Layout L>
mirror_options<L> mirrors_for(const L& l, std::uint32_t sequences, std::uint32_t tokens) noexcept {
  mirror_options<L> o{.mirrors = sequences * 2};
  for (std::uint32_t g = 0; g < l.groups(); ++g) o.slots[g] = sequences * pages_held(l, g, tokens);
  o.slots[store<L>::tails] = o.slots[store<L>::states] = sequences;
  o.slots[store<L>::overlays] = sequences * l.overlay_tiles(tokens);
  return o;
}

/// What the host holds of one conversation. A sealed tile lies in a host slot, or in a page of the store that others hold too
/// and that is therefore kept where it is, or nowhere. Tail, overlays and state block (the loose parts) change with every
/// step, so they are those of `mark` only while the conversation is out (`exact`).
template <Layout L>
struct mirror {
  static constexpr std::uint32_t none = page_pool::none;
  std::array<std::vector<std::uint32_t>, L::max_groups> slots, held;  ///< [tile] host slot; page kept in the store
  std::vector<std::uint32_t> overlay;
  std::uint32_t tail = none, state = none;
  sequence_mark mark;
  bool exact = false;

  bool open = false, pinned = false;  ///< pinned: copies to or from it are under way
  bool resident = false;              ///< the store has the sequence: losing slots costs bytes later, no tokens
  bool waiting = false;               ///< somebody waits for it to come back
  std::int32_t priority = 0;
  std::uint64_t used = 0;             ///< later is newer

  std::uint32_t tiles() const noexcept { return static_cast<std::uint32_t>(slots[0].size()); }
};

/// Host slots, who has them and who loses them first. It owns no bytes and starts no copies (kv/swapper.hpp does); a copy
/// shares the slots and pages it works on, so what is lost here is not handed out again before the copy is over.
/// When room is short the mirrors that give way are those of lower priority, and of the same priority those nobody waits for,
/// the least recently used first, each from its newest tile down.
/// cost: no allocation after construction; eviction looks at every mirror. throws (constructor): std::bad_alloc.
/// from: KV cache reuse of FastSwitch (arXiv:2411.18424); test: tests/kv/mirror.cpp
template <Layout L>
class mirror_set {
 public:
  static constexpr std::uint32_t none = page_pool::none, pools = mirror_options<L>::pools;
  using demand = std::array<std::uint32_t, pools>;
  /// A prefix of the sealed tiles is worth something by itself.
  static constexpr bool cuttable = L::max_groups == 1 && !L::overlays && !L::compensates && !balances<typename L::sealed_pair>;

  mirror_set(store<L>& pages, const mirror_options<L>& options) : store_(&pages), options_(options), mirrors_(options.mirrors) {
    for (std::uint32_t p = 0; p < pools; ++p) slots_[p] = page_pool(options.slots[p], 0, options.mirrors);
    const std::uint32_t tokens = pages.options().max_tokens;
    for (mirror<L>& m : mirrors_) {
      for (auto* tables : {&m.slots, &m.held})
        for (auto& table : *tables) table.reserve(tiles_filled(tokens));
      m.overlay.reserve(pages.layout().overlay_tiles(tokens));
    }
  }

  mirror<L>& operator[](std::uint32_t m) noexcept { return mirrors_[m]; }
  const mirror<L>& operator[](std::uint32_t m) const noexcept { return mirrors_[m]; }
  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(mirrors_.size()); }
  bool known(std::uint32_t m) const noexcept { return m < mirrors_.size() && mirrors_[m].open; }
  page_pool& slots(std::uint32_t pool) noexcept { return slots_[pool]; }
  void touch(std::uint32_t m) noexcept { mirrors_[m].used = ++clock_; }

  /// The slot of part i of a pool (tile, overlay, tail, state block), or `none`.
  std::uint32_t slot(std::uint32_t m, std::uint32_t pool, std::uint32_t i) const noexcept {
    const std::uint32_t* s = const_cast<mirror_set*>(this)->entry(m, pool, i);
    return s == nullptr ? none : *s;
  }
  /// Gives part i a slot if it has none. Precondition: `make_room` found one.
  std::uint32_t acquire(std::uint32_t m, std::uint32_t pool, std::uint32_t i) noexcept {
    mirror<L>& x = mirrors_[m];
    if (pool < L::max_groups)
      for (std::uint32_t g = 0; g < L::max_groups; ++g)
        while (x.slots[g].size() <= i) x.slots[g].push_back(none), x.held[g].push_back(none);
    if (pool == store<L>::overlays)
      while (x.overlay.size() <= i) x.overlay.push_back(none);
    std::uint32_t& s = *entry(m, pool, i);
    if (s == none) s = slots_[pool].acquire(m, options_.group_slots);
    return s;
  }
  /// Keeps the page of a tile in the store, where others hold it too.
  void hold(std::uint32_t m, std::uint32_t g, std::uint32_t tile, std::uint32_t page) noexcept {
    mirror<L>& x = mirrors_[m];
    for (std::uint32_t h = 0; h < L::max_groups; ++h)
      while (x.held[h].size() <= tile) x.slots[h].push_back(none), x.held[h].push_back(none);
    if (x.held[g][tile] != none) return;
    store_->pool(g).share(page);
    x.held[g][tile] = page;
  }
  void let_go(std::uint32_t m, std::uint32_t g, std::uint32_t tile) noexcept {
    mirror<L>& x = mirrors_[m];
    if (tile < x.held[g].size() && x.held[g][tile] != none) store_->pool(g).release(std::exchange(x.held[g][tile], none));
  }
  void lose(std::uint32_t m, std::uint32_t pool, std::uint32_t i) noexcept {
    if (std::uint32_t* s = entry(m, pool, i); s != nullptr && *s != none) slots_[pool].release(std::exchange(*s, none));
  }
  /// Forgets tiles from `tiles` on.
  void cut(std::uint32_t m, std::uint32_t tiles) noexcept {
    mirror<L>& x = mirrors_[m];
    for (std::uint32_t g = 0; g < L::max_groups; ++g) slots_[g].shrink(x.slots[g], tiles), store_->pool(g).shrink(x.held[g], tiles);
  }
  /// Forgets tail, overlays and state block.
  void lose_loose_parts(std::uint32_t m) noexcept {
    mirror<L>& x = mirrors_[m];
    lose(m, store<L>::tails, 0), lose(m, store<L>::states, 0);
    slots_[store<L>::overlays].shrink(x.overlay, 0);
    x.exact = false;
    if (!x.resident && !cuttable) cut(m, 0);
  }
  /// Forgets everything; the reserved rest of its groups goes back too.
  void clear(std::uint32_t m) noexcept {
    lose_loose_parts(m);
    cut(m, 0);
    for (page_pool& p : slots_) p.leave(m);
  }

  /// Tokens that can come back: all of them, or those of the leading tiles that are somewhere.
  std::uint32_t kept(std::uint32_t m) const noexcept {
    const mirror<L>& x = mirrors_[m];
    if (x.exact) return x.mark.length;
    if (!cuttable) return 0;
    std::uint32_t t = 0;
    while (t < x.tiles() && (x.slots[0][t] != none || x.held[0][t] != none)) ++t;
    return t * tile_tokens;
  }

  /// Free slots for `m` in every pool, taken from other mirrors where they are short. fails: out_of_pages; nothing changes then.
  status make_room(std::uint32_t m, const demand& wanted) noexcept {
    for (std::uint32_t p = 0; p < pools; ++p) {
      std::uint32_t there = slots_[p].free_pages();
      if (there >= wanted[p]) continue;
      for (std::uint32_t c = 0; c < size() && there < wanted[p]; ++c)
        if (gives_way(c, m)) there += can_give(c, p);
      if (there < wanted[p]) return {errc::out_of_pages, "host slots", wanted[p], 0, there};
    }
    for (std::uint32_t p = 0; p < pools; ++p)
      while (slots_[p].free_pages() < wanted[p]) evict(least(m, p), p);
    return {};
  }
  /// Walks every invariant; `others(pool, held)` adds the references [slot] of copies under way. Allocates.
  template <class Others>
  bool check(Others&& others) const {
    for (std::uint32_t p = 0; p < pools; ++p) {
      std::vector<std::uint32_t> held(slots_[p].pages(), 0);
      others(p, held);
      for (std::uint32_t m = 0; m < size(); ++m) {
        const mirror<L>& x = mirrors_[m];
        const std::uint32_t parts = p < L::max_groups ? static_cast<std::uint32_t>(x.slots[p].size()) : p == store<L>::overlays ? static_cast<std::uint32_t>(x.overlay.size()) : 1;
        for (std::uint32_t i = 0; i < parts; ++i)
          if (const std::uint32_t s = slot(m, p, i); s != none) ++held[s];
        if (p < L::max_groups && (x.slots[p].size() != x.tiles() || x.held[p].size() != x.tiles())) return false;
      }
      if (!slots_[p].check(held)) return false;
    }
    return true;
  }

 private:
  std::uint32_t* entry(std::uint32_t m, std::uint32_t pool, std::uint32_t i) noexcept {
    mirror<L>& x = mirrors_[m];
    if (pool == store<L>::tails) return &x.tail;
    if (pool == store<L>::states) return &x.state;
    std::vector<std::uint32_t>& table = pool == store<L>::overlays ? x.overlay : x.slots[pool];
    return i < table.size() ? &table[i] : nullptr;
  }
  bool gives_way(std::uint32_t c, std::uint32_t to) const noexcept {
    const mirror<L>& x = mirrors_[c];
    if (c == to || !x.open || x.pinned) return false;
    return x.priority < mirrors_[to].priority || (x.priority == mirrors_[to].priority && !x.waiting);
  }
  /// Slots of a pool that would be free at once.
  std::uint32_t can_give(std::uint32_t c, std::uint32_t pool) const noexcept {
    const mirror<L>& x = mirrors_[c];
    const auto free = [&](std::uint32_t s) { return s != none && slots_[pool].references(s) == 1; };
    if (pool == store<L>::tails) return free(x.tail);
    if (pool == store<L>::states) return free(x.state);
    const auto& table = pool == store<L>::overlays ? x.overlay : x.slots[pool];
    return static_cast<std::uint32_t>(std::count_if(table.begin(), table.end(), free));
  }
  /// Who gives way first. Precondition: `make_room` found somebody.
  std::uint32_t least(std::uint32_t to, std::uint32_t pool) const noexcept {
    std::uint32_t best = none;
    for (std::uint32_t c = 0; c < size(); ++c) {
      if (!gives_way(c, to) || can_give(c, pool) == 0) continue;
      const mirror<L>&x = mirrors_[c], &b = mirrors_[best == none ? c : best];
      if (best == none || x.priority < b.priority || (x.priority == b.priority && x.used < b.used)) best = c;
    }
    return best;
  }
  void evict(std::uint32_t c, std::uint32_t pool) noexcept {
    if (pool >= L::max_groups || !mirrors_[c].resident) lose_loose_parts(c);
    if (const std::uint32_t tiles = mirrors_[c].tiles(); pool < L::max_groups && tiles != 0) cut(c, tiles - 1);
  }

  store<L>* store_;
  mirror_options<L> options_;
  std::array<page_pool, pools> slots_;
  std::vector<mirror<L>> mirrors_;
  std::uint64_t clock_ = 0;
};

}  // namespace quire::inline v0::kv
