// SPDX-License-Identifier: Apache-2.0
// The cost of one scheduling decision: next(), commit() and the tokens of a step, with a memory that only counts.
// One command: bench_schedule --benchmark_counters_tabular=true
#include "quire/schedule/scheduler.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

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
#include "quire/schedule/victim/least_lost_work.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"

namespace {

using namespace quire;
using namespace quire::schedule;

struct counted_memory {
  std::uint64_t free = 0, all = free;
  std::vector<std::uint32_t> held;
  status reserve(request_id id, std::uint32_t tokens) {
    if (tokens > free) return {errc::out_of_pages, "tokens", tokens, 0, static_cast<std::int64_t>(free)};
    free -= tokens;
    held[id] += tokens;
    return {};
  }
  void release(request_id id) { free += std::exchange(held[id], 0); }
  std::uint64_t capacity_tokens() const { return all; }
  std::uint64_t free_tokens() const { return free; }
};

struct changing_priorities {  // every waiting request may move: FastSwitch's update frequency, every 25 steps
  std::uint64_t steps = 0;
  std::uint64_t version() const noexcept { return steps / 25; }
  bool admit_before(const request& a, const request& b) const noexcept {
    return ((a.id + steps / 25) * 2654435761u & 0xffffu) < ((b.id + steps / 25) * 2654435761u & 0xffffu);
  }
};

/// Constant load: each request that ends is followed by a new one. Arguments: running, waiting, tokens of memory per
/// seat.
template <class P>
void decision(benchmark::State& state) {
  const auto running = static_cast<std::uint32_t>(state.range(0)), waiting = static_cast<std::uint32_t>(state.range(1));
  counted_memory memory{.free = static_cast<std::uint64_t>(running) * static_cast<std::uint64_t>(state.range(2)),
                        .held = std::vector<std::uint32_t>(std::size_t{running} + waiting)};
  P policy{};
  if constexpr (requires { policy.batching.tau; }) policy.batching.tau = 2048;
  scheduler sched(memory, std::move(policy), {.max_running = running, .max_requests = running + waiting});
  std::uint64_t clock = 0;
  const auto submit = [&](request_id id) {
    const std::uint64_t h = (clock + 1) * 0x9e3779b97f4a7c15u;
    const request r{.id = id,
                    .arrival = static_cast<double>(clock++),
                    .prompt_tokens = 100 + static_cast<std::uint32_t>(h >> 40) % 900,
                    .max_new_tokens = 50 + static_cast<std::uint32_t>(h >> 20) % 300,
                    .priority = static_cast<std::int32_t>(h >> 16) % 3,
                    .tenant = static_cast<std::uint32_t>(h >> 8) % 100,
                    .group = static_cast<std::uint32_t>(clock / 16 + 1),
                    .rank = clock / 16,
                    .hit_tokens = static_cast<std::uint32_t>(h >> 33) % 100};
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
    if constexpr (requires(P & p) { p.order.steps; }) ++sched.policy().order.steps;
    if (!timed) return;
    state.SetIterationTime(seconds);
    costs.push_back(seconds * 1e6);
  };
  for (int i = 0; i < 2000; ++i) once(false);
  for (auto _ : state) once(true);
  if (costs.empty()) return;
  std::sort(costs.begin(), costs.end());
  state.counters["max_us"] = costs.back();
  state.counters["p50_us"] = costs[costs.size() / 2];
  state.counters["p99_us"] = costs[costs.size() * 99 / 100];
  state.counters["running"] = sched.running();
  state.counters["waiting"] = sched.waiting();
  state.counters["preempted_per_step"] =
      static_cast<double>(sched.counters().preempted) / static_cast<double>(sched.counters().steps);
}

template <Order O>
using by = policy<O>;
template <Batching B>
using in = policy<order::fcfs, B>;
template <Admission A>
using if_ = policy<order::fcfs, batching::chunked, A>;
template <Victim V>
using out = policy<order::fcfs, batching::chunked, admission::when_it_fits, V>;
using chosen = one_of<order::fcfs, order::priority, order::shortest_prefill, order::longest_prefix,
                      order::prefix_grouped, order::fair, order::fair_priority>;

/// Ample memory, then so tight that decodes preempt.
void loads(benchmark::internal::Benchmark* b) { b->Args({256, 10000, 2000})->Args({256, 10000, 500})->UseManualTime(); }

}  // namespace

BENCHMARK(decision<by<order::fcfs>>)->Apply(loads)->Args({256, 0, 2000})->Args({32, 10000, 2000});
BENCHMARK(decision<by<order::priority>>)->Apply(loads);
BENCHMARK(decision<by<order::shortest_prefill>>)->Apply(loads);
BENCHMARK(decision<by<order::longest_prefix>>)->Apply(loads);
BENCHMARK(decision<by<order::prefix_grouped>>)->Apply(loads);
BENCHMARK(decision<by<order::fair>>)->Apply(loads);
BENCHMARK(decision<by<order::fair_priority>>)->Apply(loads);
BENCHMARK(decision<by<chosen>>)->Apply(loads);
BENCHMARK(decision<by<changing_priorities>>)->Apply(loads);
BENCHMARK(decision<in<batching::whole>>)->Apply(loads);
BENCHMARK(decision<in<batching::prefill_first>>)->Apply(loads);
BENCHMARK(decision<in<batching::chunked_apart>>)->Apply(loads);
BENCHMARK(decision<in<batching::memory_centric>>)->Apply(loads);
BENCHMARK(decision<if_<admission::watermark>>)->Apply(loads);
BENCHMARK(decision<if_<admission::projected>>)->Apply(loads);
BENCHMARK(decision<out<victim::lowest_priority>>)->Apply(loads);
BENCHMARK(decision<out<victim::least_lost_work>>)->Apply(loads);
