// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/run.hpp"

#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "quire/schedule/batching/chunked_apart.hpp"
#include "quire/schedule/batching/prefill_first.hpp"
#include "quire/schedule/batching/whole.hpp"
#include "quire/schedule/one_of.hpp"
#include "quire/schedule/order/fair.hpp"
#include "quire/schedule/order/shortest_prefill.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/serve/simulate/cached_memory.hpp"
#include "quire/serve/simulate/swapped_memory.hpp"

using namespace quire;
using namespace quire::serve::simulate;
namespace sch = quire::schedule;

namespace {
constexpr fitted_cost one_second{{.base = 1}, {}};
constexpr fitted_cost by_tokens{{.base = 0.5, .prefill = 0.25, .decode = 0.125, .decode_row = 0.0625}, {}};

job at(double arrival, std::uint32_t prompt, std::uint32_t output) {
  return {.request = {.arrival = arrival, .prompt_tokens = prompt, .max_new_tokens = output}};
}
workload make(std::vector<job> jobs) {
  workload w;
  w.jobs = std::move(jobs);
  for (std::size_t i = 0; i < w.jobs.size(); ++i) {
    w.jobs[i].request.id = i;
    if (w.jobs[i].text == 0) w.jobs[i].text = i + 1;
  }
  return w;
}
template <class P, class C>
report simulate_on(const workload& w, P policy, const C& cost, cached_memory_options o = {}, run_options r = {}) {
  cached_memory memory(w, o);
  sch::scheduler sched(memory, policy, {.max_requests = static_cast<std::uint32_t>(w.jobs.size())});
  report out = run(sched, memory, w, cost, r);
  REQUIRE(memory.consistent());
  REQUIRE(sched.live() == 0);
  return out;
}
using chunked = sch::policy<sch::order::fcfs, sch::batching::chunked>;
using prefill_first = sch::policy<sch::order::fcfs, sch::batching::prefill_first>;
using apart = sch::policy<sch::order::fcfs, sch::batching::chunked_apart>;
using whole = sch::policy<sch::order::fcfs, sch::batching::whole>;
}  // namespace

TEST_CASE("two requests in chunks of four, step by step") {
  report r = simulate_on(make({at(0, 6, 3), at(0.5, 3, 2)}), chunked{.batching = {.tau = 4}}, one_second);
  // [0,1) A4  [1,2) A2 B2 -> A's first token  [2,3) A1 B1 -> B's first token  [3,4) A1 B1
  REQUIRE(r.steps == 4);
  REQUIRE(r.makespan == 4);
  REQUIRE(r.lives[0].first_token == 2);
  REQUIRE(r.lives[0].finished == 4);
  REQUIRE(r.lives[1].scheduled == 1);
  REQUIRE(r.lives[1].first_token == 3);
  REQUIRE(r.lives[1].finished == 4);
  REQUIRE(r.first_token.quantile(0.5) == 2);
  REQUIRE(r.first_token.worst() == 2.5);
  REQUIRE(r.gap.size() == 3);
  REQUIRE(r.gap.worst() == 1);
  REQUIRE(r.delay.worst() == 0.5);
  REQUIRE(r.computed_tokens == 8 + 4);
  REQUIRE(r.output_tokens == 5);
  REQUIRE(r.step_tokens.mean() == 3);
  REQUIRE(r.most_tokens == 4);
}

TEST_CASE("the cost of each step is that of its tokens and rows, and idle time passes") {
  report r = simulate_on(make({at(0, 4, 2), at(100, 2, 1)}), chunked{.batching = {.tau = 8}}, by_tokens);
  REQUIRE(r.lives[0].first_token == 0.5 + 1);
  REQUIRE(r.lives[0].finished == 1.5 + 0.5 + 0.125 + 5 * 0.0625);
  REQUIRE(r.lives[1].scheduled == 100);
  REQUIRE(r.makespan == 101);
  REQUIRE(r.busy == 1.5 + 0.9375 + 1);
  REQUIRE(r.stalled == 0);
}

TEST_CASE("prompts first stall decodes, chunks do not, whole prompts make them wait for the long step") {
  const workload w = make({at(0, 4, 8), at(2.5, 40, 1)});
  const fitted_cost cost{{.base = 1, .prefill = 0.25}, {}};
  report first = simulate_on(w, prefill_first{}, cost), mixed = simulate_on(w, whole{}, cost),
         chunks = simulate_on(w, chunked{.batching = {.tau = 5}}, cost);
  REQUIRE(first.lives[0].longest_gap == 1 + 10 + 1);  // the prompt's step, then its own
  REQUIRE(mixed.lives[0].longest_gap == 11);
  REQUIRE(chunks.lives[0].longest_gap == 2);
  REQUIRE(chunks.most_tokens == 5);
}

TEST_CASE("a later turn comes a pause after the answer, and finds what was said") {
  workload w = make({at(0, 20, 4), at(0, 40, 2)});
  w.jobs[0].text = w.jobs[1].text = 1;
  w.jobs[0].next_turn = 1;
  w.jobs[1].pause = 7;
  report r = simulate_on(w, chunked{.batching = {.tau = 64}}, one_second, {.rows = 256, .block = 4});
  REQUIRE(r.lives[0].finished == 4);
  REQUIRE(r.lives[1].arrived == 11);
  REQUIRE(r.lives[1].first_token == 12);
  REQUIRE(r.computed_tokens == 20 + 3 + (40 - 20) + 1);  // 23 rows were there, five full blocks of four
  report cold = simulate_on(w, chunked{.batching = {.tau = 64}}, one_second, {.rows = 256, .block = 4, .cache = false});
  REQUIRE(cold.computed_tokens == 20 + 3 + 40 + 1);
}

TEST_CASE("rows a group shares are read once in a step, if the kernel folds them") {
  workload w = make({at(0, 16, 3), at(0, 16, 3), at(0, 16, 3)});
  for (job& j : w.jobs) j.shared_text = 9, j.shared_tokens = j.group_tokens = 12, j.request.group = 1;
  std::vector<std::uint64_t> read;
  for (const bool fold : {true, false}) {
    cached_memory memory(w, {.rows = 256, .block = 4});
    sch::scheduler sched(memory, chunked{}, {.max_requests = 3});
    std::uint64_t rows = 0;
    const report r = run(sched, memory, w, one_second, {.fold_shared = fold}, [&](const step_event& e) { rows += e.work.decode_context; });
    REQUIRE(r.finished == 3);
    read.push_back(rows);
  }
  REQUIRE(read[1] == 3 * (17 + 18));
  REQUIRE(read[0] == 3 * (17 + 18) - 2 * 2 * 12);
}

TEST_CASE("one seat and requests of one step are an M/D/1 queue: the mean wait is the known one") {
  constexpr lengths one[] = {{1, 1}};
  constexpr double service = 0.1;
  for (const double rate : {2.0, 5.0, 8.0}) {
    const workload w = open_loop(one, 60000, {.per_second = rate}, 7);
    cached_memory memory(w, {.rows = 1024, .cache = false});
    sch::scheduler sched(memory, chunked{}, {.max_running = 1, .max_requests = 60000});
    const report r = run(sched, memory, w, fitted_cost{{.base = service}, {}});
    const double rho = rate * service;
    CAPTURE(rate);
    REQUIRE(r.delay.mean() == Approx(rho * service / (2 * (1 - rho))).epsilon(0.04));
  }
}

TEST_CASE("a request that can never fit fails and holds nobody up") {
  report r = simulate_on(make({at(0, 500, 1), at(0, 10, 1)}), chunked{}, one_second, {.rows = 64});
  REQUIRE(r.failed == 1);
  REQUIRE(r.lives[0].failed);
  REQUIRE(r.finished == 1);
}

namespace {
/// Runs and checks what holds for every policy, memory and workload.
template <class M, class P>
report lawful(const workload& w, M& memory, P policy, std::uint32_t seats) {
  sch::scheduler sched(memory, policy, {.max_running = seats, .max_requests = static_cast<std::uint32_t>(w.jobs.size())});
  double clock = 0;
  std::vector<std::uint32_t> end(w.jobs.size());
  report r = run(sched, memory, w, by_tokens, {}, [&](const step_event& e) {
    REQUIRE(e.planned >= clock);
    REQUIRE(e.begin >= e.planned);
    REQUIRE(e.end > e.begin);
    clock = e.end;
    std::uint32_t tokens = 0;
    for (const sch::entry& x : e.step->entries) {
      REQUIRE(x.count > 0);
      tokens += x.count;
      REQUIRE(x.begin <= std::max(end[x.id], w.jobs[x.id].request.prompt_tokens));  // no row is skipped but by a hit
      end[x.id] = std::max(end[x.id], x.begin + x.count);
    }
    REQUIRE(tokens == e.step->tokens);
    REQUIRE(tokens == e.work.tokens());
  });
  REQUIRE(memory.consistent());
  REQUIRE(r.finished == w.jobs.size());
  REQUIRE(r.failed == 0);
  for (std::size_t i = 0; i < w.jobs.size(); ++i) {
    const lifeline& l = r.lives[i];
    REQUIRE(end[i] == w.jobs[i].request.most_rows());
    REQUIRE(l.tokens == w.jobs[i].request.max_new_tokens);
    REQUIRE(l.arrived >= 0);
    REQUIRE(l.scheduled >= l.arrived);
    REQUIRE(l.first_token > l.scheduled);
    REQUIRE(l.finished == l.last_token);
    REQUIRE(l.last_token >= l.first_token);
    REQUIRE(l.preempted_for >= 0);
  }
  REQUIRE(r.busy <= r.makespan + 1e-9);
  REQUIRE(r.gap.size() + r.first_token.size() == r.output_tokens);
  return r;
}
workload some_traffic(std::uint64_t seed) {
  constexpr lengths from[] = {{20, 6}, {90, 30}, {3, 40}, {60, 1}};
  workload w = multi_turn(from, {.count = 30, .first = {.per_second = 0.2}, .mean_turns = 2, .most_tokens = 240}, seed);
  for (job& j : w.jobs) j.request.tenant %= 4;
  return w;
}
}  // namespace

TEST_CASE("whatever the policy and the memory: all rows are computed, times go forward, equal runs are equal") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const workload w = some_traffic(seed);
    std::uint64_t rows = 0;
    for (const job& j : w.jobs) rows += j.request.most_rows();
    const auto twice = [&](auto policy, auto options, bool counted) {
      using memory_type = std::conditional_t<std::is_same_v<decltype(options), cached_memory_options>, cached_memory, swapped_memory>;
      memory_type a(w, options), b(w, options);
      const report x = lawful(w, a, policy, 6), y = lawful(w, b, policy, 6);
      REQUIRE(x.makespan == y.makespan);
      REQUIRE(x.steps == y.steps);
      for (std::size_t i = 0; i < w.jobs.size(); ++i) REQUIRE(x.lives[i].finished == y.lives[i].finished);
      if (counted) REQUIRE(x.computed_tokens - x.recomputed_tokens == rows);
    };
    for (const std::uint32_t memory : {256u, 400u, 4096u}) {
      const cached_memory_options plain{.rows = memory, .block = 8, .cache = false}, cached{.rows = memory, .block = 8};
      twice(chunked{.batching = {.tau = 24}}, plain, true);
      twice(chunked{.batching = {.tau = 24}}, cached, false);
      twice(prefill_first{}, plain, true);
      twice(apart{.batching = {.tau = 24}}, plain, true);
      twice(whole{}, plain, true);
      twice(sch::policy<sch::order::fair>{}, cached, false);
      twice(sch::policy<sch::order::shortest_prefill>{}, cached, false);
      using swapping = sch::policy<sch::order::fcfs, sch::batching::chunked, sch::admission::when_it_fits, sch::victim::newest, sch::preemption::swap>;
      for (int variant = 0; variant < 8; ++variant)
        twice(swapping{.batching = {.tau = 24}},
              swapped_memory_options{.rows = memory, .host_rows = variant & 1 ? 200u : 4096u, .block = 8, .row_bytes = 1 << 20, .pieces = 4,
                                     .groups = (variant & 2) != 0, .group_blocks = 4, .overlap = (variant & 4) != 0, .reuse = variant >= 2},
              false);
    }
  }
}
