// SPDX-License-Identifier: Apache-2.0
// Texts served from a real store with everything on at once: prefixes remembered, sequences swapped over a link that is late,
// out of order and failing, forks, cancellations; and every row of the rows that are read is compared.
#include "quire/serve/kept_store.hpp"

#include <cmath>
#include <map>
#include <random>

#include "catch.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/schedule/order/priority.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"
#include "quire/serve/engine.hpp"
#include "tier/fake_link.hpp"

using namespace quire;
using namespace quire::serve;

namespace {

using text = std::vector<std::int32_t>;
constexpr extents heads{1, 1, 8};

/// A model whose rows say which token they are of, and whose logits depend on every row it reads.
template <class Store>
struct page_model {
  std::uint64_t steps = 0;

  std::uint32_t vocabulary() const { return 50; }
  status step(Store& kept, std::span<const model_input> inputs, float* logits) {
    ++steps;
    auto& store = kept.store();
    const auto view = store.view();
    const auto& layout = store.layout();
    for (const model_input& in : inputs) {
      const std::uint32_t s = kept.sequence(in.sequence);
      if (store.length(s) != in.position) throw std::logic_error("an input does not follow what is stored");
      std::byte* const tail = view.tail(s, 0, 0);
      float row[heads.head_dim];
      for (std::uint32_t i = 0; i < in.tokens.size(); ++i) {
        const std::uint32_t p = in.position + i;
        std::fill_n(row, heads.head_dim, static_cast<float>(in.tokens[i]));
        layout.raw().key.put(kv::side::key, heads.head_dim, p % 64, row, tail);
        layout.raw().value.put(kv::side::value, heads.head_dim, p % 64, row, tail + layout.raw().value_offset(heads.head_dim));
        if (p % 64 == 63) std::memcpy(view.sealed(s, 0, 0, p / 64), tail, layout.raw().piece_bytes(heads.head_dim));
      }
      if (!in.wants_logits) continue;
      const std::uint32_t length = in.position + static_cast<std::uint32_t>(in.tokens.size());
      std::uint64_t h = 1469598103934665603u;
      float x[heads.head_dim * 64];
      for (std::uint32_t t = 0; t < tiles_touched(length); ++t) {
        const bool open = (t + 1) * 64 > length;
        if (!open && view.sequences[s].pages[0][t] == kv::page_pool::none) throw std::logic_error("a tile is read that is not there");
        layout.raw().key.decode({}, kv::shape_of(kv::side::key, heads.head_dim), open ? tail : view.sealed(s, 0, 0, t), x);
        for (std::uint32_t c = 0; c < std::min(64u, length - t * 64); ++c) h = (h ^ static_cast<std::uint64_t>(x[c] + 1000)) * 1099511628211u;
      }
      for (std::uint32_t w = 0; w < vocabulary(); ++w) {
        h = h * 6364136223846793005u + 1442695040888963407u;
        *logits++ = static_cast<float>(h >> 40) / 16777216.0f;
      }
    }
    return {};
  }
};

template <class L>
text alone(const L& layout, const generation& g) {
  kv::store<L> pages(layout, kv::pages_for(layout, 1, 2048, 2048));
  kept_store<L> store(pages);
  page_model<kept_store<L>> model;
  std::uint32_t s = 0;
  text all = g.prompt;
  std::vector<float> logits(model.vocabulary());
  REQUIRE(store.open(s));
  for (std::uint32_t n = 0; n < g.max_new_tokens; ++n) {
    const std::uint32_t at = store.length(s), rows = static_cast<std::uint32_t>(all.size()) - at;
    REQUIRE(store.reserve(s, rows));
    const model_input in{s, at, std::span<const std::int32_t>(all).subspan(at), true};
    REQUIRE(model.step(store, {&in, 1}, logits.data()));
    REQUIRE(store.commit(s, rows));
    all.push_back(greedy(logits));
  }
  return {all.begin() + static_cast<std::ptrdiff_t>(g.prompt.size()), all.end()};
}

struct totals {
  std::uint64_t hits = 0, out = 0, in = 0, lost = 0, saved = 0;
};

template <class L>
void random_service(const L& layout, unsigned seed, bool prefixes, bool swaps, totals& sum) {
  using K = tier_test::fake_link;
  using policy = schedule::policy<schedule::order::priority, schedule::batching::chunked, schedule::admission::when_it_fits,
                                  schedule::victim::lowest_priority, schedule::preemption::swap>;
  std::mt19937 random(seed);
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  kv::store_options<L> o{.sequences = 6, .max_tokens = 640};
  for (std::uint32_t g = 0; g < layout.groups(); ++g) o.pages[g] = 10 + draw(6);
  o.overlay_pages = 0;
  kv::store<L> pages(layout, o);
  const double failing = draw(2) * 0.2;
  K* link = nullptr;
  kept_store<L, K> store(pages, {.prefix_tiles = prefixes ? 4 + draw(40) : 0, .space = 3, .away = swaps ? 1 + draw(5) : 0, .reuse = draw(3) != 0}, [&](auto pools) {
    auto made = std::make_unique<K>(pools, K::options{.seed = seed, .failing = failing, .delay = 1 + draw(20)});
    link = made.get();
    return made;
  });
  page_model<kept_store<L, K>> model;
  const std::uint32_t free_before = pages.free_pages(0);
  {
    engine serving(model, store, policy{.order = {.ageing_seconds = INFINITY, .preempts = true}, .batching = {.tau = 16 + draw(200)}},
                   {.max_running = 1 + draw(6), .max_sequence = 600, .patience = 1 + draw(4)});
    std::map<request_id, generation> asked;
    std::map<request_id, text> got;
    std::map<request_id, bool> cancelled;
    const auto ask = [&](generation g) {
      const generation plain = g;
      g.on_done = [&got](request_id id, const result& r) {
        got[id] = {r.generated.begin(), r.generated.end()};
        INFO("request " << id << ": " << describe(r.why));
        CHECK(r.ending != ending::failed);
      };
      request_id id = 0;
      const status queued = serving.submit(g, id);
      INFO(describe(queued));
      REQUIRE(queued);
      asked[id] = plain;
      return id;
    };
    for (int i = 0; i < 60; ++i) {
      if (draw(3) == 0 && asked.size() < 16) {
        generation g{.prompt = text(draw(6) * 50, 1 + static_cast<std::int32_t>(draw(2))), .max_new_tokens = 1 + draw(30), .priority = static_cast<std::int32_t>(draw(4))};
        for (std::uint32_t n = 1 + draw(60); n > 0; --n) g.prompt.push_back(static_cast<std::int32_t>(draw(50)));
        const request_id id = ask(g);
        if (draw(4) == 0) {
          generation copy = g;
          copy.beside = id;
          ask(copy);
        }
      }
      if (draw(12) == 0 && !asked.empty()) {
        const request_id id = std::next(asked.begin(), draw(static_cast<std::uint32_t>(asked.size())))->first;
        if (serving.cancel(id)) cancelled[id] = true;
      }
      REQUIRE(serving.run_step() != progress::blocked);
      if (i % 8 == 0) REQUIRE(store.check());
    }
    serving.run();
    REQUIRE(serving.live() == 0);
    for (const auto& [id, g] : asked) {
      text want = alone(layout, g);
      if (cancelled[id]) want.resize(std::min(want.size(), got[id].size()));
      INFO("request " << id);
      REQUIRE(got[id] == want);
    }
  }
  for (int i = 0; i < 2000 && swaps; ++i) store.poll();
  REQUIRE(store.check());
  if (!prefixes) REQUIRE(pages.free_pages(0) == free_before);
  REQUIRE(pages.free_pages(kv::store<L>::tails) == o.sequences);
  if (link) REQUIRE(link->violations == 0);
  const kv::swap_counts c = store.swap_counts();
  sum.hits += store.prefix_counts().hit, sum.out += c.swaps_out, sum.in += c.swaps_in, sum.lost += c.lost_parts, sum.saved += c.saved_bytes;
}

using plain = kv::paged<kv::raw_f32, kv::raw_f32>;

}  // namespace

static_assert(PrefixStore<kept_store<plain>> && SwappingStore<kept_store<plain>> && ForkingStore<kept_store<plain>> && CountedStore<kept_store<plain>>);
static_assert(kept_store<plain>::shares && !kept_store<kv::head_split<kv::raw_f32, kv::raw_f32>>::shares);

TEST_CASE("a kept store serves what a plain one serves, whatever is remembered, swapped and lost") {
  const plain layout(heads);
  totals both, swapped, remembered;
  for (unsigned seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    random_service(layout, seed, true, true, both);
    random_service(layout, seed, false, true, swapped);
    random_service(layout, seed, true, false, remembered);
  }
  CHECK(both.hits > 1000);
  CHECK(remembered.hits > 1000);
  for (const totals& t : {both, swapped}) {
    CHECK(t.out > 50);
    CHECK(t.in > 30);
    CHECK(t.lost > 10);
    CHECK(t.saved > 0);
  }
  CHECK(remembered.out == 0);
}

TEST_CASE("what is away and shared gives way when nothing can run, to the host or for good") {
  for (const std::uint32_t host : {2u, 1u}) {
    INFO("host room for " << host);
    const plain layout(heads);
    kv::store_options<plain> o{.sequences = 4, .max_tokens = 192, .pages = {3}};
    kv::store<plain> pages(layout, o);
    kept_store<plain> store(pages, {.away = host});
    std::uint32_t a = 0, b = 0, c = 0;
    REQUIRE(store.open(a));
    REQUIRE(store.reserve(a, 130));
    REQUIRE(store.commit(a, 130));
    REQUIRE(store.fork(a, b));
    REQUIRE(store.swap_out(a));  // its tiles stay for b
    while (!pages.free_pages(kv::store<plain>::tails) || store.leaving_tokens() != 0) store.wait();
    const status second = store.swap_out(b);
    if (host == 2) REQUIRE(second);
    else store.close(b);
    REQUIRE(store.open(c));
    for (int i = 0; i < 10 && !store.reserve(c, 190); ++i) {
      REQUIRE(store.relieve());
      store.wait();
    }
    CHECK(store.length(c) == 0);
    REQUIRE(store.reserve(c, 190));
    CHECK(store.check());
    store.close(c);
    CHECK(store.length(a) == 130);
    const status back = store.swap_in(a);
    CHECK((back || back.code == errc::corrupt));
    store.wait();
    CHECK(store.check());
  }
}

TEST_CASE("a pinned prefix gives way when nothing can run") {
  const plain layout(heads);
  kv::store<plain> pages(layout, {.sequences = 2, .max_tokens = 192, .pages = {3}});
  kept_store<plain> store(pages, {.prefix_tiles = 8});
  const text words(130, 1);
  std::uint32_t a = 0, b = 0;
  REQUIRE(store.open(words, a));
  REQUIRE(store.reserve(a, 130));
  REQUIRE(store.commit(a, 130));
  REQUIRE(store.remember(a, words));
  const std::uint64_t ticket = store.pin(words);
  store.close(a);
  REQUIRE(store.open(b));
  REQUIRE(store.reserve(b, 190).code == errc::out_of_pages);
  REQUIRE(store.relieve());
  REQUIRE(store.reserve(b, 190));
  CHECK_FALSE(store.relieve());
  store.unpin(ticket);  // its owner does not know
  CHECK(store.check());
}

TEST_CASE("without options it is the plain store, and says no to what it lacks") {
  const plain layout(heads);
  kv::store<plain> pages(layout, kv::pages_for(layout, 2, 256));
  kept_store<plain> store(pages);
  std::uint32_t s = 9, t = 9;
  const text words(200, 1);
  REQUIRE(store.open(words, s));
  REQUIRE(store.reserve(s, 130));
  REQUIRE(store.commit(s, 130));
  CHECK(store.length(s) == 130);
  CHECK(store.remember(s, words));
  CHECK(store.hit(words) == 0);
  CHECK_FALSE(store.coming(words));
  CHECK(store.swap_out(s).code == errc::out_of_pages);
  CHECK(store.swap_in(s).code == errc::unknown_sequence);
  CHECK(store.present(s));
  REQUIRE(store.fork(s, t));
  CHECK(store.length(t) == 130);
  std::uint32_t u = 9;
  CHECK(store.open(u).code == errc::out_of_pages);
  CHECK(store.truncate(s, 100));
  CHECK(store.length(s) == 100);
  CHECK(store.reserve(7, 1).code == errc::unknown_sequence);
  CHECK(store.commit(7, 1).code == errc::unknown_sequence);
  CHECK(store.check());
  store.close(s), store.close(t), store.close(t), store.close(7);
  CHECK(store.length(s) == 0);
  CHECK(pages.free_pages(0) == pages.options().pages[0]);
}
