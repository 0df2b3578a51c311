// SPDX-License-Identifier: Apache-2.0
// What a copy costs to launch and what it carries, and what moving conversations out of a store and back costs per page, with
// block groups and with reuse of what the host holds. One command:
//   bench_tier --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
// `copies`: 1 to 4096 copies of 4 KiB to 64 MiB over one copy thread; bytes_per_second, and us_per_copy, whose limit for small
//   copies is the launch cost.
// `swap/layers/group/reuse`: four conversations of 1024 tokens (bf16, 3 heads of 64) that grew together take 8 turns of 128
//   tokens each; after every turn one leaves and comes back. `modelled_us`: the same copies on a link of 25 GB/s and 5 us a launch.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <type_traits>

#include "quire/kv/layout/paged.hpp"
#include "quire/kv/swap_memory.hpp"
#include "quire/kv/swapper.hpp"
#include "quire/tier/copy_thread.hpp"
#include "quire/tier/virtual_link.hpp"

namespace {

using namespace quire;
using clock_type = std::chrono::steady_clock;

double since(clock_type::time_point begin) { return std::chrono::duration<double>(clock_type::now() - begin).count(); }

/// Arguments: copies, bytes of each.
void copies(benchmark::State& state) {
  const auto n = static_cast<std::uint32_t>(state.range(0));
  const auto bytes = static_cast<std::size_t>(state.range(1));
  const std::uint32_t slots = static_cast<std::uint32_t>(std::min<std::size_t>(2 * n, std::max<std::size_t>((512u << 20) / bytes, 2)));
  tier::memory_pool from(slots, bytes), to(slots, bytes);
  std::memset(from.at(0), 1, slots * bytes), std::memset(to.at(0), 2, slots * bytes);
  const tier::pool_ref pools[] = {from, to};
  tier::copy_thread link(pools, 64);
  double seconds = 0;
  for (auto _ : state) {
    const auto begin = clock_type::now();
    for (std::uint32_t started = 0, landed = 0; landed < n;) {
      if (started < n && link.start(started, {.from = {0, started * 2 % slots}, .to = {1, started * 2 % slots}, .slots = 1, .bytes = bytes}, 0)) {
        ++started;
        continue;
      }
      link.wait(0);
      while (link.poll(0)) ++landed;
    }
    const double took = since(begin);
    seconds += took;
    state.SetIterationTime(took);
  }
  state.SetBytesProcessed(state.iterations() * n * static_cast<std::int64_t>(bytes));
  state.counters["us_per_copy"] = seconds * 1e6 / (static_cast<double>(state.iterations()) * n);
}
BENCHMARK(copies)->UseManualTime()->ArgNames({"copies", "bytes"})->Args({1, 4 << 10})->Args({1, 64 << 10})->Args({1, 1 << 20})->Args({1, 16 << 20})->Args({1, 64 << 20})
    ->Args({16, 4 << 10})->Args({256, 4 << 10})->Args({4096, 4 << 10})->Args({256, 64 << 10})->Args({256, 1 << 20});

using layout_type = kv::paged<kv::raw_bf16>;

struct result {
  kv::swap_counts counts;
  double seconds = 0;
};
template <class K>
result turns(std::uint32_t layers, std::uint32_t group, bool reuse, K&& make_link) {
  const layout_type layout({layers, 3, 64});
  kv::store_options<layout_type> o = kv::pages_for(layout, 4, 2304);
  o.group_pages = group;
  kv::store store(layout, o);
  kv::mirror_options<layout_type> mirrors = kv::mirrors_for(layout, 4, 2304);
  mirrors.group_slots = group;
  const kv::swap_memory memory(store, mirrors);
  for (tier::pool_ref p : memory.pools())
    if (p.slots() != 0 && p.slot_bytes() != 0) std::memset(p.at(0), 1, p.slots() * p.slot_bytes());
  auto link = make_link(memory.pools());
  kv::swapper swap(store, *link, mirrors, {.transfers = {.copy_bytes = group == 1 ? 0 : 64u << 20}, .reuse = reuse});
  std::uint32_t h[4];
  result r;
  double now = 0;
  const auto grow = [&](std::uint32_t x, std::uint32_t tokens) {
    if (!store.reserve(swap.sequence(x), tokens) || !store.commit(swap.sequence(x), tokens)) std::terminate();
  };
  for (auto& x : h)
    if (!swap.open(x)) std::terminate();
  for (int at = 0; at < 1024; at += 64)
    for (const std::uint32_t x : h) grow(x, 64);
  for (int turn = 0; turn < 8; ++turn)
    for (const std::uint32_t x : h) {
      grow(x, 128);
      const auto begin = clock_type::now();
      if (!swap.try_swap_out(x, kv::leave_reason::idle)) std::terminate();
      now = swap.wait(x, now);
      if (!swap.begin_swap_in(x)) std::terminate();
      now = swap.wait(x, now);
      r.seconds += since(begin);
    }
  r.counts = swap.counts();
  if constexpr (std::is_same_v<std::remove_cvref_t<decltype(*link)>, tier::virtual_link>) r.seconds = now;
  return r;
}

/// Arguments: layers in a page, pages of a group (1: page by page), reuse.
void swap(benchmark::State& state) {
  const auto layers = static_cast<std::uint32_t>(state.range(0)), group = static_cast<std::uint32_t>(state.range(1));
  const bool reuse = state.range(2) != 0;
  result r;
  for (auto _ : state) {
    r = turns(layers, group, reuse, [](auto pools) { return std::make_unique<tier::copy_thread>(pools); });
    state.SetIterationTime(r.seconds);
  }
  const kv::swap_counts& c = r.counts;
  state.counters["copies"] = static_cast<double>(c.out.copies + c.in.copies);
  state.counters["mean_run"] = static_cast<double>(c.pieces) / static_cast<double>(c.runs);
  state.counters["out_MB"] = static_cast<double>(c.out.bytes) / 1e6;
  state.counters["in_MB"] = static_cast<double>(c.in.bytes) / 1e6;
  state.counters["saved_MB"] = static_cast<double>(c.saved_bytes) / 1e6;
  state.counters["modelled_us"] = turns(layers, group, reuse, [](auto) { return std::make_unique<tier::virtual_link>(); }).seconds * 1e6;
}
BENCHMARK(swap)->UseManualTime()->Unit(benchmark::kMillisecond)->ArgNames({"layers", "group", "reuse"})->ArgsProduct({{1, 30}, {1, 8, 64}, {0, 1}});

}  // namespace
