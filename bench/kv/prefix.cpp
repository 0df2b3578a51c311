// SPDX-License-Identifier: Apache-2.0
// What a prefix index costs: looking a prompt up (warm, and cold in an index of a million tiles), keeping and evicting tiles, and
// opening a sequence on a cached prefix. Rates are tokens a second of the prompt.
#include "quire/kv/prefix_index.hpp"

#include <benchmark/benchmark.h>

#include <random>

#include "quire/kv/evict/greedy_dual.hpp"
#include "quire/kv/evict/lfu.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/prefix_cache.hpp"

namespace {

using namespace quire;

constexpr std::uint32_t prompt_tiles = 64;  // 4096 tokens

std::vector<std::int32_t> random_tokens(std::uint32_t tiles, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens(std::size_t{tiles} * tile_tokens);
  for (auto& t : tokens) t = static_cast<std::int32_t>(random() % 49152);
  return tokens;
}

/// An index of `tiles` tiles of prompts of 64 tiles of which the first 8 are common. Prompts grow side by side, so that tiles of
/// one lie far apart, as they come to lie in an index that evicts.
struct filled {
  std::vector<std::vector<std::int32_t>> prompts;
  kv::prefix_index<std::uint32_t> index;

  explicit filled(std::uint32_t tiles) : index(tiles) {
    const auto common = random_tokens(8, 1);
    prompts.resize((tiles - 8) / (prompt_tiles - 8));
    std::vector<kv::prefix_place> at(prompts.size(), {1});
    for (unsigned p = 0; p < prompts.size(); ++p) {
      prompts[p] = random_tokens(prompt_tiles, p + 2);
      std::copy(common.begin(), common.end(), prompts[p].begin());
    }
    for (std::uint32_t t = 0, page = 0; t < prompt_tiles; ++t)
      for (std::size_t p = 0; p < prompts.size(); ++p)
        if (const std::int32_t* tokens = prompts[p].data() + t * tile_tokens; !index.descend(at[p], tokens)) index.insert(at[p], tokens, page++);
  }
};

/// Argument: tiles in the index. Prompts in random order; with a million tiles all of it comes from memory.
void look_up(benchmark::State& state) {
  static const auto few = std::make_unique<filled>(512);
  static std::unique_ptr<filled> many;
  if (state.range(0) > 512 && !many) many = std::make_unique<filled>(static_cast<std::uint32_t>(state.range(0)));
  const filled& f = state.range(0) > 512 ? *many : *few;
  std::mt19937 random(3);
  std::uint64_t found = 0;
  for (auto _ : state) found += f.index.match(1, f.prompts[random() % f.prompts.size()]).tiles;
  if (found != prompt_tiles * static_cast<std::uint64_t>(state.iterations())) state.SkipWithError("a kept prompt was not found");
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(found) * tile_tokens, benchmark::Counter::kIsRate);
  state.counters["tiles"] = f.index.size();
}

/// Prompts that the index does not know: 8 common tiles, then nothing.
void miss(benchmark::State& state) {
  const filled f(512);
  std::vector<std::vector<std::int32_t>> prompts;
  for (unsigned p = 0; p < 4096; ++p) prompts.push_back(random_tokens(prompt_tiles, 100000 + p)), std::copy_n(f.prompts[0].begin(), 512, prompts.back().begin());
  std::size_t i = 0;
  for (auto _ : state) {
    if (f.index.match(1, prompts[i++ & 4095]).tiles != 8) state.SkipWithError("a prompt that is not there was found");
  }
}

/// A full index that keeps a new tile for each that goes. Argument: tiles.
template <class Policy>
void turn_over(benchmark::State& state) {
  const auto tiles = static_cast<std::uint32_t>(state.range(0));
  kv::prefix_index<std::uint32_t, Policy> index(tiles);
  auto tokens = random_tokens(1, 1);
  std::uint64_t next = 0;
  kv::prefix_place at{1};
  const auto once = [&] {
    if (index.full()) {
      index.hold(at);
      index.evict([](std::uint32_t) {});
      index.let_go(at);
    }
    if (at.tiles == prompt_tiles) at = {1};
    ++next, tokens[0] = static_cast<std::int32_t>(next), tokens[1] = static_cast<std::int32_t>(next >> 32);
    index.insert(at, tokens.data(), 0);
  };
  for (std::uint32_t i = 0; i < tiles + tiles / 2; ++i) once();
  for (auto _ : state) once();
  state.counters["tiles/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

/// Opens a sequence on 64 kept tiles and closes it again: match, attach, hold, release.
void open_close(benchmark::State& state) {
  const kv::paged<kv::raw_bf16> layout({1, 1, 8});
  kv::store store(layout, kv::pages_for(layout, 64, 8192));
  kv::prefix_cache cache(store, 8192);
  auto tokens = random_tokens(prompt_tiles, 1);
  std::uint32_t s = 0;
  if (!cache.open(1, tokens, s) || !cache.reserve(s, prompt_tiles * tile_tokens) || !store.commit(s, prompt_tiles * tile_tokens) || !cache.insert(s, tokens)) state.SkipWithError("set-up");
  tokens.push_back(1);
  for (auto _ : state) {
    if (!cache.open(1, tokens, s) || store.length(s) != prompt_tiles * tile_tokens) state.SkipWithError("open");
    cache.close(s);
  }
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(state.iterations()) * prompt_tiles * tile_tokens, benchmark::Counter::kIsRate);
}

}  // namespace

BENCHMARK(look_up)->Arg(512)->Arg(1000000);
BENCHMARK(miss);
BENCHMARK(turn_over<kv::evict::lru>)->Arg(4096)->Arg(1000000);
BENCHMARK(turn_over<kv::evict::lfu>)->Arg(4096)->Arg(1000000);
BENCHMARK(turn_over<kv::evict::greedy_dual>)->Arg(4096)->Arg(1000000);
BENCHMARK(open_close);
