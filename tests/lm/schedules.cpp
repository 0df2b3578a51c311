// SPDX-License-Identifier: Apache-2.0
// The real model under every policy: whatever runs when, in which chunks, whoever is preempted, swapped, forked or begun from
// another's prefix, the tokens are those of each text alone.
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <random>

#include "catch.hpp"
#include "lm/backend.hpp"
#include "lm/gguf.hpp"
#include "lm/tokenizer.hpp"
#include "lm/weights.hpp"
#include "model_file.hpp"
#include "quire/schedule/admission/projected.hpp"
#include "quire/schedule/admission/watermark.hpp"
#include "quire/schedule/batching/chunked_apart.hpp"
#include "quire/schedule/batching/memory_centric.hpp"
#include "quire/schedule/batching/prefill_first.hpp"
#include "quire/schedule/batching/whole.hpp"
#include "quire/schedule/one_of.hpp"
#include "quire/schedule/order/fair.hpp"
#include "quire/schedule/order/fair_priority.hpp"
#include "quire/schedule/order/longest_prefix.hpp"
#include "quire/schedule/order/prefix_grouped.hpp"
#include "quire/schedule/order/priority.hpp"
#include "quire/schedule/order/shortest_prefill.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/victim/least_lost_work.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"
#include "quire/serve/engine.hpp"

using namespace quire_lm;
namespace sc = quire::schedule;

namespace {

using any_policy =
    sc::policy<sc::one_of<sc::order::fcfs, sc::order::priority, sc::order::shortest_prefill, sc::order::longest_prefix, sc::order::prefix_grouped, sc::order::fair, sc::order::fair_priority>,
               sc::one_of<sc::batching::chunked, sc::batching::whole, sc::batching::prefill_first, sc::batching::chunked_apart, sc::batching::memory_centric>,
               sc::one_of<sc::admission::when_it_fits, sc::admission::watermark, sc::admission::projected>,
               sc::one_of<sc::victim::newest, sc::victim::lowest_priority, sc::victim::least_lost_work>, sc::one_of<sc::preemption::recompute, sc::preemption::swap>>;

struct loaded {
  gguf::file file;
  tokenizer tok;
  model_weights weights;
  explicit loaded(const std::string& path) : file(gguf::file::open(path)), tok(file), weights(file) {}
};

struct text {
  std::vector<token> prompt;
  std::uint32_t tokens = 1;
};

/// Documents of one or two tiles that several prompts begin with, and questions of their own.
std::vector<text> texts(const loaded& m, std::mt19937& random) {
  const auto words = [&](std::uint32_t n) {
    std::vector<token> out(n);
    for (token& t : out) t = static_cast<token>(300 + random() % 20000);
    return out;
  };
  static_cast<void>(m);
  const std::vector<token> documents[] = {words(64), words(130)};
  std::vector<text> out;
  for (int i = 0; i < 6; ++i) {
    text t{i < 4 ? documents[i % 2] : std::vector<token>{}, 2 + static_cast<std::uint32_t>(random() % 5)};
    const auto own = words(3 + static_cast<std::uint32_t>(random() % 30));
    t.prompt.insert(t.prompt.end(), own.begin(), own.end());
    out.push_back(std::move(t));
  }
  return out;
}

std::vector<token> alone(backend& b, const text& t) {
  quire::serve::engine<backend, backend> serving(b, b);
  std::vector<token> got;
  std::uint64_t id = 0;
  REQUIRE(serving.submit({.prompt = t.prompt, .max_new_tokens = t.tokens, .on_token = [&](auto, token x) { got.push_back(x); }}, id));
  serving.run();
  return got;
}

}  // namespace

TEST_CASE("two hundred random schedules of the real model generate the tokens of each text alone") {
  const std::string path = model_file();
  if (path.empty()) return;
  const loaded m(path);
  const auto isa = choose_instruction_set();
  std::uint64_t preempted = 0, swapped = 0, hits = 0, forks = 0, recomputed = 0;
  struct arm {
    const char* kv;
    bool whole_prompts;
  };
  for (const auto [kv, whole_prompts] : {arm{"bf16", false}, arm{"int4-hadamard", false}, arm{"int8", false}, arm{"streaming:window=60", false}, arm{"split:sinks=4:window=64", true}}) {
    std::mt19937 random(static_cast<unsigned>(kv[0]) * 7 + static_cast<unsigned>(kv[3]));
    const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    const auto all = texts(m, random);
    std::vector<std::vector<token>> want;
    {
      const auto b = isa.make(m.weights, {.kv = kv, .threads = 2, .max_rows = 512, .sequences = 1, .max_tokens = 256, .whole_prompts = whole_prompts});
      for (const text& t : all) want.push_back(alone(*b, t));
    }
    for (int round = 0; round < 40; ++round) {
      INFO(kv << ", round " << round);
      any_policy p;
      switch (draw(7)) {
        case 0: p.order = sc::order::priority{.ageing_seconds = 1e9, .preempts = true}; break;
        case 1: p.order = sc::order::shortest_prefill{}; break;
        case 2: p.order = sc::order::longest_prefix{}; break;
        case 3: p.order = sc::order::prefix_grouped{}; break;
        case 4: p.order = sc::order::fair(sc::order::fair_options{}); break;
        case 5: p.order = sc::order::fair_priority(sc::order::fair_options{}, true); break;
        default: break;
      }
      const std::uint32_t tau = 1 + draw(180);
      switch (draw(5)) {
        case 0: p.batching = sc::batching::whole{.max_tokens = tau}; break;
        case 1: p.batching = sc::batching::prefill_first{.max_batched = tau}; break;
        case 2: p.batching = sc::batching::chunked_apart{.tau = tau}; break;
        case 3: p.batching = sc::batching::memory_centric{.theta = 1.0, .steps = draw(8), .guard = tau}; break;
        default: {
          const std::uint32_t to = 1 + draw(tau);
          p.batching = sc::batching::chunked{.tau = tau, .round_to = to, .even_depth = to % 2 != 0 ? 8 * to : 0, .end_at = to % 3 != 0 ? 64u : 1u};
          break;
        }
      }
      if (draw(3) == 0) p.admission = sc::admission::watermark{.fraction = 0.1};
      else if (draw(2) == 0) p.admission = sc::admission::projected{.theta = 1.0, .steps = draw(8)};
      if (draw(3) == 0) p.victim = sc::victim::lowest_priority{};
      else if (draw(2) == 0) p.victim = sc::victim::least_lost_work{};
      if (draw(2) == 0) p.preemption = sc::preemption::swap{};
      const std::uint32_t running = 1 + draw(4);
      const auto b = isa.make(m.weights, {.kv = kv, .threads = 1 + draw(2), .max_rows = std::max(tau, running), .sequences = running, .max_tokens = 256,
                                          .total_tokens = 64 * (4 + draw(8)), .remembered_tokens = draw(2) * 2048, .away = draw(2) * 4, .reuse = draw(2) == 0, .whole_prompts = whole_prompts, .group_pages = 1 + draw(4)});
      const std::uint32_t pages = b->free_pages();
      std::map<std::size_t, std::vector<token>> got;
      {
        quire::serve::engine<backend, backend, any_policy> serving(*b, *b, p, {.max_running = running, .patience = 1 + draw(4)});
        for (std::size_t i = 0; i < all.size(); ++i) {
          const std::size_t t = (i + round) % all.size();
          const auto ended = [](auto, const quire::serve::result& r) {
            INFO(quire::describe(r.why));
            CHECK(r.ending != quire::serve::ending::failed);
          };
          quire::serve::generation g{.prompt = all[t].prompt, .max_new_tokens = all[t].tokens, .on_token = [&got, t](auto, token x) { got[t].push_back(x); }, .on_done = ended,
                                     .arrival = static_cast<double>(i), .priority = static_cast<std::int32_t>(draw(3)), .tenant = draw(2)};
          if (t < 4) g.group = 1 + t % 2, g.rank = t, g.shared_tokens = t % 2 == 0 ? 64 : 128;
          std::uint64_t id = 0, copy = 0;
          const quire::status queued = serving.submit(g, id);
          INFO(quire::describe(queued));
          REQUIRE(queued);
          if (draw(4) == 0) {
            REQUIRE(serving.submit({.max_new_tokens = all[t].tokens, .on_token = [&got, t](auto, token x) { got[100 + t].push_back(x); }, .beside = id}, copy));
            ++forks;
          }
          for (std::uint32_t steps = draw(4); steps > 0; --steps) static_cast<void>(serving.run_step(static_cast<double>(i)));
        }
        serving.run();
        const auto& c = serving.scheduling().counters();
        preempted += c.preempted + c.yielded, recomputed += c.recomputed;
      }
      swapped += b->swap_counts().swaps_in, hits += b->prefix_counts().hit;
      for (const auto& [t, tokens] : got) REQUIRE(tokens == want[t % 100]);
      REQUIRE(got.size() >= all.size());
      for (int i = 0; i < 1000 && b->free_pages() != pages; ++i) b->wait();
      REQUIRE(b->free_pages() == pages);
      REQUIRE(b->check());
    }
  }
  std::printf("preempted %llu, recomputed tokens %llu, swapped in %llu, tokens of remembered prefixes %llu, forks %llu\n", static_cast<unsigned long long>(preempted),
              static_cast<unsigned long long>(recomputed), static_cast<unsigned long long>(swapped), static_cast<unsigned long long>(hits), static_cast<unsigned long long>(forks));
  CHECK(preempted > 20);
  CHECK(swapped > 10);
  CHECK(hits > 1000);
  CHECK(forks > 50);
}
