// SPDX-License-Identifier: Apache-2.0
// Which runs of tokens are already kept, and where: a radix tree whose edges are tiles. A tile of a tree is found by hashing its
// path, and believed only when its tokens and its parent are the ones asked for.
#pragma once

#include <bit>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "../core/extents.hpp"
#include "evict/lru.hpp"

namespace quire::inline v0::kv {

/// Hash of a path that is `path` longer by the 64 tokens of a tile. `seed`: give a secret one where users could look for
/// collisions; they cost time, never a wrong answer.
struct tile_hash {
  std::uint64_t seed = 0x243f6a8885a308d3u;

  std::uint64_t operator()(std::uint64_t path, const std::int32_t* tokens) const noexcept {
    constexpr std::uint64_t odd = 0x9e3779b97f4a7c15u;
    std::uint64_t lanes[4] = {seed, seed + odd, seed ^ odd, ~seed};  // independent, so that multiplications overlap
    for (std::uint32_t t = 0; t < tile_tokens; t += 8)
      for (std::uint32_t i = 0; i < 4; ++i) {
        std::uint64_t w;
        std::memcpy(&w, tokens + t + 2 * i, sizeof w);
        lanes[i] = (lanes[i] ^ w) * odd;
        lanes[i] ^= lanes[i] >> 32;
      }
    for (std::uint64_t lane : lanes) {
      path = (path ^ lane) * odd;
      path ^= path >> 29;
    }
    return path;
  }
};

/// A place in the tree: behind `tiles` tiles of what begins in `space`, the last of them `node`. Spaces share nothing: one for
/// every model, adapter and way of keeping bytes.
struct prefix_place {
  static constexpr std::uint32_t root = 0xffffffffu;
  std::uint64_t space = 0;
  std::uint32_t node = root;
  std::uint32_t tiles = 0;
  friend bool operator==(const prefix_place&, const prefix_place&) = default;
};

/// Tree of kept tiles with whatever says where each is kept. Bounded: a tile goes when its owner evicts, least worthy first,
/// always from the ends, so that what stands is a whole prefix. A place that is held stays, with all that leads to it.
/// shape: tokens come in whole tiles; cost: a tile looked up, held or let go O(1), evicted O(log tiles); no allocation after construction.
/// throws (constructor only): std::bad_alloc. One thread at a time. from: RadixAttention (arXiv:2312.07104); test: tests/kv/prefix_index.cpp
template <class Pages, evict::Eviction Policy = evict::lru, class Hash = tile_hash>
class prefix_index {
  static_assert(std::is_trivially_copyable_v<Pages>, "quire::kv::prefix_index: Pages must be trivially copyable, it is a name of pages and not their owner");

 public:
  static constexpr std::uint32_t root = prefix_place::root;

  explicit prefix_index(std::uint32_t tiles, Policy policy = {}, Hash hash = {})
      : policy_(policy), hash_(hash), nodes_(tiles), tokens_(std::size_t{tiles} * tile_tokens), cells_(std::bit_ceil(std::uint64_t{tiles} * 2 + 2)), mask_(static_cast<std::uint32_t>(cells_.size() - 1)) {
    ends_.reserve(tiles);
    free_.reserve(tiles);
    for (std::uint32_t n = tiles; n != 0; --n) free_.push_back(n - 1);
  }

  std::uint32_t capacity() const noexcept { return static_cast<std::uint32_t>(nodes_.size()); }
  std::uint32_t size() const noexcept { return capacity() - static_cast<std::uint32_t>(free_.size()); }
  bool full() const noexcept { return free_.empty(); }
  /// Tiles that evictions can take while nothing else happens: all that no held place needs.
  std::uint32_t evictable() const noexcept { return size() - locked_; }
  const Policy& policy() const noexcept { return policy_; }

  const Pages& pages(std::uint32_t node) const noexcept { return nodes_[node].pages; }
  std::uint32_t parent(std::uint32_t node) const noexcept { return nodes_[node].parent; }

  /// What the tile behind `at` with these tokens is called before anyone knows it. Equal paths, equal names; not the reverse.
  std::uint64_t name(const prefix_place& at, const std::int32_t* tokens) const noexcept {
    return hash_(at.node == root ? at.space * 0xbf58476d1ce4e5b9u : nodes_[at.node].name, tokens);
  }
  /// Goes on by the tile of `tokens` [64] if it is kept.
  bool descend(prefix_place& at, const std::int32_t* tokens) const noexcept {
    const std::uint64_t n = name(at, tokens);
    for (std::uint32_t i = home(n); cells_[i].node != root; i = (i + 1) & mask_)
      if (cells_[i].tag == tag(n) && is(cells_[i].node, at, tokens)) {
        at = {at.space, cells_[i].node, at.tiles + 1};
        return true;
      }
    return false;
  }
  /// The longest kept run of whole tiles that `tokens` begins with. Counts as no use.
  prefix_place match(std::uint64_t space, std::span<const std::int32_t> tokens) const noexcept {
    prefix_place at{space};
    while (tokens.size() - at.tiles * std::size_t{tile_tokens} >= tile_tokens && descend(at, tokens.data() + at.tiles * std::size_t{tile_tokens})) {}
    return at;
  }
  /// The place `tiles` tiles from the beginning on the way to `at`. Precondition: tiles <= at.tiles.
  prefix_place above(prefix_place at, std::uint32_t tiles) const noexcept {
    for (; at.tiles > tiles; --at.tiles) at.node = nodes_[at.node].parent;
    return at;
  }

  /// Keeps a tile behind `at`, and goes there. Preconditions: not full, and `descend` finds nothing.
  void insert(prefix_place& at, const std::int32_t* tokens, const Pages& pages) noexcept {
    const std::uint32_t n = free_.back();
    entry& x = nodes_[n];
    x = entry{.name = name(at, tokens), .space = at.space, .parent = at.node, .usage = {++clock_, 0, at.tiles, policy_.age()}, .pages = pages, .live = true};
    free_.pop_back();
    std::memcpy(tokens_.data() + std::size_t{n} * tile_tokens, tokens, tile_tokens * sizeof *tokens);
    std::uint32_t i = home(x.name);
    while (cells_[i].node != root) i = (i + 1) & mask_;
    cells_[i] = {tag(x.name), n};
    if (at.node != root) {
      if (nodes_[at.node].end != none) leave(at.node);
      ++nodes_[at.node].children;
    }
    enter(n);
    at = {at.space, n, at.tiles + 1};
  }
  /// A place was found and is used.
  void use(const prefix_place& at) noexcept {
    if (at.node != root) ++nodes_[at.node].usage.hits, touch(at.node);
  }
  /// Keeps a place, and all that leads to it, until it is let go as often.
  void hold(const prefix_place& at) noexcept {
    for (std::uint32_t n = at.node; n != root; n = nodes_[n].parent) {
      if (nodes_[n].locks++ != 0) return;
      ++locked_;
      if (nodes_[n].end != none) leave(n);
    }
  }
  void let_go(const prefix_place& at) noexcept {
    if (at.node == root) return;
    QUIRE_ASSERT(nodes_[at.node].locks > 0, "quire::kv::prefix_index: a place let go more often than held");
    touch(at.node);  // it was in use until now
    for (std::uint32_t n = at.node; n != root; n = nodes_[n].parent) {
      if (--nodes_[n].locks != 0) return;
      --locked_;
      if (nodes_[n].children == 0) enter(n);
    }
  }
  /// Forgets the least worthy of the tiles that nothing needs; `release(pages)` first. false: everything is needed.
  template <class F>
  bool evict(F&& release) {
    if (ends_.empty()) return false;
    policy_.evicted(nodes_[ends_.front()].value);
    remove(ends_.front(), release);
    return true;
  }
  /// Forgets the tiles on the way to `at` that nothing else needs, from its end. Answers how many.
  template <class F>
  std::uint32_t forget(const prefix_place& at, F&& release) {
    std::uint32_t count = 0;
    for (std::uint32_t n = at.node; n != root && nodes_[n].end != none; ++count) {
      const std::uint32_t up = nodes_[n].parent;
      remove(n, release);
      n = up;
    }
    return count;
  }

  /// f(node, pages) over all kept tiles.
  template <class F>
  void for_each(F&& f) const {
    for (std::uint32_t n = 0; n < capacity(); ++n)
      if (nodes_[n].live) f(n, nodes_[n].pages);
  }
  /// Walks every invariant; `holds[node]`: how often its place is held. Allocates.
  bool check(std::span<const std::uint32_t> holds) const {
    std::vector<std::uint32_t> children(capacity(), 0), locks(holds.begin(), holds.end());
    locks.resize(capacity(), 0);
    std::uint32_t live = 0, locked = 0, ends = 0;
    for (const entry& x : nodes_) {
      if (!x.live) continue;
      ++live, locked += x.locks != 0;
      if (x.parent == root) continue;
      const entry& up = nodes_[x.parent];
      if (!up.live || up.usage.tile + 1 != x.usage.tile || up.space != x.space) return false;
      ++children[x.parent], locks[x.parent] += x.locks != 0;
    }
    for (std::uint32_t n = 0; n < capacity(); ++n) {
      const entry& x = nodes_[n];
      if (!x.live) continue;
      if (x.children != children[n] || x.locks != locks[n] || (x.parent == root) != (x.usage.tile == 0)) return false;
      prefix_place at{x.space, x.parent, x.usage.tile};
      if (!descend(at, tokens_of(n)) || at.node != n) return false;  // found, and found once
      if ((x.end != none) != (x.children == 0 && x.locks == 0)) return false;
      if (x.end == none) continue;
      if (++ends; x.end >= ends_.size() || ends_[x.end] != n || x.value != policy_.value(x.usage) || (x.end != 0 && before(n, ends_[(x.end - 1) / 2]))) return false;
    }
    std::uint32_t named = 0;
    for (const cell& c : cells_) named += c.node != root;
    return live == size() && named == live && locked == locked_ && ends == ends_.size();
  }

 private:
  static constexpr std::uint32_t none = 0xffffffffu;
  struct entry {
    std::uint64_t name = 0, space = 0;
    std::uint32_t parent = root;
    std::uint32_t children = 0;
    std::uint32_t locks = 0;    ///< times held, and one for every child that has locks
    std::uint32_t end = none;   ///< place in `ends_`
    evict::usage usage;
    double value = 0;           ///< what the policy said when it entered `ends_` or was used there
    Pages pages{};
    bool live = false;
  };
  struct cell {
    std::uint32_t tag = 0, node = root;
  };

  template <class F>
  void remove(std::uint32_t n, F&& release) {
    entry& x = nodes_[n];
    release(static_cast<const Pages&>(x.pages));
    leave(n);
    forget_name(n);
    if (x.parent != root) {
      entry& up = nodes_[x.parent];
      up.usage.hits += x.usage.hits;  // who used a tile used all before it
      if (x.usage.clock > up.usage.clock) up.usage.clock = x.usage.clock, up.usage.age = x.usage.age;
      if (--up.children == 0 && up.locks == 0) enter(x.parent);
    }
    x.live = false;
    free_.push_back(n);
  }
  static std::uint32_t tag(std::uint64_t name) noexcept { return static_cast<std::uint32_t>(name >> 32); }
  std::uint32_t home(std::uint64_t name) const noexcept { return static_cast<std::uint32_t>(name) & mask_; }
  const std::int32_t* tokens_of(std::uint32_t n) const noexcept { return tokens_.data() + std::size_t{n} * tile_tokens; }
  bool is(std::uint32_t n, const prefix_place& behind, const std::int32_t* tokens) const noexcept {
    return nodes_[n].parent == behind.node && nodes_[n].space == behind.space && std::memcmp(tokens_of(n), tokens, tile_tokens * sizeof *tokens) == 0;
  }
  void forget_name(std::uint32_t n) noexcept {
    std::uint32_t i = home(nodes_[n].name);
    while (cells_[i].node != n) i = (i + 1) & mask_;
    for (std::uint32_t j = (i + 1) & mask_; cells_[j].node != root; j = (j + 1) & mask_) {
      // the cell at j may move back to the hole at i only if its home does not lie after the hole
      if (((j - home(nodes_[cells_[j].node].name)) & mask_) < ((j - i) & mask_)) continue;
      cells_[i] = cells_[j];
      i = j;
    }
    cells_[i] = {};
  }
  void touch(std::uint32_t n) noexcept {
    nodes_[n].usage.clock = ++clock_, nodes_[n].usage.age = policy_.age();
    if (nodes_[n].end != none) leave(n), enter(n);
  }

  // Tiles that could go, a binary heap whose first is the least worthy.
  bool before(std::uint32_t a, std::uint32_t b) const noexcept {
    const entry &x = nodes_[a], &y = nodes_[b];
    return x.value != y.value ? x.value < y.value : x.usage.clock < y.usage.clock;
  }
  void set(std::uint32_t at, std::uint32_t n) noexcept { ends_[at] = n, nodes_[n].end = at; }
  void rise(std::uint32_t at, std::uint32_t n) noexcept {
    for (; at != 0 && before(n, ends_[(at - 1) / 2]); at = (at - 1) / 2) set(at, ends_[(at - 1) / 2]);
    set(at, n);
  }
  void enter(std::uint32_t n) noexcept {
    nodes_[n].value = policy_.value(nodes_[n].usage);
    ends_.push_back(n);
    rise(static_cast<std::uint32_t>(ends_.size() - 1), n);
  }
  void leave(std::uint32_t n) noexcept {
    std::uint32_t at = nodes_[n].end;
    const std::uint32_t last = ends_.back(), size = static_cast<std::uint32_t>(ends_.size() - 1);
    ends_.pop_back();
    nodes_[n].end = none;
    if (last == n) return;
    for (std::uint32_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && before(ends_[child + 1], ends_[child])) ++child;
      if (!before(ends_[child], last)) break;
      set(at, ends_[child]);
    }
    rise(at, last);
  }

  Policy policy_;
  Hash hash_;
  std::vector<entry> nodes_;
  std::vector<std::int32_t> tokens_;   ///< [node][tile_tokens]
  std::vector<cell> cells_;            ///< open addressing by name, at most half full
  std::uint32_t mask_;
  std::vector<std::uint32_t> ends_, free_;
  std::uint32_t locked_ = 0;           ///< nodes with locks
  std::uint64_t clock_ = 0;
};

}  // namespace quire::inline v0::kv
