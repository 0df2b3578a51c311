// SPDX-License-Identifier: Apache-2.0
// The cost of one scheduling decision: next(), commit() and the tokens of a step, with a memory that only counts.
#include "quire/schedule/scheduler.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace {

using namespace quire;
using namespace quire::schedule;

struct counted_memory {
  std::uint64_t free = 0;
  std::vector<std::uint32_t> held;
  status reserve(request_id id, std::uint32_t tokens) {
    if (tokens > free) return {errc::out_of_pages, "tokens", tokens, 0, static_cast<std::int64_t>(free)};
    free -= tokens;
    held[id] += tokens;
    return {};
  }
  void release(request_id id) { free += std::exchange(held[id], 0); }
};

/// Counters per tenant that move in every step, as fair policies keep them.
struct least_served : fcfs {
  static constexpr bool by_tenant = true;
  std::vector<std::uint64_t> count = std::vector<std::uint64_t>(100);
  bool admit_before(const request& a, const request& b) const noexcept {
    if (count[a.tenant] != count[b.tenant]) return count[a.tenant] < count[b.tenant];
    return a.arrival < b.arrival;
  }
  void served(const request& r, std::uint32_t tokens) noexcept { count[r.tenant] += tokens; }
};
struct changing_priorities : fcfs {  // every waiting request may move in every step
  std::uint64_t steps = 0;
  std::uint64_t version() const noexcept { return steps / 25; }
  bool admit_before(const request& a, const request& b) const noexcept {
    return ((a.id + steps / 25) * 2654435761u & 0xffffu) < ((b.id + steps / 25) * 2654435761u & 0xffffu);
  }
  void served(const request&, std::uint32_t) noexcept {}
};

/// Constant load: each request that ends is followed by a new one. Arguments: running, waiting, tokens of memory per
/// seat.
template <class P>
void decision(benchmark::State& state) {
  const auto running = static_cast<std::uint32_t>(state.range(0)), waiting = static_cast<std::uint32_t>(state.range(1));
  counted_memory memory{.free = static_cast<std::uint64_t>(running) * static_cast<std::uint64_t>(state.range(2)),
                        .held = std::vector<std::uint32_t>(std::size_t{running} + waiting)};
  scheduler sched(memory, P{}, {.max_tokens = 2048, .max_running = running, .max_requests = running + waiting});
  std::uint64_t clock = 0;
  const auto submit = [&](request_id id) {
    const std::uint64_t h = (clock + 1) * 0x9e3779b97f4a7c15u;
    const request r{.id = id,
                    .arrival = static_cast<double>(clock++),
                    .prompt_tokens = 100 + static_cast<std::uint32_t>(h >> 40) % 900,
                    .max_new_tokens = 50 + static_cast<std::uint32_t>(h >> 20) % 300,
                    .tenant = static_cast<std::uint32_t>(h >> 8) % 100};
    if (!sched.submit(r)) state.SkipWithError("submit");
  };
  for (request_id id = 0; id < running + waiting; ++id) submit(id);
  std::vector<request_id> ended;
  std::vector<double> costs;
  costs.reserve(1 << 20);
  const auto once = [&](bool timed) {
    const auto begin = std::chrono::steady_clock::now();
    const auto s = sched.next();
    if (!s) return state.SkipWithError("no step");
    if (!sched.commit(*s)) return state.SkipWithError("commit");
    ended.clear();
    for (const entry& e : s->entries)
      if (e.wants_logits) {
        if (sched.find(e.id)->so_far.generated + 1 == sched.find(e.id)->max_new_tokens) ended.push_back(e.id);
        if (!sched.token(e.id)) return state.SkipWithError("token");
      }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (const request_id id : ended) submit(id);
    if constexpr (requires(P & p) { p.steps; }) ++sched.policy().steps;
    if (!timed) return;
    state.SetIterationTime(seconds);
    costs.push_back(seconds * 1e6);
  };
  for (int i = 0; i < 2000; ++i) once(false);
  for (auto _ : state) once(true);
  if (costs.empty()) return;
  std::sort(costs.begin(), costs.end());
  state.counters["p50_us"] = costs[costs.size() / 2];
  state.counters["p99_us"] = costs[costs.size() * 99 / 100];
  state.counters["running"] = sched.running();
  state.counters["waiting"] = sched.waiting();
  state.counters["preempted_per_step"] =
      static_cast<double>(sched.counters().preempted) / static_cast<double>(sched.counters().steps);
}

}  // namespace

// ample memory, then memory so tight that decodes preempt
BENCHMARK(decision<fcfs>)
    ->Args({256, 10000, 2000})
    ->Args({256, 10000, 500})
    ->Args({256, 0, 2000})
    ->Args({32, 10000, 2000})
    ->UseManualTime();
BENCHMARK(decision<least_served>)->Args({256, 10000, 2000})->Args({256, 10000, 500})->UseManualTime();
BENCHMARK(decision<changing_priorities>)->Args({256, 10000, 2000})->UseManualTime();
