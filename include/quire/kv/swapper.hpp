// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "mirror.hpp"
#include "residence.hpp"

namespace quire::inline v0::kv {

/// The numbers that a swapper gives its pools: store pool p is p, the host pool that mirrors it `host_pool(p)`.
template <Layout L>
inline constexpr std::uint32_t swap_pools = mirror_options<L>::pools;

/// Moves conversations between a store and the host over a link, in the background. A handle names a conversation for good; its
/// sequence in the store comes and goes. What a copy reads or writes is shared by the copy until it is over, so pages become free
/// exactly when copies end, whatever is closed, cancelled or evicted meanwhile: (i) no page with an unfinished outgoing copy is
/// written, (iii) no host slot is given away under an incoming copy, (iv) no slot or page is reused under a cancelled one; and
/// (ii) `sequence` names a sequence only once all its copies have arrived.
/// A page that others hold too stays in the store, kept by the mirror, for as long as they live (`reclaim` moves it then).
/// A failed copy, a full host or a damaged slot costs recomputation, never more: `kept` says how many tokens can come back.
/// One thread at a time; no call waits but `wait`, `wait_any` and the destructor. Store and link outlive it, and the link's landings are its own.
/// cost: linear in the pages of the sequence. No allocation after construction. throws (constructor): std::bad_alloc.
/// from: FastSwitch (arXiv:2411.18424); test: tests/kv/swapper.cpp
template <Layout L, tier::Link K>
class swapper {
 public:
  using store_type = store<L>;
  static constexpr std::uint32_t none = page_pool::none, pools = swap_pools<L>;
  static constexpr std::uint32_t host_pool(std::uint32_t p) noexcept { return pools + p; }

  swapper(store_type& pages, K& link, const mirror_options<L>& mirrors, const swapper_options& options = {})
      : store_(&pages), options_(options), mirrors_(pages, mirrors), queue_(link, places(pages, mirrors), options.transfers),
        conversations_(mirrors.mirrors), owner_(options.transfers.pieces, none) {
    scratch_.reserve(options.transfers.pieces);
  }
  /// Withdraws all copies and waits for those under way. Sequences that run stay in the store.
  ~swapper() {
    for (std::uint32_t h = 0; h < conversations_.size(); ++h) {
      if (!ready(h)) close(h);
      else if (conversations_[h].ahead != none) queue_.cancel(conversations_[h].ahead);
    }
    while (!idle()) wait_any(now_);
    for (std::uint32_t h = 0; h < conversations_.size(); ++h) mirrors_.clear(h);
  }
  swapper(const swapper&) = delete;
  swapper& operator=(const swapper&) = delete;

  /// A new conversation with an empty sequence. fails: out_of_pages (handles, or as store::open).
  status open(std::uint32_t& handle) noexcept {
    std::uint32_t s = 0;
    if (status opened = store_->open(s); !opened) return opened;
    const status tracked = track(s, handle);
    if (!tracked) store_->close(s);
    return tracked;
  }
  /// A conversation for a sequence that is in the store already (a fork, a prefix hit). fails: unknown_sequence, out_of_pages.
  status track(std::uint32_t sequence, std::uint32_t& handle) noexcept {
    if (!store_->known(sequence)) return {errc::unknown_sequence, "sequence", sequence, 0, std::int64_t{store_->options().sequences} - 1};
    for (std::uint32_t h = 0; h < conversations_.size(); ++h)
      if (conversations_[h].where == residence::closed) {
        conversations_[h] = {.where = residence::running, .sequence = sequence};
        mirrors_[h].open = mirrors_[h].resident = true;
        mirrors_[h].exact = mirrors_[h].pinned = mirrors_[h].waiting = false;
        mirrors_[h].priority = 0;
        mirrors_.touch(h);
        handle = h;
        return {};
      }
    return {errc::out_of_pages, "conversations", std::int64_t{mirrors_.size()} + 1, 0, mirrors_.size()};
  }
  /// Ends a conversation wherever it is. Copies that are not started are withdrawn; those under way keep their pages and slots
  /// until they end, and the handle with them. Unknown handles are ignored.
  void close(std::uint32_t handle) noexcept {
    if (!known(handle)) return;
    conversation& c = conversations_[handle];
    if (c.ahead != none) queue_.cancel(c.ahead);
    if (c.swap != none) queue_.cancel(c.swap);
    if (c.sequence != none) store_->close(std::exchange(c.sequence, none));
    mirrors_[handle].resident = false;
    mirrors_.clear(handle);
    mirrors_[handle].open = false;
    c.where = residence::closing;
    settle(handle);
  }

  residence where(std::uint32_t handle) const noexcept { return handle < conversations_.size() ? conversations_[handle].where : residence::closed; }
  /// Whether the sequence may take part in a step.
  bool ready(std::uint32_t handle) const noexcept { return where(handle) == residence::running; }
  /// Its sequence in the store, `ready` or still arriving: to reserve room for what comes after. Else `none`.
  std::uint32_t destination(std::uint32_t handle) const noexcept { return known(handle) ? conversations_[handle].sequence : none; }
  /// Its sequence in the store, while `ready`; else `none`.
  std::uint32_t sequence(std::uint32_t handle) const noexcept { return ready(handle) ? conversations_[handle].sequence : none; }
  /// Tokens that `begin_swap_in` can bring back; for a running conversation those that `drop` would leave.
  std::uint32_t kept(std::uint32_t handle) const noexcept {
    if (!known(handle)) return 0;
    const std::uint32_t tokens = mirrors_.kept(handle);
    return ready(handle) ? std::min(tokens, store_->copied(conversations_[handle].sequence) * tile_tokens) : tokens;
  }
  /// What the last copy that failed said; ok when none has since the conversation moved last.
  status last(std::uint32_t handle) const noexcept { return known(handle) ? conversations_[handle].why : status{}; }
  /// Who loses host slots first when they are short; more is later. Until set: 0.
  void set_priority(std::uint32_t handle, std::int32_t priority) noexcept {
    if (known(handle)) mirrors_[handle].priority = priority;
  }

  /// Starts to move a running sequence out, what the host does not hold yet. Its pages become free as copies end.
  /// fails: unknown_sequence, not_ready (it is moving), out_of_pages (the host is full), out_of_range (too many copies queued).
  /// The sequence runs on then; a caller that needs its pages closes it (or `drop`s it) and recomputes.
  status try_swap_out(std::uint32_t handle, leave_reason reason = leave_reason::preempted) noexcept {
    if (status s = is(handle, residence::running); !s) return s;
    conversation& c = conversations_[handle];
    tidy(handle);
    for (typename mirror_set<L>::demand wanted{}, before{};; before = wanted) {
      wanted = {};
      std::uint32_t copies = 0;
      store_->for_each_page(c.sequence, [&](std::uint32_t p, std::uint32_t i, std::uint32_t page) {
        if (!is_dirty(handle, p, i, page)) return;
        ++copies;
        wanted[p] += mirrors_.slot(handle, p, i) == none;
      });
      if (copies > queue_.room()) return {errc::out_of_range, "pieces of a transfer", copies, 0, queue_.room()};
      if (wanted == before) break;  // else mirrors may have to give way, and let go of pages they shared with this sequence
      if (status s = mirrors_.make_room(handle, wanted); !s) return s;
    }
    mirror<L>& m = mirrors_[handle];
    store_->for_each_page(c.sequence, [&](std::uint32_t p, std::uint32_t i, std::uint32_t page) {
      if (is_dirty(handle, p, i, page)) return move(handle, tier::lane::out, p, i, page);
      counts_.saved_bytes += store_->pool(p).page_bytes();
      if (p < L::max_groups && mirrors_.slot(handle, p, i) == none) mirrors_.hold(handle, p, i, page);
    });
    m.mark = store_->mark(c.sequence);
    m.exact = true, m.resident = false, m.waiting = reason == leave_reason::preempted;
    if (c.ahead != none) queue_.promote(c.ahead);
    store_->close(std::exchange(c.sequence, none));
    ++counts_.swaps_out;
    depart(handle, residence::leaving);
    return {};
  }
  /// Starts to bring a conversation back, `kept` tokens of it: all, or its leading tiles when slots were lost.
  /// fails: unknown_sequence, not_ready (it is moving), out_of_range (nothing is kept, too many copies queued), and as
  /// store::adopt (out_of_pages: not now).
  status begin_swap_in(std::uint32_t handle) noexcept {
    if (status s = is(handle, residence::out); !s) return s;
    const std::uint32_t tokens = mirrors_.kept(handle);
    if (tokens == 0) return {errc::out_of_range, "tokens kept", 0, 1, mirrors_[handle].mark.length};
    conversation& c = conversations_[handle];
    mirror<L>& m = mirrors_[handle];
    if (!m.exact) mirrors_.cut(handle, tokens / tile_tokens);
    const std::uint32_t parts = L::max_groups * m.tiles() + static_cast<std::uint32_t>(m.overlay.size()) + 2;
    if (parts > queue_.room()) return {errc::out_of_range, "pieces of a transfer", parts, 0, queue_.room()};
    sequence_mark mark = m.mark;
    if (!m.exact) mark.length = tokens, mark.raw_tile = none;
    status adopted = store_->adopt(mark, c.sequence, [&](std::uint32_t g, std::uint32_t t) { return m.held[g][t]; });
    if (!adopted) return adopted;
    store_->for_each_page(c.sequence, [&](std::uint32_t p, std::uint32_t i, std::uint32_t page) {
      if (p < L::max_groups ? m.held[p][i] == none : m.exact && store_->pool(p).page_bytes() != 0) move(handle, tier::lane::in, p, i, page);
    });
    ++counts_.swaps_in;
    depart(handle, residence::arriving);
    return {};
  }
  /// Gives up a running sequence at once, without a copy: what is kept is what the host holds of its leading tiles.
  /// fails: unknown_sequence, not_ready.
  status drop(std::uint32_t handle) noexcept {
    if (status s = is(handle, residence::running); !s) return s;
    conversation& c = conversations_[handle];
    mirror<L>& m = mirrors_[handle];
    tidy(handle);
    mirrors_.cut(handle, store_->copied(c.sequence));
    m.mark = store_->mark(c.sequence);
    m.resident = false, m.waiting = true;
    mirrors_.lose_loose_parts(handle);
    store_->close(std::exchange(c.sequence, none));
    depart(handle, residence::leaving);
    return {};
  }
  /// Copies sealed tiles of a running sequence out while it runs, as far as host slots are free and when nothing urgent is
  /// queued, so that leaving is quick. Answers how many; 0 while an earlier call's copies are under way.
  std::uint32_t mirror_ahead(std::uint32_t handle) noexcept {
    if (!ready(handle) || conversations_[handle].ahead != none) return 0;
    conversation& c = conversations_[handle];
    tidy(handle);
    std::uint32_t n = 0, stop = tiles_filled(store_->length(c.sequence));
    store_->for_each_page(c.sequence, [&](std::uint32_t p, std::uint32_t i, std::uint32_t page) {
      if (p >= L::max_groups || i >= stop || !is_dirty(handle, p, i, page)) return;
      if (scratch_.size() == queue_.room() || mirrors_.slots(p).free_pages() == 0) return void(stop = i);
      move(handle, tier::lane::out, p, i, page), ++n;
    });
    store_->note_copied(c.sequence);
    if (n != 0) push(handle, c.ahead, tier::urgency::background);
    return n;
  }
  /// Moves out the pages that conversations outside keep in the store and nobody else holds any more; answers how many pages
  /// that will free. To be called when pages are short.
  std::uint32_t reclaim() noexcept {
    std::uint32_t freed = 0;
    for (std::uint32_t h = 0; h < conversations_.size(); ++h) {
      if (conversations_[h].where != residence::out) continue;
      mirror<L>& m = mirrors_[h];
      for (std::uint32_t g = 0; g < L::max_groups; ++g)
        for (std::uint32_t t = 0; t < m.tiles(); ++t) {
          const std::uint32_t page = m.held[g][t];
          if (page == none || store_->pool(g).references(page) != 1 || scratch_.size() == queue_.room()) continue;
          typename mirror_set<L>::demand one{};
          one[g] = 1;
          if (!mirrors_.make_room(h, one)) continue;
          move(h, tier::lane::out, g, t, page);
          mirrors_.let_go(h, g, t);
          ++freed;
        }
      if (!scratch_.empty()) depart(h, residence::leaving);
    }
    return freed;
  }

  /// Takes note of copies that ended, and starts others. To be called every step; never waits. `now`: seconds, for links in
  /// simulated time and the background budget.
  void poll(double now = 0) noexcept {
    now_ = std::max(now_, now);
    while (const auto a = queue_.poll(now)) {
      const bool out = a->what.way == tier::lane::out;
      const std::uint32_t h = owner_[a->transfer], p = (out ? a->what.from : a->what.to).pool;
      const tier::place page = out ? a->what.from : a->what.to, slot = out ? a->what.to : a->what.from;
      conversation& c = conversations_[h];
      if (!a->why) failed(h, *a, p, slot.slot);
      store_->pool(p).release(page.slot);
      mirrors_.slots(p).release(slot.slot);
      if (!a->last) continue;
      (a->transfer == c.ahead ? c.ahead : c.swap) = none;
      settle(h);
    }
  }
  /// Waits until some copy has ended, and takes note of it; answers the time then. For a caller with nothing else to do.
  double wait_any(double now = 0) noexcept {
    now = queue_.wait(now);
    poll(now);
    return now;
  }
  /// Waits until a conversation is not on its way any more; answers the time then.
  double wait(std::uint32_t handle, double now = 0) noexcept {
    for (poll(now);; now = wait_any(now))
      if (const residence r = where(handle); r != residence::leaving && r != residence::arriving && r != residence::closing) return now;
  }
  /// Pages of a store pool that come free when copies have ended, unless others hold them too.
  std::uint32_t leaving_pages(std::uint32_t pool) const noexcept {
    std::uint32_t n = 0;
    queue_.for_each([&](const tier::piece& p) { n += p.way == tier::lane::out && p.from.pool == pool; });
    return n;
  }
  /// Nothing is on its way.
  bool idle() const noexcept { return queue_.idle(); }
  swap_counts counts() const noexcept {
    swap_counts c = counts_;
    c.out = queue_.counts(tier::lane::out), c.in = queue_.counts(tier::lane::in);
    return c;
  }
  /// Walks every invariant of mirrors and store, copies under way included. `others`: as of store::check. Allocates.
  bool check() const { return check([](std::uint32_t, std::vector<std::uint32_t>&) {}); }
  bool check(auto&& others) const {
    const auto under_way = [&](std::uint32_t pool, std::vector<std::uint32_t>& held) {
      queue_.for_each([&](const tier::piece& p) {
        for (const tier::place at : {p.from, p.to})
          if (at.pool == pool) ++held[at.slot];
      });
    };
    const auto of_mirrors = [&](std::uint32_t pool, std::vector<std::uint32_t>& held) {
      under_way(pool, held);
      others(pool, held);
      for (std::uint32_t h = 0; pool < L::max_groups && h < mirrors_.size(); ++h)
        for (const std::uint32_t page : mirrors_[h].held[pool])
          if (page != none) ++held[page];
    };
    return store_->check(of_mirrors) && mirrors_.check([&](std::uint32_t pool, std::vector<std::uint32_t>& held) { under_way(host_pool(pool), held); });
  }

 private:
  struct conversation {
    residence where = residence::closed;
    std::uint32_t sequence = none;
    std::uint32_t ahead = none, swap = none;  ///< transfers
    bool broken = false;                      ///< a copy of this swap failed
    status why{};
  };

  static std::vector<std::uint32_t> places(store_type& pages, const mirror_options<L>& mirrors) {
    std::vector<std::uint32_t> slots(mirrors.slots.begin(), mirrors.slots.end());
    for (std::uint32_t p = pools; p-- > 0;) slots.insert(slots.begin(), pages.pool(p).pages());
    return slots;
  }
  bool known(std::uint32_t h) const noexcept { return h < conversations_.size() && where(h) != residence::closed && where(h) != residence::closing; }
  status is(std::uint32_t h, residence wanted) const noexcept {
    if (!known(h)) return {errc::unknown_sequence, "conversation", h, 0, std::int64_t{mirrors_.size()} - 1};
    if (where(h) != wanted) return {errc::not_ready, "place of the conversation", static_cast<std::int64_t>(where(h)), static_cast<std::int64_t>(wanted), static_cast<std::int64_t>(wanted)};
    return {};
  }
  /// Forgets host copies of tiles that the sequence no longer has, or has rewritten since.
  void tidy(std::uint32_t h) noexcept {
    const std::uint32_t s = conversations_[h].sequence;
    mirrors_.cut(h, std::min(mirrors_[h].tiles(), store_->copied(s)));
    const auto& record = store_->view().sequences[s];
    for (std::uint32_t g = 0; g < L::max_groups; ++g)
      for (std::uint32_t t = 0; t < mirrors_[h].tiles(); ++t)
        if (g >= store_->layout().groups() || record.pages[g][t] == none) mirrors_.lose(h, g, t);
  }
  /// Whether a part of a running sequence, after `tidy`, has to be copied before its page can go.
  bool is_dirty(std::uint32_t h, std::uint32_t p, std::uint32_t i, std::uint32_t page) noexcept {
    if (p >= L::max_groups) return store_->pool(p).page_bytes() != 0;
    return mirrors_.slot(h, p, i) == none && store_->pool(p).references(page) == 1;
  }
  /// Notes a copy of part i between a page and its slot, and shares both for it.
  void move(std::uint32_t h, tier::lane way, std::uint32_t p, std::uint32_t i, std::uint32_t page) noexcept {
    const tier::place there{p, page}, here{host_pool(p), mirrors_.acquire(h, p, i)};
    const bool out = way == tier::lane::out;
    counts_.runs += scratch_.empty() || (out ? scratch_.back().from : scratch_.back().to) != tier::place{p, page - 1};
    ++counts_.pieces;
    store_->pool(p).share(there.slot);
    mirrors_.slots(p).share(here.slot);
    scratch_.push_back({out ? there : here, out ? here : there, way, store_->pool(p).page_bytes(), i});
  }
  void push(std::uint32_t h, std::uint32_t& transfer, tier::urgency how) noexcept {
    const status pushed = queue_.push(scratch_, how, transfer);
    QUIRE_ASSERT(pushed, "quire::kv::swapper: a transfer was planned that the queue does not take");
    static_cast<void>(pushed);
    owner_[transfer] = h;
    scratch_.clear();
  }
  /// Sets out for another residence with the copies noted so far.
  void depart(std::uint32_t h, residence to) noexcept {
    conversation& c = conversations_[h];
    c.where = to, c.broken = false, c.why = {};
    mirrors_[h].pinned = true;
    mirrors_.touch(h);
    if (!scratch_.empty()) push(h, c.swap, tier::urgency::foreground);
    settle(h);
  }
  void failed(std::uint32_t h, const tier::arrival& a, std::uint32_t p, std::uint32_t slot) noexcept {
    conversation& c = conversations_[h];
    if (c.where == residence::closing) return;
    ++counts_.lost_parts;
    c.broken = true, c.why = a.why;
    const bool damaged = a.why.code == errc::corrupt && slot >= a.why.value;  // else an incoming copy may be tried again
    const bool gone = a.what.way == tier::lane::out || damaged;
    if (!gone || mirrors_.slot(h, p, a.what.tag) != slot) return;
    mirrors_.lose(h, p, a.what.tag);
    if (c.where != residence::running) mirrors_[h].exact = false;
  }
  /// Arrives where it was going when no copy is under way any more.
  void settle(std::uint32_t h) noexcept {
    conversation& c = conversations_[h];
    if (c.ahead != none || c.swap != none) return;
    mirror<L>& m = mirrors_[h];
    m.pinned = false;
    if (c.where == residence::closing) {
      c.where = residence::closed;
    } else if (c.where == residence::arriving && c.broken) {
      store_->close(std::exchange(c.sequence, none));
      c.where = residence::out;
    } else if (c.where == residence::arriving) {
      c.where = residence::running;
      m.exact = m.waiting = false, m.resident = true;
      for (std::uint32_t g = 0; g < L::max_groups; ++g)
        for (std::uint32_t t = 0; t < m.tiles(); ++t) mirrors_.let_go(h, g, t);
      store_->note_copied(c.sequence);
      if (!options_.reuse) mirrors_.clear(h);
    } else if (c.where == residence::leaving) {
      c.where = residence::out;
    }
    if (c.where == residence::out && !m.exact) mirrors_.lose_loose_parts(h);
  }

  store_type* store_;
  swapper_options options_;
  mirror_set<L> mirrors_;
  tier::transfer_queue<K> queue_;
  std::vector<conversation> conversations_;
  std::vector<std::uint32_t> owner_;  ///< [transfer] handle
  std::vector<tier::piece> scratch_;
  swap_counts counts_;
  double now_ = 0;
};

}  // namespace quire::inline v0::kv
