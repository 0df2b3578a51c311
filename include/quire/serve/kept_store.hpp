// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../kv/prefix_cache.hpp"
#include "../kv/swap_files.hpp"
#include "../kv/swap_memory.hpp"
#include "../kv/swapper.hpp"
#include "../tier/copy_thread.hpp"
#include "store.hpp"

namespace quire::inline v0::serve {

/// What a store keeps beyond the rows of its sequences. Without any of it, a kept_store is the plain store.
struct kept_options {
  std::uint32_t prefix_tiles = 0;  ///< tiles remembered for others to begin with; 0: none
  std::uint64_t space = 0;         ///< kv::prefix_space: what makes equal tokens mean equal bytes
  std::uint32_t away = 0;          ///< sequences of full length that fit the host; 0: none is swapped
  bool reuse = true;               ///< keep host copies of what came back (FastSwitch); false: copy all of it again next time
  std::string spill{};             ///< folder whose files stand in for the host's memory; empty: they don't
  tier::transfer_options transfers{};
};

namespace detail {
template <kv::Layout L, bool Shares>
struct prefix_cache_of {
  struct type {};
};
template <kv::Layout L>
struct prefix_cache_of<L, true> {
  using type = std::optional<kv::prefix_cache<L>>;
};
}  // namespace detail

/// A kv::store with a prefix cache and a host tier where its layout and the options allow: what an engine serves from. Handles
/// stay the same while sequences come and go; kernels and models want `sequence(handle)`. Rows that are lost on their way back
/// (a failed copy) shorten the sequence, to nothing where its layout can't keep a part. The store and the link outlive it.
/// One thread at a time. throws (constructor): std::bad_alloc, std::system_error, std::runtime_error (a spill file that can't be
/// opened, or is none). test: tests/serve/kept_store.cpp
template <kv::Layout L, tier::Link K = tier::copy_thread>
class kept_store {
 public:
  using store_type = kv::store<L>;
  using tokens_view = std::span<const std::int32_t>;
  /// Whether sequences of this layout can begin with tiles that others computed.
  static constexpr bool shares = kv::prefix_shareable<L> && L::rule == kv::read_rule::causal_seal;

  /// `link(pools)` makes the link between the pools of store and host, a std::unique_ptr<K>. Called when `away` != 0.
  template <class MakeLink>
  kept_store(store_type& pages, const kept_options& o, MakeLink&& link) : store_(&pages), space_(o.space), seats_(pages.options().sequences + o.away) {
    if constexpr (shares)
      if (o.prefix_tiles != 0 && !pages.layout().group_sees(0).limited()) cache_.emplace(pages, o.prefix_tiles);
    if (o.away == 0) return;
    kv::mirror_options<L> mirrors = kv::mirrors_for(pages.layout(), o.away, pages.options().max_tokens);
    mirrors.mirrors = static_cast<std::uint32_t>(seats_.size()) * 2;  // one that is closed stays until its copies end
    if (o.spill.empty()) host_.emplace(pages, mirrors);
    else open_files(mirrors, o.spill);
    link_ = link(host_ ? host_->pools() : files_->pools());
    swap_.emplace(pages, *link_, mirrors, kv::swapper_options{.transfers = o.transfers, .reuse = o.reuse});
  }
  kept_store(store_type& pages, const kept_options& o = {}) requires std::same_as<K, tier::copy_thread>
      : kept_store(pages, o, [&pages](auto pools) {
          QUIRE_ASSERT(pages.options().memory == nullptr, "quire::serve::kept_store: a thread can't copy pages in a device's memory");
          return std::make_unique<tier::copy_thread>(pools);
        }) {}
  kept_store(const kept_store&) = delete;
  kept_store& operator=(const kept_store&) = delete;

  store_type& store() const noexcept { return *store_; }
  /// The store's sequence of a handle that is present and has had room for a row; else a number the store does not know.
  std::uint32_t sequence(std::uint32_t h) const noexcept { return present(h) ? seats_[h].sequence : none; }
  kv::prefix_counters prefix_counts() const noexcept {
    return either([](const auto& c) { return c.counters(); }, [] { return kv::prefix_counters{}; });
  }
  /// What an earlier run left in the spill files, if there are any.
  tier::spill_found spill_found() const noexcept { return files_ ? files_->found() : tier::spill_found::nothing; }
  kv::swap_counts swap_counts() const noexcept { return swap_ ? swap_->counts() : kv::swap_counts{}; }

  // SequenceStore and what goes beyond it: see serve/store.hpp
  status open(std::uint32_t& h) noexcept { return open({}, h); }
  status open(tokens_view tokens, std::uint32_t& h) noexcept {
    return seat_for(h, [&](std::uint32_t& s) { return open_sequence(tokens, s); });
  }
  status reserve(std::uint32_t h, std::uint32_t tokens) noexcept {
    if (!is(h, place::here) && !is(h, place::arriving)) return unknown(h);
    std::uint32_t& s = seats_[h].sequence;
    if (s == none)
      if (const status opened = open_sequence({}, s); !opened) return opened;
    return either([&](auto& c) { return c.reserve(s, tokens); }, [&] { return store_->reserve(s, tokens); });
  }
  status commit(std::uint32_t h, std::uint32_t tokens) noexcept { return is(h, place::here) ? store_->commit(seats_[h].sequence, tokens) : unknown(h); }
  status fork(std::uint32_t from, std::uint32_t& to) noexcept {
    if (!is(from, place::here)) return unknown(from);
    const std::uint32_t of = seats_[from].sequence;
    return seat_for(to, [&](std::uint32_t& s) {
      return either([&](auto& c) { return c.fork(of, s); }, [&] { return store_->fork(of, s); });
    });
  }
  status truncate(std::uint32_t h, std::uint32_t length) noexcept {
    if (!is(h, place::here)) return unknown(h);
    const std::uint32_t s = seats_[h].sequence;
    return either([&](auto& c) { return c.truncate(s, length); }, [&] { return store_->truncate(s, length); });
  }
  /// Takes over a sequence that the store got in another way (an image). fails: unknown_sequence, out_of_pages (handles).
  status take(std::uint32_t sequence, std::uint32_t& h) noexcept {
    if (!store_->known(sequence)) return unknown(sequence);
    return seat_for(h, [&](std::uint32_t& s) {
      s = sequence;
      return either([&](auto& c) { return c.adopt(space_, sequence); }, [] { return status{}; });
    });
  }
  /// Unknown handles are ignored.
  void close(std::uint32_t h) noexcept {
    if (h >= seats_.size() || seats_[h].where == place::closed) return;
    seat& x = seats_[h];
    if (x.sequence != none) either([&](auto& c) { c.leave(x.sequence); }, [] {});
    if (x.conversation != none) swap_->close(x.conversation);
    else store_->close(x.sequence);
    x = {};
  }
  std::uint32_t length(std::uint32_t h) const noexcept {
    if (h >= seats_.size() || seats_[h].where == place::closed) return 0;
    return seats_[h].where == place::here ? store_->length(seats_[h].sequence) : seats_[h].rows;
  }

  status remember(std::uint32_t h, tokens_view tokens) noexcept {
    if (!is(h, place::here)) return unknown(h);
    return either([&](auto& c) { return c.insert(seats_[h].sequence, tokens); }, [] { return status{}; });
  }
  std::uint32_t hit(tokens_view tokens) const noexcept {
    return either([&](const auto& c) { return c.match(space_, tokens).tiles * tile_tokens; }, [] { return 0u; });
  }
  bool coming(tokens_view tokens) const noexcept {
    return either([&](const auto& c) { return c.coming(space_, tokens); }, [] { return false; });
  }
  /// Tickets count from 1; allocates a record each.
  std::uint64_t pin(tokens_view tokens) {
    either([&](auto& c) { pins_.push_back({++tickets_, c.pin(space_, tokens)}); }, [] {});
    return tickets_;
  }
  void unpin(std::uint64_t ticket) noexcept {
    const auto at = std::find_if(pins_.begin(), pins_.end(), [&](const auto& p) { return p.first == ticket; });
    if (at == pins_.end()) return;
    either([&](auto& c) { c.unpin(at->second); }, [] {});
    pins_.erase(at);
  }

  /// fails: unknown_sequence, out_of_pages (the host is full, or there is none), not_ready (it is on its way); nothing moves then.
  status swap_out(std::uint32_t h) noexcept {
    if (h >= seats_.size() || seats_[h].where == place::closed) return unknown(h);
    seat& x = seats_[h];
    if (!swap_) return {errc::out_of_pages, "sequences away", 1, 0, 0};
    if (x.where != place::here || x.sequence == none) return {errc::not_ready, "sequence to swap out", h};
    if (x.conversation == none)
      if (const status s = swap_->track(x.sequence, x.conversation); !s) return s;
    const std::uint32_t rows = store_->length(x.sequence);
    either([&](auto& c) { x.pure = c.pure(x.sequence), c.depart(x.sequence); }, [] {});
    if (const status s = swap_->try_swap_out(x.conversation); !s) return adopt(x), s;
    x.where = place::away, x.sequence = none, x.rows = rows;
    return {};
  }
  /// fails: unknown_sequence, corrupt (the host lost rows), out_of_pages, not_ready.
  status swap_in(std::uint32_t h) noexcept {
    if (!is(h, place::away)) return unknown(h);
    seat& x = seats_[h];
    if (const std::uint32_t kept = x.conversation == none ? 0 : swap_->kept(x.conversation); kept < x.rows) return {errc::corrupt, "rows of the host", kept, x.rows, x.rows};
    status s = swap_->begin_swap_in(x.conversation);
    while (s.code == errc::out_of_pages && either([](auto& c) { return c.evict(); }, [] { return false; })) s = swap_->begin_swap_in(x.conversation);
    if (s) x.where = place::arriving, x.sequence = swap_->destination(x.conversation);
    return s;
  }
  /// In this order: pages that sequences away hold in the store, because others held them too, go to the host; a pinned prefix is
  /// let go; a sequence away loses its rows.
  bool relieve() noexcept {
    if (swap_ && (swap_->reclaim() != 0 || !swap_->idle())) return true;  // room is on its way, if only that of a tail
    if (!pins_.empty()) return unpin(pins_.back().first), true;
    const auto last = std::find_if(seats_.rbegin(), seats_.rend(), [](const seat& x) { return x.where == place::away && x.conversation != none; });
    if (last == seats_.rend()) return false;
    swap_->close(std::exchange(last->conversation, none));
    return true;
  }
  bool present(std::uint32_t h) const noexcept { return is(h, place::here); }
  std::uint64_t leaving_tokens() const noexcept { return swap_ ? std::uint64_t{swap_->leaving_pages(0)} * tile_tokens : 0; }
  void poll() noexcept {
    if (!swap_) return;
    swap_->poll();
    for (seat& x : seats_)
      if (x.where == place::arriving) arrive(x);
  }
  void wait() noexcept {
    if (!swap_ || swap_->idle()) return;
    swap_->wait_any();
    poll();
  }

  std::uint64_t capacity_tokens() const noexcept { return std::uint64_t{store_->options().pages[0]} * tile_tokens; }
  std::uint64_t free_tokens() const noexcept { return std::uint64_t{store_->free_pages(0) + forgettable()} * tile_tokens; }
  /// Pages of remembered tiles that nobody needs.
  std::uint32_t forgettable() const noexcept {
    return either([](const auto& c) { return c.index().evictable(); }, [] { return 0u; });
  }
  /// Walks every invariant, copies under way included. Allocates.
  bool check() const {
    const auto remembered = [this](std::uint32_t pool, std::vector<std::uint32_t>& held) {
      either([&](const auto& c) { if (pool < store_->layout().groups()) c.index().for_each([&](std::uint32_t, const auto& t) { ++held[t.page[pool]]; }); }, [] {});
    };
    return swap_ ? swap_->check(remembered) : store_->check(remembered);
  }

 private:
  static constexpr std::uint32_t none = kv::page_pool::none;
  enum class place : std::uint8_t { closed, here, away, arriving };
  struct seat {
    place where = place::closed;
    std::uint32_t sequence = none;      ///< while here or arriving; none: nothing came back
    std::uint32_t conversation = none;  ///< the swapper's, since it left for the first time
    std::uint32_t rows = 0;             ///< while not here
    std::uint32_t pure = 0;
  };

  bool is(std::uint32_t h, place where) const noexcept { return h < seats_.size() && seats_[h].where == where; }
  status unknown(std::uint32_t h) const noexcept { return {errc::unknown_sequence, "sequence", h, 0, static_cast<std::int64_t>(seats_.size()) - 1}; }
  /// What the prefix cache says, or the plain store.
  template <class With, class Without>
  auto either(With&& with, Without&& without) const {
    if constexpr (shares)
      if (cache_) return with(*cache_);
    return without();
  }
  template <class With, class Without>
  auto either(With&& with, Without&& without) {
    if constexpr (shares)
      if (cache_) return with(*cache_);
    return without();
  }
  void open_files(const kv::mirror_options<L>& mirrors, const std::string& folder) {
    files_.emplace(*store_, mirrors);
    std::string path;
    if (const status s = files_->open(folder, path); !s) throw std::runtime_error("spill file " + path + ": " + describe(s));
  }
  template <class Make>
  status seat_for(std::uint32_t& h, Make&& make) noexcept {
    const auto free = std::find_if(seats_.begin(), seats_.end(), [](const seat& s) { return s.where == place::closed; });
    const auto n = static_cast<std::int64_t>(seats_.size());
    if (free == seats_.end()) return {errc::out_of_pages, "handles", n + 1, 0, n};
    std::uint32_t s = 0;
    if (const status made = make(s); !made) return made;
    *free = {.where = place::here, .sequence = s};
    h = static_cast<std::uint32_t>(free - seats_.begin());
    return {};
  }
  status open_sequence(tokens_view tokens, std::uint32_t& s) noexcept {
    return either([&](auto& c) { return c.open(space_, tokens, s); }, [&] { return store_->open(s); });
  }
  void adopt(const seat& x) noexcept {
    either([&](auto& c) { static_cast<void>(c.adopt(space_, x.sequence, x.pure)); }, [] {});
  }
  /// It is here when its copies have ended: with all its rows, or, if a copy failed, with none.
  void arrive(seat& x) noexcept {
    if (swap_->where(x.conversation) == kv::residence::arriving) return;
    x.where = place::here;
    x.sequence = swap_->sequence(x.conversation);
    if (x.sequence != none) return adopt(x);
    swap_->close(x.conversation);
    x.conversation = none;
  }

  store_type* store_;
  std::uint64_t space_;
  std::vector<seat> seats_;
  std::optional<kv::swap_memory> host_;  ///< one of these two, if any
  std::optional<kv::swap_files> files_;
  std::unique_ptr<K> link_;
  std::optional<kv::swapper<L, K>> swap_;
  [[no_unique_address]] typename detail::prefix_cache_of<L, shares>::type cache_;
  std::vector<std::pair<std::uint64_t, kv::prefix_place>> pins_;
  std::uint64_t tickets_ = 0;
};

}  // namespace quire::inline v0::serve
