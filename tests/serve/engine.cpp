// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/engine.hpp"

#include <cmath>
#include <map>
#include <random>
#include <stdexcept>

#include "catch.hpp"
#include "fake_model.hpp"
#include "hooked_store.hpp"
#include "quire/schedule/order/priority.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"

using namespace quire;
using namespace quire::serve;
using schedule::policy;

namespace {

using text = std::vector<std::int32_t>;

using urgent = policy<schedule::order::priority, schedule::batching::chunked, schedule::admission::when_it_fits,
                      schedule::victim::lowest_priority>;

/// What the model says when nothing else runs and memory is ample; no engine involved.
text alone(const generation& g, ending* how = nullptr) {
  test::hash_model model;
  test::token_store store(1, static_cast<std::uint32_t>(g.prompt.size()) + g.max_new_tokens);
  std::uint32_t s = 0;
  text all = g.prompt, logits_free;
  std::vector<float> logits(model.vocabulary());
  if (!store.open(s) || !store.reserve(s, static_cast<std::uint32_t>(all.size()) + g.max_new_tokens))
    throw std::logic_error("store");
  if (how) *how = ending::length;
  for (std::uint32_t n = 0; n < g.max_new_tokens; ++n) {
    const std::uint32_t at = store.length(s);
    const model_input in{s, at, std::span<const std::int32_t>(all).subspan(at), true};
    if (!model.step(store, {&in, 1}, logits.data()) || !store.commit(s, static_cast<std::uint32_t>(in.tokens.size())))
      throw std::logic_error("step");
    const text so_far(all.begin() + static_cast<std::ptrdiff_t>(g.prompt.size()), all.end());
    const std::int32_t t = g.sampler ? g.sampler(logits, so_far) : greedy(logits);
    if (std::find(g.stop.begin(), g.stop.end(), t) != g.stop.end()) {
      if (how) *how = ending::stop;
      break;
    }
    all.push_back(t);
  }
  return {all.begin() + static_cast<std::ptrdiff_t>(g.prompt.size()), all.end()};
}

/// What callbacks reported.
struct record {
  std::map<request_id, text> streamed{};
  std::map<request_id, text> total{};
  std::map<request_id, ending> how{};
  std::map<request_id, status> why{};
  void listen(generation& g) {
    g.on_token = [this](request_id id, std::int32_t t) {
      if (how.count(id)) throw std::logic_error("a token after the end");
      streamed[id].push_back(t);
    };
    g.on_done = [this](request_id id, const result& r) {
      if (how.count(id)) throw std::logic_error("ended twice");
      how[id] = r.ending;
      why[id] = r.why;
      total[id].assign(r.generated.begin(), r.generated.end());
    };
  }
};

generation random_text(std::mt19937& random, std::uint32_t longest) {
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  generation g;
  const std::uint32_t prompt = 1 + draw(longest - 1);
  for (std::uint32_t i = 0; i < prompt; ++i) g.prompt.push_back(static_cast<std::int32_t>(draw(50)));
  g.max_new_tokens = 1 + draw(longest - prompt + 1);
  for (std::uint32_t i = draw(3); i > 0; --i) g.stop.push_back(static_cast<std::int32_t>(draw(50)));
  if (draw(3) == 0)  // depends on the logits and on how many tokens there are
    g.sampler = [](std::span<const float> logits, std::span<const std::int32_t> so_far) {
      const auto t = static_cast<std::uint32_t>(greedy(logits)) + static_cast<std::uint32_t>(so_far.size());
      return static_cast<std::int32_t>(t % logits.size());
    };
  g.priority = static_cast<std::int32_t>(draw(3));
  return g;
}

template <class P>
schedule::scheduler_counters random_service(unsigned seed, P rules) {
  std::mt19937 random(seed);
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  const std::uint32_t longest = 4 + draw(40), page_tokens = 1 + draw(5),
                      pages = (longest + page_tokens - 1) / page_tokens + draw(6);
  test::token_store store(pages, page_tokens);
  test::hash_model model;
  rules.batching = {.tau = 1 + draw(64), .max_chunk = 1 + draw(20)};
  engine serving(model, store, rules,
                 {.max_running = 1 + draw(8),
                  .max_requests = 64,
                  .max_sequence = longest,
                  .reserve_prompt = draw(2) == 0,
                  .headroom = draw(3),
                  .patience = 1 + draw(4)});
  record seen;
  std::map<request_id, generation> asked;
  std::map<request_id, bool> cancelled;
  for (int i = 0; i < 60; ++i) {
    if (draw(2) && asked.size() < 20) {
      generation g = random_text(random, longest);
      generation plain = g;
      seen.listen(g);
      request_id id = 0;
      REQUIRE(serving.submit(std::move(g), id));
      asked[id] = std::move(plain);
    }
    if (draw(12) == 0 && !asked.empty()) {
      const request_id id = std::next(asked.begin(), draw(static_cast<std::uint32_t>(asked.size())))->first;
      const bool live = seen.how.count(id) == 0;
      REQUIRE(static_cast<bool>(serving.cancel(id)) == live);
      if (live) cancelled[id] = true;
    }
    REQUIRE(serving.run_step() != progress::blocked);
  }
  serving.run();
  REQUIRE(serving.run_step() == progress::idle);
  REQUIRE(serving.live() == 0);
  REQUIRE(store.free_pages() == pages);
  for (const auto& [id, g] : asked) {
    ending how = ending::length;
    text want = alone(g, &how);
    REQUIRE(seen.streamed[id] == seen.total[id]);
    if (cancelled[id]) {
      REQUIRE(seen.how.at(id) == ending::cancelled);
      REQUIRE(seen.why.at(id).code == errc::cancelled);
      want.resize(std::min(want.size(), seen.total[id].size()));
    } else {
      REQUIRE(seen.how.at(id) == how);
      REQUIRE(seen.why.at(id));
    }
    REQUIRE(seen.total[id] == want);
  }
  return serving.scheduling().counters();
}

}  // namespace

TEST_CASE("many texts served together read as each served alone") {
  std::uint64_t preempted = 0, yielded = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    INFO("seed " << seed);
    preempted += random_service(seed, policy<>{}).preempted;
    yielded += random_service(seed, urgent{.order = {.ageing_seconds = INFINITY, .preempts = true}}).yielded;
  }
  REQUIRE(preempted > 100);
  REQUIRE(yielded > 100);
}

TEST_CASE("every chunk budget gives the same texts") {
  std::mt19937 random(5);
  std::vector<generation> texts;
  for (int i = 0; i < 6; ++i) texts.push_back(random_text(random, 30));
  for (std::uint32_t budget = 1; budget <= 64; ++budget) {
    test::token_store store(9, 4);  // barely more than the longest text
    test::hash_model model;
    engine serving(model, store, policy<>{.batching = {.tau = budget}}, {.max_running = 5, .max_sequence = 36});
    record seen;
    std::vector<request_id> ids;
    for (generation g : texts) {
      seen.listen(g);
      REQUIRE(serving.submit(std::move(g), ids.emplace_back()));
    }
    serving.run();
    for (std::size_t i = 0; i < texts.size(); ++i) REQUIRE(seen.total[ids[i]] == alone(texts[i]));
  }
}

TEST_CASE("a model's error ends the text it belongs to and no other") {
  test::token_store store(64, 4);
  test::hash_model model{.refuses = 13};
  engine serving(model, store, policy<>{.batching = {.tau = 16}});
  record seen;
  request_id good = 0, bad = 0, other = 0;
  const generation a{.prompt = {1, 2, 3}, .max_new_tokens = 4}, b{.prompt = {1, 13, 3}, .max_new_tokens = 4},
      c{.prompt = {7, 2}, .max_new_tokens = 3};
  for (auto [g, id] : {std::pair(a, &good), std::pair(b, &bad), std::pair(c, &other)}) {
    seen.listen(g);
    REQUIRE(serving.submit(std::move(g), *id));
  }
  serving.run();
  REQUIRE(seen.how.at(bad) == ending::failed);
  REQUIRE(seen.why.at(bad).code == errc::not_finite);
  REQUIRE(seen.total[bad].empty());
  const text wa = alone(a), wc = alone(c);
  const bool met_13 = std::count(wa.begin(), wa.end(), 13) + std::count(wc.begin(), wc.end(), 13) > 0;
  REQUIRE_FALSE(met_13);
  REQUIRE(seen.total[good] == wa);
  REQUIRE(seen.total[other] == wc);
  REQUIRE(store.free_pages() == 64);
}

TEST_CASE("a step whose model throws is tried again") {
  test::token_store store(64, 4);
  test::hash_model model{.throws = true};
  engine serving(model, store);
  record seen;
  request_id id = 0, gone = 0;
  generation g{.prompt = {1, 2, 3}, .max_new_tokens = 4}, h = g;
  seen.listen(g);
  REQUIRE(serving.submit(g, id));
  REQUIRE(serving.submit(h, gone));
  REQUIRE_THROWS_AS(serving.run_step(), std::runtime_error);
  REQUIRE(serving.cancel(gone));
  serving.run();
  REQUIRE(seen.total[id] == alone(g));
}

TEST_CASE("callbacks may cancel and submit and throw but not step") {
  test::token_store store(64, 4);
  test::hash_model model;
  engine serving(model, store);
  record seen;
  const generation plain{.prompt = {1, 2, 3}, .max_new_tokens = 5};
  SECTION("cancel itself from each callback") {
    request_id id = 0;
    generation g = plain;
    seen.listen(g);
    SECTION("on_token") {
      const auto tell = g.on_token;
      g.on_token = [&, tell](request_id i, std::int32_t t) {
        tell(i, t);
        if (seen.streamed[i].size() == 2) REQUIRE(serving.cancel(i));
        REQUIRE(serving.run_step() == progress::busy);
      };
    }
    SECTION("sampler") {
      g.sampler = [&](std::span<const float> l, std::span<const std::int32_t> so_far) {
        if (so_far.size() == 2) REQUIRE(serving.cancel(id));
        return greedy(l);
      };
    }
    REQUIRE(serving.submit(std::move(g), id));
    serving.run();
    REQUIRE(seen.how.at(id) == ending::cancelled);
    REQUIRE(seen.total[id].size() == 2);
    REQUIRE(serving.cancel(id).code == errc::unknown_sequence);
  }
  SECTION("submit the next from on_done") {
    request_id first = 0, second = 0;
    generation g = plain, h = plain;
    seen.listen(h);
    g.on_done = [&](request_id, const result&) { REQUIRE(serving.submit(h, second)); };
    REQUIRE(serving.submit(std::move(g), first));
    serving.run();
    REQUIRE(seen.total.at(second) == alone(plain));
  }
  SECTION("an exception loses nothing") {
    for (const int where : {0, 1, 2}) {
      record r;
      request_id id = 0, other = 0;
      generation g = plain, h = plain;
      r.listen(g);
      r.listen(h);
      const auto tell = g.on_token;
      const auto done = g.on_done;
      int calls = 0;
      if (where == 0)
        g.sampler = [&](std::span<const float> l, std::span<const std::int32_t>) {
          return ++calls == 3 ? throw std::runtime_error("sampler") : greedy(l);
        };
      if (where == 1)
        g.on_token = [&, tell](request_id i, std::int32_t t) {
          tell(i, t);
          if (++calls == 5) throw std::runtime_error("on_token");
        };
      if (where == 2)
        g.on_done = [&, done](request_id i, const result& x) {
          done(i, x);
          throw std::runtime_error("on_done");
        };
      REQUIRE(serving.submit(std::move(g), id));
      REQUIRE(serving.submit(std::move(h), other));
      REQUIRE_THROWS_AS(serving.run(), std::runtime_error);
      serving.run();
      for (const request_id i : {id, other}) {
        REQUIRE(r.streamed[i] == alone(plain));
        REQUIRE(r.how.at(i) == ending::length);
      }
    }
  }
  REQUIRE(store.free_pages() == 64);
}

TEST_CASE("bad input is refused with a sentence and a bad sampler ends its own text") {
  test::token_store store(8, 4);
  test::hash_model model;
  engine serving(model, store, policy<>{}, {.max_sequence = 32});
  request_id id = 99;
  REQUIRE(describe(serving.submit({.prompt = {}}, id)) == "out_of_range: prompt_tokens is 0, allowed 1 to 32");
  REQUIRE(describe(serving.submit({.prompt = {1, 50}}, id)) == "out_of_range: prompt token is 50, allowed 0 to 49");
  REQUIRE(serving.submit({.prompt = {-1}}, id).code == errc::out_of_range);
  REQUIRE(serving.submit({.prompt = {1}, .max_new_tokens = 33}, id).code == errc::out_of_range);
  REQUIRE(id == 99);
  REQUIRE(serving.live() == 0);
  REQUIRE(serving.cancel(1).code == errc::unknown_sequence);
  REQUIRE(serving.run_step() == progress::idle);

  record seen;
  for (const std::int32_t t : {-1, 50}) {
    generation g{.prompt = {1}, .max_new_tokens = 3, .sampler = [t](auto, auto) { return t; }};
    seen.listen(g);
    REQUIRE(serving.submit(std::move(g), id));
    serving.run();
    REQUIRE(seen.how.at(id) == ending::failed);
    REQUIRE(seen.why.at(id).value == t);
  }
}

TEST_CASE("a text for which the store has no room alone fails and the next goes on") {
  test::token_store store(4, 4);
  test::hash_model model;
  engine serving(model, store);
  record seen;
  request_id large = 0, grows = 0, small = 0;
  generation l{.prompt = text(17, 1), .max_new_tokens = 1}, g{.prompt = text(10, 2), .max_new_tokens = 30},
      s{.prompt = {1, 2}, .max_new_tokens = 5};
  const text want = alone(s), most = alone(g);
  for (auto* x : {&l, &g, &s}) seen.listen(*x);
  REQUIRE(serving.submit(std::move(l), large));
  REQUIRE(serving.submit(std::move(g), grows));
  REQUIRE(serving.submit(std::move(s), small));
  REQUIRE(serving.run_step() == progress::blocked);
  REQUIRE(serving.scheduling().refused().id == large);
  serving.run();
  REQUIRE(seen.why.at(large).code == errc::out_of_pages);
  REQUIRE(seen.why.at(grows).code == errc::out_of_pages);
  REQUIRE(seen.total[grows] == text(most.begin(), most.begin() + 7));  // 16 rows and the token after them
  REQUIRE(seen.total[small] == want);
  REQUIRE(store.free_pages() == 4);
}

TEST_CASE("an engine that ends early gives its pages back") {
  test::token_store store(16, 4);
  test::hash_model model;
  {
    engine serving(model, store);
    request_id id = 0;
    REQUIRE(serving.submit({.prompt = {1, 2, 3}, .max_new_tokens = 9}, id));
    REQUIRE(serving.run_step() == progress::ran);
    REQUIRE(store.free_pages() < 16);
  }
  REQUIRE(store.free_pages() == 16);
}

TEST_CASE("texts that share prefixes and are swapped read as each served alone") {
  using swapping = policy<schedule::order::priority, schedule::batching::chunked, schedule::admission::when_it_fits,
                          schedule::victim::lowest_priority, schedule::preemption::swap>;
  std::uint64_t hits = 0, swaps = 0, lost = 0, dropped = 0, waited = 0;
  for (unsigned seed = 0; seed < 400; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    const std::uint32_t pages = 10 + draw(14);
    test::hooked_store store(pages, {.delay = 1 + draw(6), .host_rows = 20 + draw(100), .lose_one_in = draw(3) * 4, .seed = seed});
    test::hash_model model;
    engine serving(model, store, swapping{.order = {.ageing_seconds = INFINITY, .preempts = draw(2) == 0}, .batching = {.tau = 1 + draw(24)}},
                   {.max_running = 1 + draw(6), .max_sequence = 40, .patience = 1 + draw(4), .max_parked = 1 + draw(3)});
    record seen;
    std::map<request_id, generation> asked;
    std::map<request_id, bool> cancelled;
    for (int i = 0; i < 50; ++i) {
      if (draw(2) == 0 && asked.size() < 24) {
        generation g = random_text(random, 12);
        text document(4 * draw(5), 1 + static_cast<std::int32_t>(draw(3)));
        g.group = document.empty() ? 0 : 1 + draw(3), g.shared_tokens = static_cast<std::uint32_t>(document.size());
        document.insert(document.end(), g.prompt.begin(), g.prompt.end());
        g.prompt = std::move(document);
        const generation plain = g;
        seen.listen(g);
        request_id id = 0;
        REQUIRE(serving.submit(g, id));
        asked[id] = plain;
      }
      if (draw(8) == 0 && !asked.empty()) {
        const request_id id = std::next(asked.begin(), draw(static_cast<std::uint32_t>(asked.size())))->first;
        if (serving.cancel(id)) cancelled[id] = true;
      }
      const progress p = serving.run_step();
      REQUIRE(p != progress::blocked);
      waited += p == progress::waiting;
    }
    serving.run();
    REQUIRE(serving.live() == 0);
    for (int i = 0; i < 8; ++i) store.poll();
    REQUIRE(store.free_pages() == pages);
    REQUIRE(store.pins == store.unpins);
    for (const auto& [id, g] : asked) {
      text want = alone(g);
      REQUIRE(seen.streamed[id] == seen.total[id]);
      if (cancelled[id]) want.resize(std::min(want.size(), seen.total[id].size()));
      REQUIRE(seen.total[id] == want);
    }
    hits += store.hits, swaps += store.swaps, lost += store.lost, dropped += store.lost_on_the_way;
  }
  REQUIRE(hits > 1000);
  REQUIRE(swaps > 300);
  REQUIRE(lost > 20);
  REQUIRE(dropped > 20);
  REQUIRE(waited > 20);
}

TEST_CASE("texts beside another share its prompt's rows and read as each served alone") {
  test::token_store store(64, 4);
  test::hash_model model;
  engine serving(model, store, policy<>{.batching = {.tau = 8}}, {.max_running = 4});
  record seen;
  generation root{.prompt = text(21, 3), .max_new_tokens = 6};
  const auto nth = [](std::int32_t n) {
    return [n](std::span<const float> logits, std::span<const std::int32_t> so_far) {
      return so_far.empty() ? n : greedy(logits);
    };
  };
  generation plain = root;
  seen.listen(root);
  request_id first = 0;
  REQUIRE(serving.submit(root, first));
  std::vector<request_id> ids;
  for (std::int32_t n = 0; n < 5; ++n) {  // more than there are seats; the last is beside a copy, which is as good
    generation g{.max_new_tokens = 1 + static_cast<std::uint32_t>(n), .sampler = nth(n), .beside = n < 4 ? first : ids[0]};
    seen.listen(g);
    REQUIRE(serving.submit(g, ids.emplace_back()));
  }
  request_id refused = 77;
  REQUIRE(serving.submit({.max_new_tokens = 7, .beside = first}, refused).code == errc::out_of_range);
  REQUIRE(serving.submit({.max_new_tokens = 1, .beside = 99}, refused).code == errc::unknown_sequence);
  for (int i = 0; i < 3; ++i) REQUIRE(serving.run_step() == progress::ran);
  REQUIRE(serving.submit({.max_new_tokens = 1, .beside = first}, refused).code == errc::unknown_sequence);
  REQUIRE(refused == 77);
  serving.run();
  REQUIRE(seen.total[first] == alone(plain));
  std::uint64_t rows = 21 + 5;
  for (std::uint32_t n = 0; n < 5; ++n) {
    generation g{.prompt = plain.prompt, .max_new_tokens = n + 1, .sampler = nth(static_cast<std::int32_t>(n))};
    REQUIRE(seen.total[ids[n]] == alone(g));
    rows += n;
  }
  REQUIRE(store.forks == 5);
  REQUIRE(serving.scheduling().counters().computed == rows);  // the prompt once
  REQUIRE(store.free_pages() == 64);
}

TEST_CASE("copies survive full stores, cancelled roots and failing ones") {
  std::uint64_t forks = 0, preempted = 0, again = 0;
  for (unsigned seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    const std::uint32_t pages = 8 + draw(12);
    test::token_store store(pages, 4);
    test::hash_model model;
    engine serving(model, store, urgent{.order = {.ageing_seconds = INFINITY, .preempts = true}, .batching = {.tau = 1 + draw(24)}},
                   {.max_running = 1 + draw(6), .max_sequence = 32, .patience = 1 + draw(4)});
    record seen;
    std::map<request_id, generation> asked;
    std::map<request_id, bool> cancelled;
    std::uint64_t least = 0;
    for (int i = 0; i < 40; ++i) {
      if (draw(3) == 0 && asked.size() < 20) {
        const generation plain = random_text(random, 30);
        generation g = plain;
        seen.listen(g);
        request_id root = 0;
        REQUIRE(serving.submit(g, root));
        asked[root] = plain;
        least += plain.prompt.size();
        for (std::uint32_t n = draw(4); n > 0; --n) {
          generation copy = random_text(random, 30);
          copy.max_new_tokens = 1 + draw(plain.max_new_tokens);
          copy.prompt = plain.prompt;
          generation c = copy;
          c.prompt.clear();
          c.beside = root;
          seen.listen(c);
          request_id id = 0;
          REQUIRE(serving.submit(c, id));
          asked[id] = copy;
        }
      }
      if (draw(6) == 0 && !asked.empty()) {
        const request_id id = std::next(asked.begin(), draw(static_cast<std::uint32_t>(asked.size())))->first;
        if (serving.cancel(id)) cancelled[id] = true;
      }
      REQUIRE(serving.run_step() != progress::blocked);
    }
    serving.run();
    REQUIRE(serving.live() == 0);
    REQUIRE(store.free_pages() == pages);
    for (const auto& [id, g] : asked) {
      text want = alone(g);
      REQUIRE(seen.streamed[id] == seen.total[id]);
      if (cancelled[id]) want.resize(std::min(want.size(), seen.total[id].size()));
      REQUIRE(seen.total[id] == want);
    }
    forks += store.forks;
    preempted += serving.scheduling().counters().preempted;
    again += serving.scheduling().counters().computed > least;
  }
  REQUIRE(forks > 100);
  REQUIRE(preempted > 100);
  REQUIRE(again > 0);
}

TEST_CASE("copies of a text that its model refuses end as it does, and of one that throws go on") {
  test::token_store store(64, 4);
  test::hash_model model{.refuses = 13};
  engine serving(model, store);
  record seen;
  generation g{.prompt = {1, 13, 3}, .max_new_tokens = 4};
  request_id root = 0, copy = 0, last = 0;
  seen.listen(g);
  REQUIRE(serving.submit(g, root));
  generation c{.max_new_tokens = 3, .beside = root};
  seen.listen(c);
  REQUIRE(serving.submit(c, copy));
  REQUIRE(serving.submit(c, last));
  serving.run();
  for (const request_id id : {root, copy, last}) REQUIRE(seen.why.at(id).code == errc::not_finite);
  REQUIRE(store.free_pages() == 64);

  generation h{.prompt = {1, 2, 3}, .max_new_tokens = 4, .sampler = [calls = 0](auto logits, auto) mutable {
                 return ++calls == 1 ? throw std::runtime_error("sampler") : greedy(logits);
               }};
  const generation plain{.prompt = h.prompt, .max_new_tokens = 4};
  seen.listen(h);
  REQUIRE(serving.submit(h, root));
  c.beside = root;
  REQUIRE(serving.submit(c, copy));
  REQUIRE_THROWS_AS(serving.run(), std::runtime_error);
  serving.run();
  REQUIRE(seen.total[root] == alone(plain));
  REQUIRE(seen.total[copy].size() == 3);
  REQUIRE(std::equal(seen.total[copy].begin(), seen.total[copy].end(), seen.total[root].begin()));
  REQUIRE(store.free_pages() == 64);
}
