// SPDX-License-Identifier: Apache-2.0
// Planning a pile of a million prompts, a hundred million tokens: a few system prompts, documents that are asked about with
// Zipf frequency, questions that come again, private ends. Seconds for each part, and the peak of memory over the tokens.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "quire/schedule/prefix/plan.hpp"

namespace {

using namespace quire::schedule::prefix;

std::uint64_t mix(std::uint64_t x) {  // SplitMix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}
double unit(std::uint64_t x) { return static_cast<double>(mix(x) >> 11) * 0x1p-53; }

/// One arena of tokens and a view of each prompt. Levels: 8 system prompts of 16 tokens, `documents` of 16 to 63, questions
/// of 8 (a few for each document), then tokens of its own. A level's tokens follow from its number alone.
struct million {
  std::vector<std::int32_t> arena;
  std::vector<std::span<const std::int32_t>> prompts;
  std::vector<double> decode;

  million(std::uint32_t requests, std::uint32_t tokens_each, std::uint32_t documents) {
    std::vector<double> zipf(documents);  // cumulative
    for (std::uint32_t d = 0; d < documents; ++d) zipf[d] = (d > 0 ? zipf[d - 1] : 0) + 1.0 / (d + 1);
    arena.reserve(std::size_t{requests} * tokens_each);
    std::vector<std::size_t> begins;
    for (std::uint32_t r = 0; r < requests; ++r) {
      begins.push_back(arena.size());
      const double at = unit(4 * std::uint64_t{r}) * zipf.back();
      const auto document = static_cast<std::uint64_t>(std::lower_bound(zipf.begin(), zipf.end(), at) - zipf.begin());
      const std::uint64_t question = document << 8 | mix(4 * std::uint64_t{r} + 1) % 20;
      const auto level = [&](std::uint64_t name, std::uint64_t tokens) {
        for (std::uint64_t i = 0; i < tokens; ++i)
          arena.push_back(static_cast<std::int32_t>(mix(mix(name) + i) % 50000));
      };
      level(1000 + document % 8, 16);
      level(1u << 20 | document, 16 + mix(document) % 48);
      level(std::uint64_t{1} << 40 | question, 8);
      const std::size_t have = arena.size() - begins.back();
      level(std::uint64_t{1} << 50 | r, mix(4 * std::uint64_t{r} + 3) % (2 * (tokens_each - have) + 1));  // so that the mean is tokens_each
      decode.push_back(1 + unit(4 * std::uint64_t{r} + 2) * 500);
    }
    begins.push_back(arena.size());
    for (std::uint32_t r = 0; r < requests; ++r) prompts.emplace_back(arena.data() + begins[r], begins[r + 1] - begins[r]);
  }
};

double peak_bytes() {
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_maxrss) * 1024;
}
template <class F>
auto timed(double& seconds, F f) {
  const auto begin = std::chrono::steady_clock::now();
  auto result = f();
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

void measure(benchmark::State& state, std::span<const std::span<const std::int32_t>> prompts, std::span<const double> decode) {
  const pile<std::int32_t> p{.prompts = prompts};
  if (!check(p)) return state.SkipWithError("pile");
  std::uint64_t tokens = 0;
  for (const auto& prompt : prompts) tokens += prompt.size();
  std::uint64_t grouped = 0;
  for (auto _ : state) {
    double seconds = 0;
    const plan made = timed(seconds, [&] { return make_plan(p, decode, {.tile = 1}); });
    state.SetIterationTime(seconds);
    grouped = made.groups.size();
    state.counters["saved_percent"] = 100.0 * static_cast<double>(made.saved()) / static_cast<double>(tokens);
  }
  double sort = 0, build = 0, greedy = 0, optimum = 0;
  sorted_prompts sorted = timed(sort, [&] { return sort_prompts(p); });
  const tree t = timed(build, [&] { return build_tree(p, std::move(sorted), {.tile = 1, .keep_last = true}); });
  static_cast<void>(timed(greedy, [&] { return saved(t, first_level(t)); }));
  static_cast<void>(timed(optimum, [&] { return saved(t, one_level_optimum(t)); }));
  state.counters["tokens"] = static_cast<double>(tokens);
  state.counters["nodes"] = static_cast<double>(t.nodes.size());
  state.counters["groups"] = static_cast<double>(grouped);
  state.counters["sort_s"] = sort;
  state.counters["tree_s"] = build;
  state.counters["first_level_s"] = greedy;
  state.counters["optimum_s"] = optimum;
}

/// Arguments: thousands of requests, documents.
void planning(benchmark::State& state) {
  const million made(static_cast<std::uint32_t>(state.range(0)) * 1000, 100, static_cast<std::uint32_t>(state.range(1)));
  measure(state, made.prompts, made.decode);
  // of the process so far: tokens, views and estimates included
  state.counters["peak_over_tokens"] = peak_bytes() / static_cast<double>(made.arena.size() * sizeof(std::int32_t));
}

/// The deepest tree there is: so many prompts that each go on where the one before ends, views of one text.
void chain(benchmark::State& state) {
  const auto requests = static_cast<std::size_t>(state.range(0));
  std::vector<std::int32_t> text(2 * requests);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::int32_t>(mix(i) % 50000);
  std::vector<std::span<const std::int32_t>> prompts;
  for (std::size_t r = 1; r <= requests; ++r) prompts.emplace_back(text.data(), 2 * r);
  measure(state, prompts, {});
}

}  // namespace

BENCHMARK(planning)
    ->Args({1000, 20000})
    ->Args({1000, 1000})
    ->Args({1000, 500000})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3);
BENCHMARK(chain)->Arg(10000)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);
