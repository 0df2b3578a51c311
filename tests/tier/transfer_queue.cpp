// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/transfer_queue.hpp"

#include <cstring>
#include <map>
#include <random>

#include "catch.hpp"
#include "quire/tier/copy_thread.hpp"
#include "quire/tier/virtual_link.hpp"
#include "tier/fake_link.hpp"

using namespace quire;
using tier::lane, tier::piece, tier::urgency;

namespace {

piece one(std::uint32_t from, std::uint32_t to, std::uint64_t bytes = 8) { return {.from = {0, from}, .to = {1, to}, .way = lane::out, .bytes = bytes}; }
std::vector<piece> several(std::uint32_t from, std::uint32_t to, std::uint32_t n, std::uint64_t bytes = 8) {
  std::vector<piece> p;
  for (std::uint32_t i = 0; i < n; ++i) p.push_back(one(from + i, to + i, bytes)), p.back().tag = i;
  return p;
}
constexpr std::uint32_t slots[] = {64, 64};

/// Transfer numbers in the order in which they ended.
template <class Q>
std::vector<std::uint32_t> drain(Q& queue, double now = 0) {
  std::vector<std::uint32_t> order;
  while (!queue.idle()) {
    while (const auto a = queue.poll(now))
      if (a->last) order.push_back(a->transfer);
    now = queue.wait(now);
  }
  return order;
}

}  // namespace

TEST_CASE("neighbours become one copy, up to the bytes a copy may have") {
  const auto copies = [](const std::vector<piece>& pieces, std::uint64_t most) {
    tier::virtual_link link;
    tier::transfer_queue queue(link, slots, {.copy_bytes = most});
    std::uint32_t t = 0;
    REQUIRE(queue.push(pieces, urgency::foreground, t));
    drain(queue);
    CHECK(queue.counts(lane::out).pieces == pieces.size());
    CHECK(queue.counts(lane::out).bytes == pieces.size() * 8);
    return queue.counts(lane::out).copies;
  };
  CHECK(copies(several(0, 10, 16), 1 << 20) == 1);
  CHECK(copies(several(0, 10, 16), 0) == 16);
  CHECK(copies(several(0, 10, 16), 32) == 4);
  auto gap = several(0, 10, 8);
  for (const piece& p : several(8, 19, 8)) gap.push_back(p);
  CHECK(copies(gap, 1 << 20) == 2);
  CHECK(copies({one(3, 3), one(2, 2), one(1, 1)}, 1 << 20) == 3);
}

TEST_CASE("what is urgent overtakes, a promoted transfer is urgent, one slot's copies keep their order") {
  tier::virtual_link link({.launch_seconds = 1, .bytes_per_second = {8, 8}});
  tier::transfer_queue queue(link, slots, {.copies = 1, .copy_bytes = 0});
  std::uint32_t a = 0, b = 0, c = 0, d = 0, e = 0;
  REQUIRE(queue.push(several(0, 0, 2), urgency::background, a));
  REQUIRE(queue.push(several(10, 10, 2), urgency::background, b));
  REQUIRE(queue.push(several(20, 20, 2), urgency::background, c));
  REQUIRE(queue.push(several(30, 30, 2), urgency::foreground, d));
  REQUIRE(queue.push(several(40, 10, 1), urgency::foreground, e));  // writes what b writes first
  queue.promote(c);
  CHECK(drain(queue) == std::vector<std::uint32_t>{d, c, a, e, b});
  CHECK(queue.idle());
}

TEST_CASE("a background budget holds back what nobody waits for and nothing else") {
  tier::virtual_link link({.launch_seconds = 0, .bytes_per_second = {1e9, 1e9}});
  tier::transfer_queue queue(link, slots, {.copy_bytes = 0, .background_bytes_per_second = 8});  // a piece a second
  std::uint32_t a = 0, b = 0;
  REQUIRE(queue.push(several(0, 0, 4), urgency::background, a));
  double now = 0;
  std::vector<double> when;
  while (!queue.idle()) {
    while (const auto x = queue.poll(now)) when.push_back(now);
    now = queue.wait(now);
  }
  REQUIRE(when.size() == 4);
  for (int i = 0; i < 4; ++i) CHECK(when[static_cast<std::size_t>(i)] == Approx(i).margin(1e-6));
  REQUIRE(queue.push(several(0, 0, 32), urgency::foreground, a));
  REQUIRE(queue.push(several(40, 40, 1), urgency::background, b));
  std::uint32_t urgent = 0;
  while (!queue.idle()) {
    while (const auto x = queue.poll(now)) {
      if (x->transfer == b) CHECK(now > 35);  // the 32 pieces count
      else urgent += now < 5;
    }
    now = queue.wait(now);
  }
  CHECK(urgent == 32);
}

TEST_CASE("a cancelled transfer reports every piece, and what was under way lands") {
  tier::virtual_link link({.launch_seconds = 1});
  tier::transfer_queue queue(link, slots, {.copies = 2, .copy_bytes = 0});
  std::uint32_t a = 0, b = 0;
  REQUIRE(queue.push(several(0, 0, 8), urgency::foreground, a));
  REQUIRE(queue.push(several(4, 4, 8), urgency::foreground, b));
  CHECK_FALSE(queue.poll(0));
  queue.cancel(a);
  std::map<std::uint32_t, std::vector<errc>> seen;
  double now = 0;
  std::uint32_t last = 0;
  while (!queue.idle()) {
    while (const auto x = queue.poll(now)) seen[x->transfer].push_back(x->why.code), last += x->last;
    now = queue.wait(now);
  }
  CHECK(last == 2);
  REQUIRE(seen[a].size() == 8);
  CHECK(std::count(seen[a].begin(), seen[a].end(), errc::ok) == 2);
  CHECK(std::count(seen[a].begin(), seen[a].end(), errc::cancelled) == 6);
  CHECK(seen[b] == std::vector<errc>(8, errc::ok));
  CHECK(queue.counts(lane::out).cancelled == 6);
}

TEST_CASE("a push that cannot be taken names why and takes nothing") {
  tier::virtual_link link;
  tier::transfer_queue queue(link, slots, {.pieces = 4});
  std::uint32_t t = 77;
  const auto what = [&](const std::vector<piece>& p) {
    const status s = queue.push(p, urgency::foreground, t);
    return std::string(s.what) + (s.code == errc::out_of_range ? "" : "?");
  };
  CHECK(what({}) == "pieces of a transfer");
  CHECK(what(several(0, 0, 5)) == "pieces of a transfer");
  CHECK(what({one(0, 0), one(64, 0)}) == "slot");
  CHECK(what({{.from = {0, 0}, .to = {2, 0}, .bytes = 1}}) == "pool");
  CHECK(what({{.from = {1, 5}, .to = {1, 5}, .bytes = 1}}) == "places of a piece");
  CHECK(t == 77);
  CHECK(queue.idle());
  for (int round = 0; round < 10; ++round) {
    REQUIRE(queue.push(several(0, 0, 4), urgency::foreground, t));
    CHECK(queue.room() == 0);
    CHECK(drain(queue).size() == 1);
  }
  CHECK(queue.wait(3) == 3);
}

TEST_CASE("over a link that delays, reorders and fails, memory ends as if pieces had been copied one by one") {
  std::uint64_t failed = 0, cancelled = 0, joined = 0;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    tier::memory_pool pools[3] = {{40, 16}, {30, 16}, {20, 16}};
    const tier::pool_ref refs[] = {pools[0], pools[1], pools[2]};
    const std::uint32_t sizes[] = {40, 30, 20};
    std::vector<std::byte> model[3];
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    for (int p = 0; p < 3; ++p) {
      for (std::size_t i = 0; i < sizes[p] * 16; ++i) pools[p].at(0)[i] = static_cast<std::byte>(random());
      model[p].assign(pools[p].at(0), pools[p].at(0) + sizes[p] * 16);
    }
    tier_test::fake_link link(refs, {.seed = seed, .failing = seed % 4 == 0 ? 0 : 0.1, .delay = seed % 12});
    tier::transfer_queue queue(link, sizes, {.pieces = 100, .copies = 1 + seed % 5, .copy_bytes = seed % 3 * 40});
    std::vector<std::pair<piece, status>> log;  // in the order of pushing; tag: place in it
    std::vector<std::uint32_t> open;
    std::uint32_t reported = 0;
    const auto take = [&] {
      while (const auto a = queue.poll(0)) {
        ++reported;
        log[a->what.tag].second = a->why;
        if (a->last) open.erase(std::find(open.begin(), open.end(), a->transfer));
      }
    };
    for (int i = 0; i < 3000; ++i) {
      if (const std::uint32_t dice = below(10); dice < 3) {
        const std::uint32_t from = below(3), to = (from + 1 + below(2)) % 3, n = 1 + below(6), a = below(sizes[from] - 5), b = below(sizes[to] - 5);
        std::vector<piece> pieces;
        for (std::uint32_t k = 0; k < n; ++k)
          pieces.push_back({{from, a + k}, {to, b + k}, from < to ? lane::out : lane::in, 16, static_cast<std::uint32_t>(log.size() + k)});
        std::uint32_t t = 0;
        if (queue.push(pieces, below(2) == 0 ? urgency::background : urgency::foreground, t)) {
          open.push_back(t);
          for (const piece& p : pieces) log.push_back({p, {errc::corrupt}});
        } else {
          CHECK(n > queue.room());
        }
      } else if (dice == 3 && !open.empty()) {
        if (below(2) == 0) queue.cancel(open[below(static_cast<std::uint32_t>(open.size()))]);
        else queue.promote(open[below(static_cast<std::uint32_t>(open.size()))]);
      } else {
        take();
      }
    }
    for (int i = 0; i < 100000 && !queue.idle(); ++i) take();
    REQUIRE(queue.idle());
    REQUIRE(reported == log.size());
    CHECK(open.empty());
    CHECK(link.violations == 0);
    for (const auto& [p, why] : log) {
      std::byte* to = model[p.to.pool].data() + p.to.slot * 16;
      if (why) std::memcpy(to, model[p.from.pool].data() + p.from.slot * 16, 16);
      else if (why.code == errc::io) std::memset(to, 0xdb, 16);
      else REQUIRE(why.code == errc::cancelled);
    }
    for (int p = 0; p < 3; ++p) REQUIRE(std::memcmp(model[p].data(), pools[p].at(0), model[p].size()) == 0);
    for (const lane way : {lane::out, lane::in}) {
      failed += queue.counts(way).failed, cancelled += queue.counts(way).cancelled;
      joined += queue.counts(way).pieces - queue.counts(way).copies;
    }
  }
  CHECK(failed > 500);
  CHECK(cancelled > 500);
  CHECK(joined > 5000);
}

TEST_CASE("the queue over a real thread moves what it was told while the caller goes on") {
  tier::memory_pool a(64, 4096), b(64, 4096);
  const tier::pool_ref pools[] = {a, b};
  for (int i = 0; i < 64 * 4096; ++i) a.at(0)[i] = static_cast<std::byte>(i * 13 >> 3);
  tier::copy_thread link(pools);
  tier::transfer_queue queue(link, slots, {.copy_bytes = 8 * 4096});
  for (int round = 0; round < 50; ++round) {
    std::uint32_t t = 0;
    std::memset(b.at(0), 0, 64 * 4096);
    REQUIRE(queue.push(several(0, 0, 64, 4096), urgency::background, t));
    CHECK(drain(queue).size() == 1);
    REQUIRE(std::memcmp(a.at(0), b.at(0), 64 * 4096) == 0);
  }
  CHECK(queue.counts(lane::out).copies >= 50 * 8);
  CHECK(queue.counts(lane::out).copies <= 50 * 16);
}
