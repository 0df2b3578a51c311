// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/swapper.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include "catch.hpp"
#include "kv/scribe.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/image.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"
#include "quire/kv/swap_memory.hpp"
#include "quire/tier/copy_thread.hpp"
#include "quire/tier/file_pool.hpp"
#include "quire/tier/virtual_link.hpp"
#include "tier/fake_link.hpp"

using namespace quire;
using kv::leave_reason, kv::residence;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;
using mean = kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>;
constexpr extents tiny{1, 2, 8};
const kv::head_classes classes(tiny, std::vector<std::uint8_t>{1, 0});

/// A store with a swapper around it, and the image that each conversation had when it left.
template <kv::Layout L, class K = tier_test::fake_link>
struct house {
  static constexpr std::uint32_t none = kv::page_pool::none;
  struct guest {
    std::vector<std::uint32_t> written;  // while it is not in the store
    std::vector<std::byte> image;
  };
  kv_test::scribe<L> book;
  kv::swap_memory memory;
  K link;
  kv::swapper<L, K> swap;
  std::map<std::uint32_t, guest> guests;
  std::mt19937 random{5};

  template <class... Link>
  house(const L& layout, std::uint32_t sequences, std::uint32_t tokens, const kv::mirror_options<L>& mirrors, const kv::swapper_options& options, const Link&... how)
      : book(layout, sequences, tokens), memory(book.store, mirrors), link(memory.pools(), how...), swap(book.store, link, mirrors, options) {}

  std::uint32_t open() {
    std::uint32_t h = none;
    if (!swap.open(h)) return none;
    book.forget(swap.sequence(h));
    guests[h] = {};
    return h;
  }
  /// Tokens, and overlays and state as kernels might leave them.
  bool append(std::uint32_t h, std::uint32_t n) {
    const std::uint32_t s = swap.sequence(h);
    if (!book.append(s, n)) return false;
    book.store.for_each_page(s, [&](std::uint32_t p, std::uint32_t, std::uint32_t page) {
      kv::page_pool& pool = book.store.pool(p);
      for (std::size_t i = 0; p > book.store.tails && i < pool.page_bytes(); i += 16) pool.page(page)[i] = static_cast<std::byte>(random());
    });
    return true;
  }
  std::vector<std::byte> image(std::uint32_t h) {
    std::vector<std::byte> x(kv::image_bytes(book.store, swap.sequence(h)));
    REQUIRE(kv::export_sequence(book.store, swap.sequence(h), x));
    return x;
  }
  status leave(std::uint32_t h, leave_reason reason = leave_reason::preempted) {
    guest g;
    if (swap.ready(h)) g = {book.written[swap.sequence(h)], image(h)};
    const status s = swap.try_swap_out(h, reason);
    if (s) guests[h] = std::move(g);
    return s;
  }
  /// What came back is what left, whole or its leading tiles. Answers whether whole.
  bool arrived(std::uint32_t h) {
    REQUIRE(swap.ready(h));
    const std::uint32_t s = swap.sequence(h), n = book.store.length(s);
    guest& g = guests[h];
    REQUIRE(n <= g.written.size());
    const bool whole = n == g.written.size() && !g.image.empty() && image(h) == g.image;
    REQUIRE((whole || (kv::mirror_set<L>::cuttable && n % 64 == 0)));
    book.written[s].assign(g.written.begin(), g.written.begin() + n);
    g = {};
    if (!L::overlays) book.verify(s);
    return whole;
  }
  void come_back(std::uint32_t h) {
    swap.wait(h);
    REQUIRE(swap.begin_swap_in(h));
    CHECK(swap.sequence(h) == none);
    swap.wait(h);
    arrived(h);
  }
};

struct tally {
  std::uint64_t whole = 0, part = 0, nothing = 0, failed = 0, lost = 0, reclaimed = 0, full = 0, ahead = 0, closed_moving = 0, dropped = 0, violations = 0, started = 0;
};

/// Everything at random over a link that delays, reorders and fails; the scribe and the link are the oracle.
template <kv::Layout L>
tally wander(const L& layout, std::uint32_t operations, unsigned seed, double failing) {
  kv::mirror_options<L> room = kv::mirrors_for(layout, 5, 500);
  room.mirrors = 9;
  house<L> all(layout, 5, 500, room, {.transfers = {.pieces = 60, .copies = 3, .copy_bytes = seed % 2 == 0 ? 1u << 20 : 0}},
               tier_test::fake_link::options{.seed = seed, .failing = failing, .delay = 3 + seed % 8});
  auto& [book, memory, link, swap, guests, random] = all;
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  std::map<std::uint32_t, std::uint32_t> arriving, leaving;  // conversation, tokens that have to come
  tally t;
  for (std::uint32_t i = 0; i < operations; ++i) {
    const std::uint32_t h = below(9), s = swap.sequence(h);
    const residence where = swap.where(h);
    switch (const std::uint32_t dice = below(40); dice) {
      case 0: all.open(); break;
      case 1: case 2: case 3: case 4: case 5: case 6:
        if (swap.ready(h) && !all.append(h, 1 + below(90)) && below(2) == 0) t.reclaimed += swap.reclaim();
        break;
      case 7:
        if (swap.ready(h) && below(3) == 0) book.truncate(s, book.store.length(s) - std::min(book.store.length(s), below(150)));
        break;
      case 8:
        if (std::uint32_t to = 0, other = 0; swap.ready(h) && L::traits.shareable && book.store.fork(s, to)) {
          if (swap.track(to, other)) book.written[to] = book.written[s], guests[other] = {};
          else book.store.close(to);
        }
        break;
      case 9: case 10: case 11: case 12: case 13:
        if (const status r = all.leave(h, below(2) == 0 ? leave_reason::idle : leave_reason::preempted); r) {
          leaving[h] = static_cast<std::uint32_t>(guests[h].written.size());
        } else if (r.code == errc::out_of_pages) {
          ++t.full;
          REQUIRE(swap.sequence(h) == s);
        }
        break;
      case 14: case 15: case 16: case 17: case 18:
        if (where != residence::out) break;
        if (const std::uint32_t tokens = swap.kept(h); tokens == 0) {
          ++t.nothing;
          swap.close(h);
        } else if (swap.begin_swap_in(h)) {
          arriving[h] = tokens;
        }
        break;
      case 19:
        if (below(4) != 0) break;
        t.closed_moving += where == residence::leaving || where == residence::arriving;
        swap.close(h);
        arriving.erase(h), leaving.erase(h);
        break;
      case 20: case 21: t.ahead += swap.mirror_ahead(h); break;
      case 22:
        if (!swap.ready(h) || below(4) != 0) break;
        guests[h] = {book.written[s], {}};
        t.dropped += static_cast<bool>(swap.drop(h));
        break;
      case 23: swap.set_priority(h, static_cast<std::int32_t>(below(3))); break;
      case 24: t.reclaimed += swap.reclaim(); break;
      default: swap.poll();
    }
    for (auto a = arriving.begin(); a != arriving.end();) {
      const auto [c, tokens] = *a;
      if (swap.where(c) == residence::arriving) {
        ++a;
        continue;
      }
      a = arriving.erase(a);
      if (swap.where(c) == residence::running) {
        REQUIRE(book.store.length(swap.sequence(c)) == tokens);
        ++(all.arrived(c) ? t.whole : t.part);
      } else {  // rule (iii): what was on the host still is
        ++t.failed;
        REQUIRE(swap.last(c).code == errc::io);
        REQUIRE(swap.kept(c) == tokens);
      }
    }
    for (auto a = leaving.begin(); a != leaving.end();) {
      const auto [c, tokens] = *a;
      if (swap.where(c) == residence::leaving) {
        ++a;
        continue;
      }
      a = leaving.erase(a);
      if (swap.last(c)) REQUIRE(swap.kept(c) == tokens);
      else ++t.lost;
    }
    for (std::uint32_t x = 0; x < 9; ++x) {  // rule (ii), and nothing that runs is written to
      if (!swap.ready(x) || (i + x) % 4 != 0) continue;
      bool touched = false;
      book.store.for_each_page(swap.sequence(x), [&](std::uint32_t p, std::uint32_t, std::uint32_t page) {
        touched = touched || link.busy({p, page}, p >= L::max_groups);
      });
      REQUIRE_FALSE(touched);
    }
    if (i % 16 == 0) {
      if (swap.ready(h) && !L::overlays) book.verify(swap.sequence(h));
      if (!swap.check()) FAIL("operation " << i);
    }
    REQUIRE(link.violations == 0);
  }
  for (std::uint32_t h = 0; h < 9; ++h) swap.close(h);
  for (int i = 0; i < 10000 && !swap.idle(); ++i) swap.poll();
  REQUIRE(swap.check());
  for (std::uint32_t p = 0; p <= book.store.pools; ++p) CHECK(book.store.pool(p).free_pages() == book.store.pool(p).pages());
  t.violations = link.violations, t.started = link.started;
  return t;
}

void plausible(const tally& t, std::uint32_t operations, bool cuttable, bool failing) {
  INFO("whole " << t.whole << " part " << t.part << " nothing " << t.nothing << " failed " << t.failed << " lost " << t.lost << " reclaimed " << t.reclaimed << " full " << t.full
                << " ahead " << t.ahead << " closed " << t.closed_moving << " dropped " << t.dropped << " started " << t.started);
  CHECK(t.whole > operations / 200);
  CHECK(t.closed_moving > operations / 4000);
  CHECK(t.ahead > operations / 200);
  CHECK(t.full > 0);
  CHECK(t.nothing > 0);
  if (failing) CHECK(t.failed > operations / 2000);
  if (failing) CHECK(t.lost > operations / 2000);
  if (cuttable) CHECK(t.part > operations / 500);
  if (cuttable) CHECK(t.reclaimed > operations / 2000);
}

}  // namespace

TEST_CASE("swapping keeps its four rules and every byte under 150 thousand random operations") {
  plausible(wander(kv::paged<kv::raw_bf16>(tiny), 30000, 1, 0), 30000, true, false);
  plausible(wander(kv::paged<kv::raw_bf16>(tiny), 30000, 2, 0.05), 30000, true, true);
  plausible(wander(kv::paged<int4>(tiny), 30000, 3, 0.02), 30000, true, true);
  plausible(wander(kv::head_split<int4>(tiny, classes, kv::retain::sinks_window{64, 100}), 20000, 4, 0.02), 20000, false, true);
  plausible(wander(mean(tiny, classes, kv::retain::scaled_window{64, 100, 3}), 20000, 5, 0.02), 20000, false, true);
  plausible(wander(kv::overlay<mean>(mean(tiny, classes, kv::retain::sinks_window{64, 100}), {.share = 0.3f}, 500), 20000, 6, 0.02), 20000, false, true);
}

TEST_CASE("only what is new is copied out again, and reuse never copies more than no reuse") {
  const auto bytes = [](bool reuse, int turns) {
    const kv::paged<int4> layout(tiny);
    house<kv::paged<int4>> all(layout, 2, 4096, kv::mirrors_for(layout, 2, 4096), {.reuse = reuse}, tier_test::fake_link::options{});
    const std::uint32_t h = all.open();
    REQUIRE(all.append(h, 700));
    for (int turn = 0; turn < turns; ++turn) {
      const std::uint64_t before = all.swap.counts().out.bytes;
      REQUIRE(all.leave(h, leave_reason::idle));
      all.come_back(h);
      const std::uint64_t tiles = reuse && turn != 0 ? (700 + turn * 130) / 64 - (700 + (turn - 1) * 130) / 64 : (700 + turn * 130) / 64;
      CHECK(all.swap.counts().out.bytes - before == tiles * kv::page_bytes(layout, 0) + kv::tail_bytes(layout));
      REQUIRE(all.append(h, 130));
    }
    const kv::swap_counts c = all.swap.counts();
    CHECK(c.out.bytes + c.saved_bytes >= c.in.bytes);
    CHECK(c.saved_bytes == c.in.bytes - c.out.bytes);
    REQUIRE(all.swap.check());
    return c.out.bytes;
  };
  CHECK(bytes(true, 1) == bytes(false, 1));
  CHECK(bytes(true, 8) * 3 < bytes(false, 8));
}

TEST_CASE("block groups divide the copies of a swap by the length of their runs") {
  const auto copies = [](std::uint32_t group) {
    const kv::paged<int4> layout(tiny);
    kv::store_options<kv::paged<int4>> o = kv::pages_for(layout, 4, 4096);
    o.group_pages = group;
    kv::store store(layout, o);
    kv::mirror_options<kv::paged<int4>> mirrors = kv::mirrors_for(layout, 4, 4096);
    mirrors.group_slots = group;
    const kv::swap_memory memory(store, mirrors);
    tier::virtual_link link;
    kv::swapper swap(store, link, mirrors);
    std::uint32_t h[4];
    for (auto& x : h) REQUIRE(swap.open(x));
    for (int tile = 0; tile < 63; ++tile)
      for (const std::uint32_t x : h) {
        REQUIRE(store.reserve(swap.sequence(x), 64));
        REQUIRE(store.commit(swap.sequence(x), 64));
      }
    REQUIRE(swap.try_swap_out(h[1]));
    CHECK(swap.wait(h[1]) > 0);
    const kv::swap_counts c = swap.counts();
    CHECK(c.pieces == 64);
    CHECK(c.runs == 1 + (63 + group - 1) / group);  // and the tail
    CHECK(c.out.copies == c.runs);
    return c.out.copies;
  };
  CHECK(copies(1) == 64);
  CHECK(copies(8) == 9);
  CHECK(copies(64) == 2);
}

TEST_CASE("host slots are taken from idle conversations of least priority, newest tile first, and a prefix of them can come back") {
  const kv::paged<int4> layout(tiny);
  kv::mirror_options<kv::paged<int4>> room = kv::mirrors_for(layout, 3, 640);
  room.mirrors = 5;
  room.slots[0] = 3 * 10, room.slots[1] = 5;
  house<kv::paged<int4>> all(layout, 5, 640, room, {}, tier_test::fake_link::options{});
  std::uint32_t h[5];
  for (auto& x : h) x = all.open();
  const std::int32_t priorities[] = {2, 1, 3, 2, 5};
  for (int i = 0; i < 3; ++i) {
    REQUIRE(all.append(h[i], 640));
    all.swap.set_priority(h[i], priorities[i]);
    REQUIRE(all.leave(h[i], leave_reason::idle));
    all.swap.wait(h[i]);
  }
  REQUIRE(all.append(h[3], 4 * 64));
  all.swap.set_priority(h[3], 2);
  REQUIRE(all.leave(h[3]));
  all.swap.wait(h[3]);
  CHECK(all.swap.kept(h[0]) == 640);
  CHECK(all.swap.kept(h[1]) == 6 * 64);
  CHECK(all.swap.kept(h[2]) == 640);
  all.come_back(h[1]);  // four tiles have to be computed again
  CHECK(all.book.store.length(all.swap.sequence(h[1])) == 6 * 64);
  REQUIRE(all.append(h[4], 9 * 64));
  REQUIRE(all.append(h[1], 64));
  all.swap.set_priority(h[4], 2);
  REQUIRE(all.leave(h[4]));
  all.swap.wait(h[4]);
  CHECK(all.swap.kept(h[1]) == 0);        // running, its host copies went first; three more tiles come
  CHECK(all.swap.kept(h[0]) == 7 * 64);   // from the idle one of the same priority
  CHECK(all.swap.kept(h[3]) == 4 * 64);   // not from those that somebody waits for
  CHECK(all.swap.kept(h[2]) == 640);      // nor from higher ones
  all.swap.set_priority(h[1], -1);
  const std::uint32_t s = all.swap.sequence(h[1]);
  const status full = all.leave(h[1]);
  CHECK(full.code == errc::out_of_pages);
  CHECK(std::string(full.what) == "host slots");
  CHECK(all.swap.sequence(h[1]) == s);
  all.book.verify(s);
  for (int i : {0, 2, 3, 4}) all.come_back(h[i]);
  REQUIRE(all.swap.check());
}

TEST_CASE("pages that others hold stay in the store and come back without a copy; once nobody else holds them they can be moved") {
  const kv::paged<int4> layout(tiny);
  house<kv::paged<int4>> all(layout, 3, 640, kv::mirrors_for(layout, 3, 640), {}, tier_test::fake_link::options{});
  const std::uint32_t a = all.open();
  REQUIRE(all.append(a, 300));
  std::uint32_t fork = 0, b = 0;
  REQUIRE(all.book.store.fork(all.swap.sequence(a), fork));
  REQUIRE(all.swap.track(fork, b));
  all.book.written[fork] = all.book.written[all.swap.sequence(a)];
  REQUIRE(all.append(b, 64));
  const std::size_t page = kv::page_bytes(layout, 0), tail = kv::tail_bytes(layout);
  REQUIRE(all.leave(b));
  all.swap.wait(b);
  CHECK(all.swap.counts().out.bytes == page + tail);
  CHECK(all.swap.counts().saved_bytes == 4 * page);
  CHECK(all.swap.reclaim() == 0);
  all.come_back(b);
  CHECK(all.swap.counts().in.bytes == page + tail);
  REQUIRE(all.leave(b));
  all.swap.wait(b);
  const std::uint32_t free = all.book.store.free_pages(0);
  all.swap.close(a);
  CHECK(all.book.store.free_pages(0) == free);
  CHECK(all.swap.reclaim() == 4);
  CHECK(all.swap.begin_swap_in(b).code == errc::not_ready);
  all.swap.wait(b);
  CHECK(all.book.store.free_pages(0) == free + 4);
  all.come_back(b);
  REQUIRE(all.swap.check());
}

TEST_CASE("copies made ahead leave only the tail to wait for, and dropping keeps what they copied") {
  const kv::paged<int4> layout(tiny);
  house<kv::paged<int4>> all(layout, 2, 640, kv::mirrors_for(layout, 2, 640), {}, tier_test::fake_link::options{});
  const std::uint32_t h = all.open();
  REQUIRE(all.append(h, 300));
  CHECK(all.swap.mirror_ahead(h) == 4);
  CHECK(all.swap.mirror_ahead(h) == 0);
  REQUIRE(all.append(h, 100));
  while (!all.swap.idle()) all.swap.poll();
  CHECK(all.swap.kept(h) == 256);
  REQUIRE(all.leave(h));
  CHECK(all.swap.counts().pieces == 4 + 3);
  all.come_back(h);
  REQUIRE(all.append(h, 100));
  all.guests[h] = {all.book.written[all.swap.sequence(h)], {}};
  REQUIRE(all.swap.drop(h));
  CHECK(all.swap.kept(h) == 384);
  all.come_back(h);
  CHECK(all.book.store.length(all.swap.sequence(h)) == 384);
  REQUIRE(all.book.truncate(all.swap.sequence(h), 64));
  CHECK(all.swap.kept(h) == 64);
  REQUIRE(all.append(h, 200));
  REQUIRE(all.leave(h));
  all.come_back(h);
}

TEST_CASE("every call names what is wrong and leaves the conversation where it was") {
  const kv::paged<int4> layout(tiny);
  kv::mirror_options<kv::paged<int4>> room = kv::mirrors_for(layout, 1, 640);
  house<kv::paged<int4>> all(layout, 3, 640, room, {.transfers = {.pieces = 8}}, tier_test::fake_link::options{});
  const std::uint32_t h = all.open(), other = all.open();
  CHECK(all.open() == kv::page_pool::none);
  CHECK(all.book.store.known(0));
  CHECK_FALSE(all.book.store.known(2));
  std::uint32_t x = 0;
  CHECK(all.swap.track(2, x).code == errc::unknown_sequence);
  CHECK(all.swap.try_swap_out(7).code == errc::unknown_sequence);
  CHECK(all.swap.begin_swap_in(h).code == errc::not_ready);
  REQUIRE(all.append(h, 8 * 64));
  CHECK(all.leave(h).code == errc::out_of_range);  // 8 tiles and a tail, room for 8
  CHECK(all.swap.ready(h));
  REQUIRE(all.book.truncate(all.swap.sequence(h), 256));
  REQUIRE(all.leave(h));
  CHECK(all.swap.drop(h).code == errc::not_ready);
  CHECK(all.leave(h).code == errc::not_ready);
  all.come_back(h);
  REQUIRE(all.leave(other));  // nothing to copy
  CHECK(all.swap.where(other) == residence::out);
  CHECK(all.swap.kept(other) == 0);
  CHECK(all.swap.begin_swap_in(other).code == errc::out_of_range);
  all.swap.close(99);
  all.swap.close(other);
  CHECK(all.swap.where(other) == residence::closed);
  CHECK(all.open() == other);
}

TEST_CASE("a swapper that ends in the middle of everything gives all pages back but those of running sequences") {
  const kv::paged<int4> layout(tiny);
  for (unsigned seed = 1; seed < 20; ++seed) {
    kv_test::scribe<kv::paged<int4>> book(layout, 4, 640);
    const auto mirrors = kv::mirrors_for(layout, 4, 640);
    const kv::swap_memory memory(book.store, mirrors);
    tier_test::fake_link link(memory.pools(), {.seed = seed, .failing = 0.1, .delay = 20});
    std::uint32_t h[4], s = 0;
    {
      kv::swapper swap(book.store, link, mirrors);
      for (auto& x : h) {
        REQUIRE(swap.open(x));
        book.forget(swap.sequence(x));
        REQUIRE(book.append(swap.sequence(x), 300));
      }
      s = swap.sequence(h[3]);
      REQUIRE(swap.try_swap_out(h[0]));
      swap.wait(h[0]);
      static_cast<void>(swap.begin_swap_in(h[0]));  // unless a copy failed
      REQUIRE(swap.try_swap_out(h[1]));
      swap.mirror_ahead(h[2]);
      swap.mirror_ahead(h[3]);
      for (unsigned i = 0; i < seed; ++i) swap.poll();
      swap.close(h[2]);
    }
    CHECK(link.moving.empty());
    CHECK(link.violations == 0);
    REQUIRE(book.store.check());
    CHECK(book.store.length(s) == 300);
    book.verify(s);
  }
}

TEST_CASE("over a thread every layout goes out and comes back bit for bit while other sequences run") {
  const auto swap_all = [](const auto& layout) {
    using L = std::remove_cvref_t<decltype(layout)>;
    house<L, tier::copy_thread> all(layout, 4, 1000, kv::mirrors_for(layout, 4, 1000), {.transfers = {.copy_bytes = 4096}}, 16u);
    std::uint32_t h[4], whole = 0;
    for (auto& x : h) x = all.open();
    for (int round = 0; round < 60; ++round) {
      const std::uint32_t a = h[round % 4], b = h[(round + 1) % 4];
      if (all.book.store.length(all.swap.sequence(a)) < 800) REQUIRE(all.append(a, 1 + static_cast<std::uint32_t>(all.random() % 60)));
      if (round % 3 == 0) all.swap.mirror_ahead(b);
      REQUIRE(all.leave(a));
      if (all.book.store.length(all.swap.sequence(b)) < 800) REQUIRE(all.append(b, 1 + static_cast<std::uint32_t>(all.random() % 60)));
      all.swap.poll();
      all.swap.wait(a);
      REQUIRE(all.swap.begin_swap_in(a));
      if (!L::overlays) all.book.verify(all.swap.sequence(b));
      all.swap.wait(a);
      whole += all.arrived(a);
    }
    CHECK(whole == 60);
    REQUIRE(all.swap.check());
  };
  swap_all(kv::paged<kv::raw_bf16>(tiny));
  swap_all(kv::paged<int4>(tiny));
  swap_all(kv::head_split<int4>(tiny, classes, kv::retain::sinks_window{64, 100}));
  swap_all(mean(tiny, classes, kv::retain::scaled_window{64, 100, 3}));
  swap_all(kv::overlay<mean>(mean(tiny, classes, kv::retain::sinks_window{64, 100}), {.share = 0.3f}, 1000));
  swap_all(kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>(kv::paged<kv::raw_bf16>(tiny), {.share = 0.3f}, 1000));
}

TEST_CASE("mirrors may lie in files; a slot that was damaged there costs the tokens from it on and nothing else") {
  using L = kv::paged<int4>;
  const L layout(tiny);
  kv_test::scribe<L> book(layout, 2, 640);
  const auto mirrors = kv::mirrors_for(layout, 2, 640);
  constexpr std::uint32_t pools = kv::swap_pools<L>;
  std::vector<tier::memory_pool> device;
  std::vector<tier::file_pool> files(pools);
  std::vector<tier::pool_ref> refs;
  std::vector<std::string> paths;
  for (std::uint32_t p = 0; p < pools; ++p) {
    device.emplace_back(book.store.pool(p).base(), book.store.pool(p).pages(), book.store.pool(p).page_bytes());
    paths.push_back((std::filesystem::temp_directory_path() / ("quire_swap_" + std::to_string(::getpid()) + "_" + std::to_string(p))).string());
    REQUIRE(files[p].open(paths[p].c_str(), mirrors.slots[p], book.store.pool(p).page_bytes()));
  }
  refs.assign(device.begin(), device.end());
  refs.insert(refs.end(), files.begin(), files.end());
  tier::copy_thread link(refs);
  kv::swapper swap(book.store, link, mirrors);
  std::uint32_t h = 0;
  const auto out_and_in = [&] {
    const auto written = book.written[swap.sequence(h)];
    REQUIRE(swap.try_swap_out(h));
    swap.wait(h);
    return written;
  };
  REQUIRE(swap.open(h));
  REQUIRE(book.append(swap.sequence(h), 500));
  auto written = out_and_in();
  REQUIRE(swap.begin_swap_in(h));
  swap.wait(h);
  book.written[swap.sequence(h)] = written;
  book.verify(swap.sequence(h));
  written = out_and_in();
  {
    std::fstream f(paths[0], std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(static_cast<std::streamoff>(40 + 5 * (24 + kv::page_bytes(layout, 0)) + 100));
    f.write("damage", 6);
  }
  REQUIRE(swap.begin_swap_in(h));
  swap.wait(h);
  CHECK(swap.where(h) == residence::out);
  CHECK(swap.last(h).code == errc::corrupt);
  CHECK(swap.kept(h) == 5 * 64);
  REQUIRE(swap.begin_swap_in(h));
  swap.wait(h);
  REQUIRE(swap.ready(h));
  CHECK(book.store.length(swap.sequence(h)) == 5 * 64);
  written.resize(book.store.length(swap.sequence(h)));
  book.written[swap.sequence(h)] = written;
  book.verify(swap.sequence(h));
  CHECK(swap.check());
  for (const auto& path : paths) std::filesystem::remove(path);
}
