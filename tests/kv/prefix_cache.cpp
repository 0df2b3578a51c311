// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/prefix_cache.hpp"

#include <map>
#include <memory>
#include <random>

#include "catch.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/evict/lfu.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"

using namespace quire;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;
constexpr extents tiny{1, 1, 8};

/// A path is a list of kinds of tiles; a kind has 64 tokens of its own.
using path = std::vector<std::uint8_t>;
std::vector<std::int32_t> tokens_of(const path& p) {
  std::vector<std::int32_t> tokens;
  for (std::uint8_t kind : p)
    for (int t = 0; t < 64; ++t) tokens.push_back(t == kind * 21 ? 1000 : t);
  return tokens;
}

/// Writes rows as a model would, each a function of all tokens up to its own, and seals tiles that fill.
template <kv::Layout L>
void append(kv::store<L>& store, std::uint32_t s, std::span<const std::int32_t> tokens, std::uint64_t space, std::uint32_t n) {
  const L& layout = store.layout();
  const extents e = layout.extent();
  const auto view = store.view();
  const auto raw = layout.raw();
  const auto sealed = layout.sealed();
  const std::uint32_t first = store.length(s), dim = e.head_dim;
  checksum past;
  past.add(space);
  std::vector<float> row(dim), x(std::size_t{dim} * 64);
  for (std::uint32_t at = 0; at < first + n; ++at) {
    past.add(static_cast<std::uint64_t>(tokens[at]));
    if (at < first) continue;
    for (std::uint32_t layer = 0; layer < e.layers; ++layer)
      for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
        std::byte* tail = view.tail(s, layer, head);
        for (const kv::side which : {kv::side::key, kv::side::value}) {
          for (std::uint32_t i = 0; i < dim; ++i)
            row[i] = static_cast<float>((past.value() + (layer * 7 + head * 3 + i + (which == kv::side::key ? 50u : 0u)) * 0x9e3779b97f4a7c15u) >> 40 & 0xff) - 100;
          if (which == kv::side::key) raw.key.put(which, dim, at % 64, row.data(), tail);
          else raw.value.put(which, dim, at % 64, row.data(), tail + raw.value_offset(dim));
        }
        if (at % 64 != 63) continue;
        std::byte* to = view.sealed(s, layer, head, at / 64);
        const kv::tile_shape k = kv::shape_of(kv::side::key, dim), v = kv::shape_of(kv::side::value, dim);
        raw.key.decode(view.context(s, layer, head, at / 64, kv::side::key), k, tail, x.data());
        sealed.key.encode(view.context(s, layer, head, at / 64, kv::side::key), k, x.data(), to);
        raw.value.decode(view.context(s, layer, head, at / 64, kv::side::value), v, tail + raw.value_offset(dim), x.data());
        sealed.value.encode(view.context(s, layer, head, at / 64, kv::side::value), v, x.data(), to + sealed.value_offset(dim));
      }
  }
}

/// Everything a query at the end reads of two sequences is the same, bit for bit.
template <kv::Layout L>
bool equal(const kv::store<L>& one, std::uint32_t a, const kv::store<L>& other, std::uint32_t b) {
  if (one.length(a) != other.length(b)) return false;
  const auto x = one.view(), y = other.view();
  const extents e = one.layout().extent();
  const std::uint32_t open = one.length(a) % 64, dim = e.head_dim;
  std::vector<float> p(std::size_t{dim} * 64), q(p);
  for (std::uint32_t layer = 0; layer < e.layers; ++layer)
    for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
      for (std::uint32_t t = 0; t < one.length(a) / 64; ++t)
        if (std::memcmp(x.sealed(a, layer, head, t), y.sealed(b, layer, head, t), one.layout().sealed().key_bytes(dim)) != 0 ||
            std::memcmp(x.sealed(a, layer, head, t) + one.layout().sealed().value_offset(dim), y.sealed(b, layer, head, t) + one.layout().sealed().value_offset(dim),
                        one.layout().sealed().value_bytes(dim)) != 0)
          return false;
      if (open == 0) continue;
      const auto raw = one.layout().raw();
      for (const kv::side which : {kv::side::key, kv::side::value}) {
        const auto decode = [&](const kv::store_view<L>& view, std::uint32_t s, float* to) {
          if (which == kv::side::key) raw.key.decode({}, kv::shape_of(which, dim), view.tail(s, layer, head), to);
          else raw.value.decode({}, kv::shape_of(which, dim), view.tail(s, layer, head) + raw.value_offset(dim), to);
        };
        decode(x, a, p.data()), decode(y, b, q.data());
        for (std::uint32_t t = 0; t < open; ++t)
          for (std::uint32_t i = 0; i < dim; ++i) {
            const std::size_t at = which == kv::side::key ? std::size_t{i} * 64 + t : std::size_t{t} * dim + i;
            if (p[at] != q[at]) return false;
          }
      }
    }
  return true;
}

/// What a cache promises, said as plainly as possible: pages are counted objects, what is remembered is a map from whole paths.
struct plain {
  struct page {
    std::uint32_t& used;
    explicit page(std::uint32_t& u) : used(u) { ++used; }
    ~page() { --used; }
    page(const page&) = delete;
    page& operator=(const page&) = delete;
  };
  using key = std::pair<std::uint64_t, path>;
  struct info {
    std::shared_ptr<page> where;
    std::uint64_t clock = 0;
  };
  struct sequence {
    bool open = false;
    std::uint64_t space = 0;
    path known;                                ///< all its tokens, whole tiles
    std::uint32_t length = 0, at = 0, pure = ~0u;
    std::vector<std::shared_ptr<page>> tiles;
  };
  std::uint32_t pages, capacity, used = 0;
  std::uint64_t clock = 0;
  std::map<key, info> kept;
  std::vector<key> pins;
  std::vector<sequence> sequences;

  plain(std::uint32_t all, std::uint32_t most, std::uint32_t seats) : pages(all), capacity(most), sequences(seats) {}
  ~plain() { sequences.clear(), kept.clear(); }

  static bool begins(const key& whole, const key& part) {
    return whole.first == part.first && whole.second.size() >= part.second.size() && std::equal(part.second.begin(), part.second.end(), whole.second.begin());
  }
  static key first(std::uint64_t space, const path& p, std::size_t tiles) { return {space, path(p.begin(), p.begin() + static_cast<long>(tiles))}; }
  key place(const sequence& s) const { return first(s.space, s.known, s.at); }
  void touch(const key& k) {
    if (k.second.empty()) return;
    ++clock;
    for (auto& [at, x] : kept)
      if (begins(k, at)) x.clock = clock;
  }
  bool needed(const key& k) const {
    for (const sequence& s : sequences)
      if (s.open && begins(place(s), k)) return true;
    return std::any_of(pins.begin(), pins.end(), [&](const key& p) { return begins(p, k); });
  }
  std::uint32_t evictable() const {
    std::uint32_t n = 0;
    for (const auto& [at, x] : kept) n += !needed(at);
    return n;
  }
  std::uint32_t free() const { return pages - used; }
  bool evict() {
    const key* least = nullptr;
    for (const auto& [at, x] : kept) {
      bool end = !needed(at);
      for (auto next = std::next(kept.find(at)); end && next != kept.end() && begins(next->first, at); ++next) end = false;
      if (end && (least == nullptr || x.clock < kept.at(*least).clock)) least = &at;
    }
    if (least != nullptr) kept.erase(kept.find(*least));
    return least != nullptr;
  }
  std::size_t match(std::uint64_t space, const path& p, std::size_t most) const {
    std::size_t n = 0;
    while (n < most && kept.count(first(space, p, n + 1)) != 0) ++n;
    return n;
  }
  errc reserve(sequence& s, std::uint32_t tokens, std::uint32_t max_tokens) {
    if (s.length + tokens > max_tokens) return errc::out_of_range;
    const std::size_t want = (s.length + tokens) / 64;
    const std::size_t missing = want > s.tiles.size() ? want - s.tiles.size() : 0;
    if (missing > free() + evictable()) return errc::out_of_pages;
    while (missing > free())
      if (!evict()) return errc::out_of_pages;
    for (std::size_t i = 0; i < missing; ++i) s.tiles.push_back(std::make_shared<page>(used));
    return errc::ok;
  }
  void insert(sequence& s) {
    while (s.at < std::min(s.length, s.pure) / 64) {
      const key to = first(s.space, s.known, s.at + 1);
      const auto found = kept.find(to);
      if (found == kept.end()) {
        if (kept.size() == capacity && !evict()) return;
        kept[to].where = s.tiles[s.at];
        touch(to);
      } else {
        s.tiles[s.at] = found->second.where;
      }
      const key from = place(s);
      ++s.at;
      touch(from);
    }
  }
  void let_go(sequence& s, std::uint32_t at) {  // of what is behind `at`
    if (s.at <= at) return;
    const key from = place(s);
    s.at = at;
    touch(from);
  }
};

template <kv::Layout L>
void wander(const L& layout, std::uint32_t operations, std::uint32_t tiles, unsigned seed) {
  constexpr std::uint32_t seats = 6, most = 640;
  kv::store_options<L> options{.sequences = seats, .max_tokens = most};
  options.pages[0] = 30;
  kv::store<L> store(layout, options);
  kv::store<L> other(layout, {.sequences = 1, .max_tokens = most, .pages = {10}});  // computes from nothing, for comparison
  kv::prefix_cache cache(store, tiles);
  plain model(30, tiles, seats);
  std::vector<kv::prefix_place> pins;
  std::mt19937 random(seed);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  const auto scramble = [&](path& p, std::size_t from) {
    for (; from < p.size(); ++from) p[from] = static_cast<std::uint8_t>(below(3) == 0 ? 1 + below(2) : 0);
  };
  std::uint32_t hits = 0, refused = 0, compared = 0, rewound = 0, forked = 0, taken = 0;
  for (std::uint32_t i = 0; i < operations; ++i) {
    const std::uint32_t a = below(seats), dice = below(100);
    auto& m = model.sequences[a];
    const auto fail = [&](const std::string& why) { FAIL("operation " << i << " (" << dice << ") on sequence " << a << " of length " << m.length << ": " << why); };
    if (dice < 25) {
      path known(10);
      scramble(known, 0);
      const std::uint64_t space = below(4) == 0 ? 9 : 4;
      const std::uint32_t n = below(641);
      const auto tokens = tokens_of(known);
      std::uint32_t s = 77, free = 0;
      while (free < seats && model.sequences[free].open) ++free;
      const status opened = cache.open(space, std::span(tokens).first(n), s);
      if (free == seats) {
        if (opened.code != errc::out_of_pages || s != 77) fail("opened " + describe(opened));
      } else {
        const std::size_t found = model.match(space, known, n == 0 ? 0 : (n - 1) / 64);
        if (!opened || s != free || store.length(s) != found * 64) fail("open: " + std::to_string(store.length(s)) + " tokens, not " + std::to_string(found * 64));
        auto& x = model.sequences[s];
        x = {true, space, known, static_cast<std::uint32_t>(found * 64), static_cast<std::uint32_t>(found), ~0u, {}};
        for (std::size_t t = 0; t < found; ++t) x.tiles.push_back(model.kept.at(plain::first(space, known, t + 1)).where);
        model.touch(model.place(x));
        hits += found != 0;
      }
    } else if (dice < 65 && m.open) {
      const std::uint32_t n = 1 + below(200);
      const status s = cache.reserve(a, n);
      const errc want = model.reserve(m, n, most);
      if (s.code != want) fail("reserve: " + describe(s) + ", expected " + name(want));
      refused += want == errc::out_of_pages;
      if (s) {
        const auto tokens = tokens_of(m.known);
        append(store, a, tokens, m.space, n);
        REQUIRE(store.commit(a, n));
        m.length += n;
      }
      if (below(5) != 0) {
        REQUIRE(cache.insert(a, tokens_of(m.known)));
        model.insert(m);
      }
    } else if (dice < 72 && m.open) {
      std::uint32_t s = 77;
      if (const status f = cache.fork(a, s); f) {
        ++forked;
        model.sequences[s] = m;
        auto& x = model.sequences[s];
        x.tiles.resize(x.length / 64);
        scramble(x.known, (x.length + 63) / 64);
      }
    } else if (dice < 82 && m.open) {
      const std::uint32_t to = below(2) == 0 ? below(m.length + 1) / 64 * 64 : below(m.length + 1);
      const status s = cache.truncate(a, to);
      if (!s && (s.code != errc::not_rewindable || std::is_same_v<typename L::sealed_pair, typename L::raw_pair>)) fail("truncate: " + describe(s));
      if (s) {
        model.let_go(m, to / 64);
        if (to < m.length) m.tiles.resize(to / 64), scramble(m.known, (to + 63) / 64), ++rewound;
        m.length = to;
        if (to <= m.pure) m.pure = ~0u;
      }
    } else if (dice < 90 && m.open) {
      model.let_go(m, 0);
      m = {};
      cache.close(a);
    } else if (dice < 92) {
      path known(10);
      scramble(known, 0);
      const auto tokens = tokens_of(known);
      const std::uint32_t n = below(641);
      const std::size_t found = model.match(4, known, n / 64);
      const kv::prefix_place at = cache.pin(4, std::span(tokens).first(n));
      if (at.tiles != found) fail("pin");
      pins.push_back(at);
      model.pins.push_back(plain::first(4, known, found));
    } else if (dice < 95 && !pins.empty()) {
      const std::size_t k = below(static_cast<std::uint32_t>(pins.size()));
      cache.unpin(pins[k]);
      const auto key = model.pins[k];
      pins.erase(pins.begin() + static_cast<long>(k));
      model.pins.erase(model.pins.begin() + static_cast<long>(k));
      model.touch(key);
    } else if (dice < 97 && m.open) {
      const std::uint32_t from = below(641);
      const status s = cache.taint(a, from);
      if (static_cast<bool>(s) != (from >= m.at * 64)) fail("taint");
      if (s) m.pure = std::min(m.pure, from);
    } else if (dice < 98 && m.open && m.length != 0) {  // out and in again, as a swap does
      std::vector<std::byte> image(kv::image_bytes(store, a));
      REQUIRE(kv::export_sequence(store, a, image));
      const std::uint32_t pure = cache.pure(a);
      if (pure != m.pure) fail("pure");
      cache.close(a);
      model.let_go(m, 0);
      auto x = m;
      m = {};
      std::uint32_t s = 0;
      if (kv::import_sequence(store, image, s)) {
        ++taken;
        REQUIRE(cache.adopt(x.space, s, pure));
        x.at = 0;
        x.tiles.clear();
        for (std::uint32_t t = 0; t < x.length / 64; ++t) x.tiles.push_back(std::make_shared<plain::page>(model.used));
        model.sequences[s] = x;
      }
    } else if (below(300) == 0) {
      cache.clear();
      while (model.evict()) {}
    }
    if (!cache.check(pins)) fail("check()");
    if (store.free_pages(0) != model.free() || cache.index().size() != model.kept.size() || cache.index().evictable() != model.evictable()) fail("pages");
    for (std::uint32_t s = 0; s < seats; ++s)
      if (store.known(s) != model.sequences[s].open || store.length(s) != model.sequences[s].length) fail("lengths");
    if (i % 16 == 0 && model.sequences[a].open) {  // all it reads is what computing it alone gives
      const auto& x = model.sequences[a];
      std::uint32_t s = 0;
      REQUIRE(other.open(s));
      REQUIRE(other.reserve(s, x.length));
      append(other, s, tokens_of(x.known), x.space, x.length);
      REQUIRE(other.commit(s, x.length));
      if (!equal(store, a, other, s)) fail("bytes");
      other.close(s);
      ++compared;
    }
  }
  INFO(hits << " hits, " << refused << " refused, " << rewound << " rewound, " << forked << " forked, " << taken << " taken over, " << cache.counters().evicted << " evicted, "
            << cache.counters().merged << " merged");
  CHECK(hits > operations / 50);
  CHECK(refused > operations / 1000);
  CHECK(rewound > operations / 50);
  CHECK(forked > operations / 200);
  CHECK(taken > operations / 1000);
  CHECK(compared > operations / 64);
  CHECK(cache.counters().evicted > operations / 1000);
  CHECK(cache.counters().merged > operations / 200);
  for (std::uint32_t s = 0; s < seats; ++s) cache.close(s);
  for (const auto& p : pins) cache.unpin(p);
  cache.clear();
  CHECK(cache.index().size() == 0);
  CHECK(store.free_pages(0) == 30);
}

}  // namespace

TEST_CASE("a hundred thousand random operations leave a cache as the model says") {
  wander(kv::paged<kv::raw_bf16>(tiny), 60000, 64, 1);
  wander(kv::paged<kv::raw_bf16>(tiny), 20000, 8, 2);
  wander(kv::paged<int4>(tiny), 40000, 64, 3);
  wander(kv::paged<int4>(tiny), 5000, 3, 4);
}

TEST_CASE("a sequence that begins with kept tiles holds what one that computed everything holds, bit for bit") {
  const auto all = [](const auto& layout) {
    using L = std::remove_cvref_t<decltype(layout)>;
    const auto tokens = tokens_of({0, 1, 2, 0, 1, 1, 2});
    for (std::uint32_t kept : {64u, 130u, 200u, 256u})
      for (std::uint32_t chunk : {1u, 63u, 64u, 100u, 448u}) {
        kv::store<L> store(layout, kv::pages_for(layout, 2, 512)), alone(layout, kv::pages_for(layout, 1, 512));
        kv::prefix_cache cache(store, 100);
        const auto step = [&](kv::store<L>& to, std::uint32_t s, std::uint32_t n) {
          append(to, s, tokens, 7, n);
          REQUIRE(to.commit(s, n));
        };
        std::uint32_t a = 0, b = 0;
        REQUIRE(cache.open(7, std::span(tokens).first(kept), a));
        REQUIRE(cache.reserve(a, kept));
        step(store, a, kept);
        REQUIRE(cache.insert(a, tokens));
        if (chunk != 63) cache.close(a);  // its tiles stay, and are shared while it is open
        REQUIRE(cache.open(7, std::span(tokens).first(448), b));
        CHECK(store.length(b) == kept / 64 * 64);
        CHECK(cache.counters().hit == kept / 64 * 64);
        CHECK(store.bytes(b) == kv::sequence_bytes(layout, kept / 64 * 64));
        std::uint32_t s = 0;
        REQUIRE(alone.open(s));
        REQUIRE(alone.reserve(s, 448));
        step(alone, s, 448);
        while (store.length(b) < 448) {
          const std::uint32_t n = std::min(chunk, 448 - store.length(b));
          REQUIRE(cache.reserve(b, n));
          step(store, b, n);
        }
        CHECK(equal(store, b, alone, s));
        REQUIRE(cache.insert(b, tokens));
        CHECK(equal(store, b, alone, s));
        CHECK(cache.check());
      }
  };
  all(kv::paged<kv::raw_bf16>({2, 2, 8}));
  all(kv::paged<kv::raw_f32, kv::raw_f32>({1, 2, 16}));
  all(kv::paged<int4>({2, 2, 8}));
  all(kv::paged<kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::row>>>>({1, 1, 64}));
}

namespace {

/// A cache of few pages and a sequence that has computed `tokens`.
struct fixture {
  using L = kv::paged<kv::raw_bf16>;
  kv::store<L> store{L(tiny), {.sequences = 3, .max_tokens = 640, .pages = {6}}};
  kv::prefix_cache<L> cache{store, 50};
  std::vector<kv::prefix_place> pins;

  std::uint32_t run(const std::vector<std::int32_t>& tokens, std::uint64_t space = 1) {
    std::uint32_t s = 0;
    REQUIRE(cache.open(space, tokens, s));
    go_on(s, tokens, space);
    return s;
  }
  void go_on(std::uint32_t s, const std::vector<std::int32_t>& tokens, std::uint64_t space = 1) {
    const auto n = static_cast<std::uint32_t>(tokens.size()) - store.length(s);
    REQUIRE(cache.reserve(s, n));
    append(store, s, tokens, space, n);
    REQUIRE(store.commit(s, n));
    REQUIRE(cache.insert(s, tokens));
    REQUIRE(cache.check(pins));
  }
};

bool is(const status& s, errc code, const std::string& what, std::int64_t value, std::int64_t low, std::int64_t high) {
  UNSCOPED_INFO(describe(s));
  return s.code == code && s.what == what && s.value == value && s.low == low && s.high == high;
}

/// One group of heads, and it has a window.
struct windowed : kv::paged<kv::raw_bf16> {
  using paged::paged;
  constexpr kv::visibility group_sees(std::uint32_t) const noexcept { return {.sinks = 0, .window = 100}; }
};

template <class L>
constexpr bool shared = kv::prefix_shareable<L>;

}  // namespace

TEST_CASE("the last known token is always left to compute") {
  fixture f;
  const auto tokens = tokens_of({0, 1, 2});
  f.cache.close(f.run(tokens));
  const auto hit = [&](std::size_t n) { return f.cache.match(1, std::span(tokens).first(n)).tiles; };
  CHECK(hit(0) == 0);
  CHECK(hit(64) == 0);
  CHECK(hit(65) == 1);
  CHECK(hit(128) == 1);
  CHECK(hit(129) == 2);
  CHECK(hit(192) == 2);
  CHECK(f.cache.counters().hit == 0);  // asking is no use
  CHECK(f.cache.pin(1, tokens).tiles == 3);
}

TEST_CASE("spaces of layouts, models, adapters and salts never meet") {
  fixture f;
  const auto tokens = tokens_of({0, 1});
  const auto of = [](const auto& layout, std::uint64_t model, std::uint64_t adapter, std::uint64_t salt) { return kv::prefix_space(layout, model, adapter, salt); };
  const std::uint64_t here = of(f.store.layout(), 1, 0, 0);
  f.cache.close(f.run(tokens, here));
  const auto more = tokens_of({0, 1, 2});
  CHECK(f.cache.match(here, more).tiles == 2);
  CHECK(f.cache.match(of(f.store.layout(), 1, 0, 0), more).tiles == 2);
  for (std::uint64_t other : {of(f.store.layout(), 2, 0, 0), of(f.store.layout(), 1, 1, 0), of(f.store.layout(), 0, 1, 0), of(f.store.layout(), 1, 0, 1), of(kv::paged<int4>(tiny), 1, 0, 0),
                              of(kv::paged<kv::raw_f16>(tiny), 1, 0, 0), of(kv::paged<kv::raw_bf16>({1, 2, 8}), 1, 0, 0)})
    CHECK(f.cache.match(other, more).tiles == 0);
}

TEST_CASE("a store runs out of pages only when all that nobody needs could not help, and then nothing is lost") {
  fixture f;
  const auto left = tokens_of({0, 0, 0, 0}), right = tokens_of({1, 1, 1, 1, 1});
  f.cache.close(f.run(left));
  CHECK(f.store.free_pages(0) == 2);
  CHECK(f.cache.free_tiles() == 6);
  std::uint32_t s = 0;
  REQUIRE(f.cache.open(1, std::span(left).first(129), s));  // two tiles are needed now
  std::uint32_t t = 0;
  REQUIRE(f.cache.open(1, right, t));
  CHECK(f.cache.free_tiles() == 4);
  CHECK(is(f.cache.reserve(t, 320), errc::out_of_pages, "pages", 5, 0, 4));
  CHECK(f.cache.index().size() == 4);
  REQUIRE(f.cache.reserve(t, 192));
  CHECK(f.cache.counters().evicted == 1);  // what it takes and no more
  CHECK(f.cache.match(1, left).tiles == 3);
  REQUIRE(f.cache.reserve(t, 256));
  CHECK(f.cache.match(1, left).tiles == 2);
  CHECK(is(f.cache.reserve(s, 64), errc::out_of_pages, "pages", 1, 0, 0));
  CHECK(is(f.cache.reserve(s, 1000), errc::out_of_range, "tokens of the sequence", 1128, 1, 640));
  f.cache.close(s);
  REQUIRE(f.cache.reserve(t, 320));
  CHECK(f.cache.check());
}

TEST_CASE("a pinned prefix outlives everything that is not needed") {
  fixture f;
  const auto system = tokens_of({0, 1}), left = tokens_of({0, 1, 0, 0}), right = tokens_of({2, 2, 2, 2});
  f.cache.close(f.run(left));
  const kv::prefix_place pin = f.cache.pin(1, system);
  CHECK(pin.tiles == 2);
  f.pins = {pin};
  f.cache.close(f.run(right));
  CHECK(f.cache.match(1, left).tiles == 2);
  CHECK_FALSE(f.cache.check());  // the pin must be told of
  CHECK(f.cache.check(f.pins));
  f.cache.clear();
  CHECK(f.cache.index().size() == 2);
  f.cache.unpin(pin);
  f.cache.clear();
  CHECK(f.cache.index().size() == 0);
  CHECK(f.store.free_pages(0) == 6);
}

TEST_CASE("two that compute the same at once end with one copy, and who asks is told that it is coming") {
  fixture f;
  const auto tokens = tokens_of({0, 1, 2}), other = tokens_of({0, 1, 1, 0}), short_one = tokens_of({0});
  CHECK_FALSE(f.cache.coming(1, tokens));
  std::uint32_t a = 0, b = 0;
  REQUIRE(f.cache.open(1, tokens, a));
  CHECK(f.cache.coming(1, other));
  CHECK_FALSE(f.cache.coming(2, other));
  CHECK_FALSE(f.cache.coming(1, short_one));  // it could not use the tile
  REQUIRE(f.cache.open(1, tokens, b));
  f.go_on(a, std::vector(tokens.begin(), tokens.begin() + 64));
  CHECK_FALSE(f.cache.coming(1, tokens));  // the rest was not said to be known
  REQUIRE(f.cache.insert(a, tokens));
  CHECK(f.cache.coming(1, tokens));
  CHECK(f.cache.match(1, tokens).tiles == 1);
  f.go_on(b, tokens);
  CHECK(f.store.free_pages(0) == 3);  // 64 tokens of b were given back
  CHECK(f.cache.counters().merged == 1);
  CHECK(f.store.tile(a, 0) == f.store.tile(b, 0));
  f.go_on(a, tokens);
  CHECK(f.store.free_pages(0) == 3);
  CHECK(f.cache.counters().merged == 3);
  CHECK_FALSE(f.cache.coming(1, other));
  f.cache.close(b);
  f.cache.close(a);
  CHECK(f.store.free_pages(0) == 3);
  REQUIRE(f.cache.open(1, other, a));
  CHECK(f.cache.coming(1, other));
  REQUIRE(f.cache.taint(a, 150));  // what it computes there is not to be shared
  CHECK_FALSE(f.cache.coming(1, other));
  f.cache.close(a);
  REQUIRE(f.cache.open(1, other, a));
  CHECK(f.cache.coming(1, other));
  f.cache.close(a);
  CHECK_FALSE(f.cache.coming(1, other));
}

TEST_CASE("nobody waits for a tile that is computed and was not remembered, or never will be") {
  fixture f;
  const auto tokens = tokens_of({0, 1, 2, 0});
  std::uint32_t s = 0;
  REQUIRE(f.cache.open(1, tokens, s));
  REQUIRE(f.cache.taint(s, 150));
  f.go_on(s, std::vector(tokens.begin(), tokens.begin() + 128));
  REQUIRE(f.cache.insert(s, tokens));
  CHECK(f.cache.match(1, tokens).tiles == 2);
  CHECK_FALSE(f.cache.coming(1, tokens));
  f.cache.close(s);
  REQUIRE(f.cache.open(1, tokens, s));
  CHECK(f.cache.coming(1, tokens));
  std::uint32_t t = 0;
  REQUIRE(f.cache.fork(s, t));
  f.cache.close(s);
  CHECK_FALSE(f.cache.coming(1, tokens));  // a fork goes its own way
  f.cache.close(t);
  REQUIRE(f.cache.open(1, tokens, s));
  REQUIRE(f.cache.truncate(s, 64));
  CHECK_FALSE(f.cache.coming(1, tokens));  // it may go another way now
  kv::store<fixture::L> store(fixture::L(tiny), {.sequences = 1, .max_tokens = 640, .pages = {6}});
  kv::prefix_cache small(store, 1);
  REQUIRE(small.open(1, tokens, s));
  REQUIRE(small.reserve(s, 192));
  REQUIRE(store.commit(s, 192));
  REQUIRE(small.insert(s, tokens));
  CHECK(small.match(1, tokens).tiles == 1);
  CHECK_FALSE(small.coming(1, tokens));
}

TEST_CASE("what was opened on often outlives what is newer where the policy counts hits") {
  kv::store<fixture::L> store(fixture::L(tiny), {.sequences = 1, .max_tokens = 640, .pages = {6}});
  kv::prefix_cache cache(store, 2, kv::evict::lfu{});
  std::uint32_t s = 0;
  const auto run = [&](std::uint8_t kind) {
    const auto tokens = tokens_of({kind, kind});
    REQUIRE(cache.open(1, std::span(tokens).first(65), s));
    if (store.length(s) == 0) {
      REQUIRE(cache.reserve(s, 64));
      REQUIRE(store.commit(s, 64));
      REQUIRE(cache.insert(s, tokens));
    }
    cache.close(s);
  };
  run(0), run(0), run(1), run(2);
  CHECK(cache.match(1, tokens_of({0, 0})).tiles == 1);
  CHECK(cache.match(1, tokens_of({1, 1})).tiles == 0);
  CHECK(cache.counters().opened == 4);
  CHECK(cache.counters().hit == 64);
}

TEST_CASE("a cache that goes gives back what only it held") {
  fixture f;
  {
    kv::prefix_cache<fixture::L> brief(f.store, 4);
    std::uint32_t s = 0;
    const auto tokens = tokens_of({0, 1});
    REQUIRE(brief.open(1, tokens, s));
    REQUIRE(brief.reserve(s, 128));
    REQUIRE(f.store.commit(s, 128));
    REQUIRE(brief.insert(s, tokens));
    brief.close(s);
    CHECK(f.store.free_pages(0) == 4);
  }
  CHECK(f.store.free_pages(0) == 6);
  CHECK(f.store.check());
}

TEST_CASE("what is approximate never enters, and neither do its forks") {
  fixture f;
  const auto tokens = tokens_of({0, 1, 2});
  std::uint32_t s = 0, t = 0;
  REQUIRE(f.cache.open(1, tokens, s));
  REQUIRE(f.cache.taint(s, 100));
  f.go_on(s, tokens);
  CHECK(f.cache.index().size() == 1);
  REQUIRE(f.cache.fork(s, t));
  REQUIRE(f.cache.insert(t, tokens));
  CHECK(f.cache.index().size() == 1);
  CHECK(is(f.cache.taint(s, 63), errc::out_of_range, "first tainted token", 63, 64, 0xffffffff));
  REQUIRE(f.cache.truncate(s, 100));  // computed again, and well
  f.go_on(s, tokens);
  CHECK(f.cache.index().size() == 3);
}

TEST_CASE("calls that fail name what was wrong") {
  fixture f;
  std::uint32_t s = 5;
  CHECK(is(f.cache.insert(0, {}), errc::unknown_sequence, "sequence", 0, 0, 2));
  CHECK(is(f.cache.taint(9, 0), errc::unknown_sequence, "sequence", 9, 0, 2));
  CHECK(is(f.cache.fork(1, s), errc::unknown_sequence, "sequence", 1, 0, 2));
  CHECK(is(f.cache.truncate(1, 0), errc::unknown_sequence, "sequence", 1, 0, 2));
  CHECK(is(f.cache.adopt(1, 0), errc::unknown_sequence, "sequence", 0, 0, 2));
  f.cache.close(7);
  const auto tokens = tokens_of({0, 1});
  const std::uint32_t a = f.run(tokens);
  CHECK(is(f.cache.insert(a, std::span(tokens).first(127)), errc::out_of_range, "known tokens", 127, 128, 0xffffffff));
  CHECK(f.cache.adopt(1, a).code == errc::unknown_sequence);  // it is known already
  for (int i = 0; i < 2; ++i) REQUIRE(f.cache.open(1, tokens, s));
  s = 5;
  CHECK(f.cache.open(1, tokens, s).code == errc::out_of_pages);
  CHECK(s == 5);
  CHECK(f.cache.check());

  kv::store<windowed> store(windowed(tiny), {.sequences = 1, .max_tokens = 640, .pages = {6}});
  kv::prefix_cache cache(store, 8);
  REQUIRE(cache.open(1, tokens, s));
  CHECK(is(cache.insert(s, tokens), errc::unsupported_shape, "window of a layout whose tiles are to be shared", 100, 0xffffffff, 0xffffffff));
}

TEST_CASE("only layouts whose sequences are their sealed tiles share prefixes") {
  STATIC_REQUIRE(shared<kv::paged<kv::raw_bf16>>);
  STATIC_REQUIRE(shared<kv::paged<int4, kv::raw_f32>>);
  STATIC_REQUIRE_FALSE(shared<kv::head_split<kv::raw_bf16>>);
  STATIC_REQUIRE_FALSE(shared<kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>>);
  STATIC_REQUIRE_FALSE(shared<kv::overlay<kv::paged<int4>>>);
  STATIC_REQUIRE_FALSE(shared<kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>>);
  STATIC_REQUIRE_FALSE(shared<kv::paged<kv::codec_pair<kv::balanced<kv::integer<4, kv::group::row>>, kv::integer<4, kv::group::row>>>>);
}
