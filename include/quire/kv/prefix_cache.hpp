// SPDX-License-Identifier: Apache-2.0
// Prefix sharing: a store whose sealed tiles outlive their sequences, and an index that finds them again.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "image.hpp"
#include "prefix_counters.hpp"
#include "prefix_index.hpp"
#include "store.hpp"

namespace quire::inline v0::kv {

/// The space of prefixes whose bytes mean the same: a layout with its codecs, a model and an adapter, by numbers that tell the
/// caller's models and adapters apart. What changes rows and not tokens (an image, a cache salt of a tenant) goes into `salt`.
template <Layout L>
std::uint64_t prefix_space(const L& layout, std::uint64_t model, std::uint64_t adapter = 0, std::uint64_t salt = 0) noexcept {
  checksum sum;
  for (std::uint64_t n : {layout_signature(layout), model, adapter, salt}) sum.add(n);
  return sum.value();
}

/// A store and what it remembers of past sequences. Sequences open, fork, rewind and close through this object; kernels append
/// and read through the store, which outlives it. A step is reserve → append → store.commit → insert.
/// Rows that begin with kept tiles are bit for bit those that would be computed (read_rule::causal_seal), so hits change no result.
/// cost: as the index; sequences hold their place there, so nothing they read is ever evicted. No allocation after construction.
/// throws (constructor only): std::bad_alloc. One thread at a time. test: tests/kv/prefix_cache.cpp
template <Layout L, evict::Eviction Policy = evict::lru, class Hash = tile_hash>
class prefix_cache {
  static_assert(prefix_shareable<L>, "quire::kv::prefix_cache: a sequence of this layout is more than its sealed tiles (dropped tiles, overlays or a state block): its prefixes can't be shared");
  static_assert(L::rule == read_rule::causal_seal, "quire::kv::prefix_cache: what this layout computes depends on the chunking: a kept prefix would change results");

 public:
  using store_type = kv::store<L>;
  using tile_type = typename store_type::tile_type;
  using index_type = prefix_index<tile_type, Policy, Hash>;
  using demand = typename store_type::demand;
  static constexpr std::uint32_t all = 0xffffffffu;

  /// `tiles`: most tiles remembered; the store's pages bound them too, and one that runs short evicts.
  prefix_cache(store_type& pages, std::uint32_t tiles, Policy policy = {}, Hash hash = {})
      : store_(&pages), index_(tiles, policy, hash), seats_(pages.options().sequences) {
    path_.reserve(tiles_filled(pages.options().max_tokens));
  }
  /// Open sequences stay open in the store.
  ~prefix_cache() {
    index_.for_each([&](std::uint32_t, const tile_type& t) { store_->drop(t); });
  }
  prefix_cache(const prefix_cache&) = delete;
  prefix_cache& operator=(const prefix_cache&) = delete;

  store_type& store() const noexcept { return *store_; }
  const index_type& index() const noexcept { return index_; }
  const prefix_counters& counters() const noexcept { return counters_; }

  /// The longest kept run that a sequence of these known tokens could begin with: whole tiles, never the last token, whose
  /// logits are wanted. Changes nothing, so it serves hints too.
  prefix_place match(std::uint64_t space, std::span<const std::int32_t> tokens) const noexcept { return index_.match(space, usable(tokens)); }
  /// Whether an open sequence is computing the tile that `match` ends at: who waits for its `insert` will share it.
  bool coming(std::uint64_t space, std::span<const std::int32_t> tokens) const noexcept {
    const prefix_place at = match(space, tokens);
    const std::size_t next = at.tiles * std::size_t{tile_tokens};
    if (usable(tokens).size() < next + tile_tokens) return false;
    const std::uint64_t name = index_.name(at, tokens.data() + next);
    return std::any_of(seats_.begin(), seats_.end(), [&](const seat& s) { return s.open && s.computes && s.next == name; });
  }

  /// A new sequence that begins with the longest kept run of its known tokens; store.length tells how long it is.
  /// fails: out_of_pages when all handles are taken.
  status open(std::uint64_t space, std::span<const std::int32_t> tokens, std::uint32_t& sequence) noexcept {
    std::uint32_t opened = 0;
    if (status s = store_->open(opened); !s) return s;
    const prefix_place at = match(space, tokens);
    path_.resize(at.tiles);
    for (std::uint32_t n = at.node, t = at.tiles; t != 0; n = index_.parent(n)) path_[--t] = index_.pages(n);
    if (status s = store_->attach(opened, path_); !s) return store_->close(opened), s;
    index_.use(at);
    index_.hold(at);
    seats_[opened] = {.at = at, .open = true};
    announce(opened, tokens);
    ++counters_.opened, counters_.asked += tokens.size(), counters_.hit += std::size_t{at.tiles} * tile_tokens;
    sequence = opened;
    return {};
  }
  /// Takes over a sequence that the store got in another way (an image, a swap), with what `pure` said of it before it went.
  /// fails: unknown_sequence.
  status adopt(std::uint64_t space, std::uint32_t sequence, std::uint32_t pure = all) noexcept {
    if (!store_->known(sequence) || known(sequence)) return unknown(sequence);
    seats_[sequence] = {.at = {space}, .pure = pure, .open = true};
    ++counters_.opened;
    return {};
  }
  /// Remembers the sealed tiles of committed tokens; `tokens` are all that are known of the sequence, the same as ever. A tile
  /// that is known already is read from where it is kept, and the sequence's own copy given back. Stops where the sequence is
  /// tainted, or when the index is full of tiles that are needed.
  /// fails: unknown_sequence, out_of_range (`tokens` too few), unsupported_shape (the layout has a window).
  status insert(std::uint32_t sequence, std::span<const std::int32_t> tokens) noexcept {
    if (!known(sequence)) return unknown(sequence);
    if (const visibility sees = store_->layout().group_sees(0); sees.limited()) return {errc::unsupported_shape, "window of a layout whose tiles are to be shared", sees.window, visibility::everything, visibility::everything};
    const std::uint32_t length = store_->length(sequence);
    if (tokens.size() < length) return {errc::out_of_range, "known tokens", static_cast<std::int64_t>(tokens.size()), length, 0xffffffff};
    seat& s = seats_[sequence];
    for (const std::uint32_t last = tiles_filled(std::min(length, s.pure)); s.at.tiles < last;) {
      const std::uint32_t t = s.at.tiles;
      const std::int32_t* const next = tokens.data() + std::size_t{t} * tile_tokens;
      const tile_type own = store_->tile(sequence, t);
      prefix_place at = s.at;
      if (!index_.descend(at, next)) {
        if (index_.full() && !evict()) break;
        store_->hold(own);
        index_.insert(at, next, own);
        ++counters_.inserted;
      } else if (const tile_type& kept = index_.pages(at.node); kept != own) {
        store_->replace(sequence, t, kept);
        ++counters_.merged;
      }
      move(s, at);
    }
    announce(sequence, tokens);
    return {};
  }
  /// Rows from `token` on are approximate (computed from something else than the tokens before them, or damaged on purpose):
  /// they and what follows are never remembered, not by forks either. fails: unknown_sequence, out_of_range (remembered already).
  status taint(std::uint32_t sequence, std::uint32_t token) noexcept {
    if (!known(sequence)) return unknown(sequence);
    seat& s = seats_[sequence];
    if (const std::int64_t least = std::int64_t{s.at.tiles} * tile_tokens; token < least) return {errc::out_of_range, "first tainted token", token, least, all};
    s.pure = std::min(s.pure, token), s.computes = false;
    return {};
  }
  /// The first tainted token of a sequence, `all` when there is none.
  std::uint32_t pure(std::uint32_t sequence) const noexcept { return known(sequence) ? seats_[sequence].pure : all; }

  /// store.reserve, after evicting what it takes and no more. fails: as store.reserve; out_of_pages only when evicting everything
  /// that nobody needs would not do, and then nothing is evicted.
  status reserve(std::uint32_t sequence, std::uint32_t tokens) noexcept {
    const status s = store_->reserve(sequence, tokens);
    if (s.code != errc::out_of_pages) return s;
    if (status room = make_room(store_->need(sequence, tokens)); !room) return room;
    return store_->reserve(sequence, tokens);
  }
  /// Whether `d` fits or evicting would make it fit. fails: out_of_pages; `high` counts pages that are free or could be.
  status fits(const demand& d) const noexcept {
    for (std::uint32_t p = 0; p < store_type::pools; ++p)
      if (const std::uint32_t most = store_->free_pages(p) + (p < L::max_groups ? index_.evictable() : 0); d.pages[p] > most)
        return {errc::out_of_pages, "pages", d.pages[p], 0, most};
    return {};
  }
  /// Evicts until `d` fits. fails: as `fits`.
  status make_room(const demand& d) noexcept {
    if (status s = fits(d); !s) return s;
    while (!store_->fits(d))
      if (!evict()) return {errc::out_of_pages, "pages", d.pages[0], 0, store_->free_pages(0)};
    return {};
  }
  /// Tiles that sequences could still fill: free pages, and those of tiles that nobody needs. Forks that have not inserted the
  /// tiles they share may keep a few of the latter.
  std::uint32_t free_tiles() const noexcept { return store_->free_pages(0) + index_.evictable(); }
  /// Forgets one tile that nobody needs. false: there is none.
  bool evict() noexcept {
    const bool done = index_.evict([&](const tile_type& t) { store_->drop(t); });
    counters_.evicted += done;
    return done;
  }
  /// Forgets all that nobody needs.
  void clear() noexcept {
    while (evict()) {}
  }

  /// As the store's; what is remembered stays so.
  status fork(std::uint32_t from, std::uint32_t& to) noexcept {
    if (!known(from)) return unknown(from);
    if (status s = store_->fork(from, to); !s) return s;
    seats_[to] = seats_[from];
    seats_[to].computes = false;
    index_.hold(seats_[to].at);
    return {};
  }
  status truncate(std::uint32_t sequence, std::uint32_t length) noexcept {
    if (!known(sequence)) return unknown(sequence);
    if (status s = store_->truncate(sequence, length); !s) return s;
    seat& s = seats_[sequence];
    if (s.at.tiles > tiles_filled(length)) move(s, index_.above(s.at, tiles_filled(length)));
    if (length <= s.pure) s.pure = all;
    s.computes = false;
    return {};
  }
  void close(std::uint32_t sequence) noexcept {
    if (!known(sequence)) return;
    leave(sequence);
    store_->close(sequence);
  }

  /// Lets go of a sequence that stays in the store or leaves it in another way than `close`. What is remembered stays so.
  void leave(std::uint32_t sequence) noexcept {
    if (!known(sequence)) return;
    index_.let_go(seats_[sequence].at);
    seats_[sequence] = {};
  }
  /// The same, and forgets what only it needs, so that its pages are its own: before a swap. `adopt` takes it back.
  void depart(std::uint32_t sequence) noexcept {
    if (!known(sequence)) return;
    const prefix_place at = seats_[sequence].at;
    leave(sequence);
    index_.forget(at, [&](const tile_type& t) { store_->drop(t); });
  }

  /// Keeps the longest remembered run of `tokens` (a system prompt, what a group of requests shares) until it is unpinned as often.
  prefix_place pin(std::uint64_t space, std::span<const std::int32_t> tokens) noexcept {
    const prefix_place at = index_.match(space, tokens);
    index_.hold(at);
    pins_ += at.node != index_type::root;
    return at;
  }
  void unpin(const prefix_place& at) noexcept {
    index_.let_go(at);
    pins_ -= at.node != index_type::root;
  }

  /// Walks every invariant of store, index and what ties them. `pins`: all places that are pinned, as often as they are. Allocates.
  bool check(std::span<const prefix_place> pins = {}) const {
    std::vector<std::uint32_t> holds(index_.capacity(), 0);
    std::uint64_t pinned = 0;
    for (const prefix_place& p : pins)
      if (p.node != index_type::root) ++holds[p.node], ++pinned;
    for (std::uint32_t s = 0; s < seats_.size(); ++s) {
      const seat& x = seats_[s];
      if (!x.open) continue;
      if (!store_->known(s) || x.at.tiles > tiles_filled(store_->length(s))) return false;
      if (x.at.node != index_type::root) ++holds[x.at.node];
      std::uint32_t n = x.at.node;
      for (std::uint32_t t = x.at.tiles; t != 0; n = index_.parent(n))
        if (n == index_type::root || index_.pages(n) != store_->tile(s, --t)) return false;
      if (n != index_type::root) return false;
    }
    std::vector<tile_type> kept;
    index_.for_each([&](std::uint32_t, const tile_type& t) { kept.push_back(t); });
    return pinned == pins_ && index_.check(holds) && store_->check(kept);
  }

 private:
  /// An open sequence: it holds `at`, and reads its tiles up to there from the index.
  struct seat {
    prefix_place at;
    std::uint32_t pure = all;     ///< tokens before this one may be remembered
    std::uint64_t next = 0;       ///< name of the tile after `at`
    bool computes = false;        ///< it is about to compute that one
    bool open = false;
  };

  bool known(std::uint32_t sequence) const noexcept { return sequence < seats_.size() && seats_[sequence].open; }
  status unknown(std::uint32_t sequence) const noexcept {
    return {errc::unknown_sequence, "sequence", sequence, 0, static_cast<std::int64_t>(seats_.size()) - 1};
  }
  std::span<const std::int32_t> usable(std::span<const std::int32_t> tokens) const noexcept {
    return tokens.first(std::min<std::size_t>(tokens.empty() ? 0 : tokens.size() - 1, store_->options().max_tokens));
  }
  void move(seat& s, const prefix_place& to) noexcept {
    index_.hold(to);
    index_.let_go(s.at);
    s.at = to;
  }
  /// What the sequence computes next, if it is known and may be remembered.
  void announce(std::uint32_t sequence, std::span<const std::int32_t> tokens) noexcept {
    seat& s = seats_[sequence];
    const std::size_t end = (s.at.tiles + std::size_t{1}) * tile_tokens;
    s.computes = tiles_filled(store_->length(sequence)) == s.at.tiles && tokens.size() >= end && s.pure >= end;
    if (s.computes) s.next = index_.name(s.at, tokens.data() + end - tile_tokens);
  }

  store_type* store_;
  index_type index_;
  std::vector<seat> seats_;
  std::vector<tile_type> path_;
  prefix_counters counters_;
  std::uint64_t pins_ = 0;
};

}  // namespace quire::inline v0::kv
