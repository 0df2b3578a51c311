// SPDX-License-Identifier: Apache-2.0
// The claims of the papers, small and with lengths that need no file: signs and factors, not digits.
#include "sim/simulation.hpp"

#include <map>

#include "catch.hpp"
#include "quire/serve/simulate/capacity.hpp"
#include "sim/error.hpp"
#include "sim/workloads.hpp"

using namespace quire_sim;
namespace sim = quire::serve::simulate;

namespace {
outcome run(const std::string& policy, const sim::workload& w, const std::string& machine, engine_options o = {}) {
  outcome out = simulate(find_policy(policy, "--policy"), w, make_cost(machine, {}, "--cost-model"), o);
  REQUIRE(out.report.finished == w.jobs.size());
  return out;
}
}  // namespace

TEST_CASE("every policy that has a name finishes conversations and piles in a small memory, twice alike") {
  const sim::workload talk = make_workload({.trace = "sharegpt", .rate = 0.3, .requests = 25, .most_tokens = 1500, .turns = true, .seed = 3}).work;
  const sim::workload pile = make_workload({.grid = "48,4,200,40,30"}).work;
  for (const policy_spec& p : known_policies())
    for (const sim::workload* w : {&talk, &pile}) {
      CAPTURE(p.name);
      const engine_options o{.rows = 3000, .host_rows = 6000, .row_bytes = 131072};
      const outcome a = run(p.name, *w, "a10-llama3-8b", o), b = run(p.name, *w, "a10-llama3-8b", o);
      REQUIRE(a.report.makespan == b.report.makespan);
      REQUIRE(a.report.steps == b.report.steps);
      for (const sim::job& j : w->jobs) REQUIRE(a.report.lives[j.request.id].tokens == j.request.max_new_tokens);
    }
}

TEST_CASE("Sarathi's ablation: whole prompts give the worst gaps, chunks apart the worst first token, both together neither") {
  const sim::workload w = make_workload({.trace = "sharegpt", .rate = 0.5, .requests = 128}).work;
  std::map<std::string, outcome> r;
  for (const char* p : {"hybrid", "chunked-apart", "chunked"}) r.emplace(p, run(p, w, "a100x2-yi-34b", {.rows = 300000, .tau = 1024}));
  const auto ttft = [&](const char* p) { return r.at(p).report.first_token.quantile(0.5); };
  const auto tbt = [&](const char* p) { return r.at(p).report.gap.quantile(0.99); };
  REQUIRE(tbt("hybrid") > tbt("chunked-apart"));
  REQUIRE(tbt("hybrid") > tbt("chunked"));
  REQUIRE(ttft("chunked-apart") > ttft("hybrid"));
  REQUIRE(ttft("chunked-apart") > ttft("chunked"));
  REQUIRE(ttft("chunked") <= 1.5 * std::min(ttft("hybrid"), ttft("chunked-apart")));
  REQUIRE(tbt("chunked") <= 1.5 * std::min(tbt("hybrid"), tbt("chunked-apart")));
  REQUIRE(r.at("chunked").report.most_tokens <= 1024);
}

TEST_CASE("chunks carry at least twice the load of prefill-first at a strict level") {
  std::map<std::string, double> rate;
  for (const char* p : {"prefill-first", "chunked"})
    rate[p] = sim::find_capacity({.gap_limit = 0.1, .precision = 0.05},
                                 [&](double per_second) {
                                   outcome o = run(p, make_workload({.trace = "sharegpt", .rate = per_second, .requests = 1024}).work, "a100-mistral-7b");
                                   return sim::trial_result{o.report.gap.quantile(0.99), o.report.delay.quantile(0.5)};
                                 },
                                 [](const auto&, double, bool) {})
                  .per_second;
  CAPTURE(rate["prefill-first"], rate["chunked"]);
  REQUIRE(rate["chunked"] >= 2 * rate["prefill-first"]);
}

TEST_CASE("planned groups compute each prefix once, keep it while its group is open, and end the pile sooner") {
  for (const char* shape : {"640,4,1000,200,100", "640,16,2000,200,100"}) {
    const sim::workload w = make_workload({.grid = shape}).work;
    const engine_options o{.rows = 100000, .max_running = 128, .tau = 2048, .guard = 2048, .horizon = 100};
    const outcome lru = run("fcfs-lru", w, "a100-mistral-7b", o), groups = run("batchllm-groups", w, "a100-mistral-7b", o), order = run("batchllm-order", w, "a100-mistral-7b", o),
                  memory = run("batchllm", w, "a100-mistral-7b", o);
    CAPTURE(shape);
    REQUIRE(lru.report.makespan >= 1.1 * memory.report.makespan);
    REQUIRE(groups.report.makespan <= lru.report.makespan);
    REQUIRE(order.report.makespan <= groups.report.makespan * 1.001);
    REQUIRE(memory.report.makespan <= order.report.makespan * 1.02);
    for (const outcome* x : {&groups, &order, &memory}) {
      REQUIRE(x->cache.evicted_pins == 0);
      REQUIRE(x->plan_saves > 0);
      REQUIRE(x->cache.hit == x->plan_saves);
    }
    REQUIRE(memory.report.step_tokens.variation() < order.report.step_tokens.variation());
  }
}

TEST_CASE("swapping: groups, overlap and reuse each take stalls or bytes away") {
  const sim::workload w = make_workload({.trace = "sharegpt", .rate = 0.4, .requests = 200, .turns = true}).work;
  std::map<std::string, outcome> r;
  for (const char* p : {"swap-sync", "swap-groups", "swap-async", "swap-reuse"}) r.emplace(p, run(p, w, "a10-llama3-8b", {.rows = 42000, .row_bytes = 131072}));
  const auto bytes = [&](const char* p) { return r.at(p).swap.bytes_out + r.at(p).swap.bytes_in; };
  const auto copies_of_a_block = [&](const char* p) {
    const auto& c = r.at(p).swap;
    return static_cast<double>(c.copies_out + c.copies_in) / static_cast<double>(c.blocks_out + c.blocks_in);
  };
  REQUIRE(copies_of_a_block("swap-sync") == 64);
  REQUIRE(copies_of_a_block("swap-groups") < 16);
  REQUIRE(r.at("swap-groups").report.stalled < r.at("swap-sync").report.stalled / 2);
  REQUIRE(r.at("swap-async").report.stalled < r.at("swap-groups").report.stalled / 2);
  REQUIRE(bytes("swap-reuse") < 0.8 * static_cast<double>(bytes("swap-async")));
  REQUIRE(r.at("swap-reuse").report.gap.quantile(0.999) < r.at("swap-sync").report.gap.quantile(0.999));
}

TEST_CASE("who is served least goes first: a smaller gap between tenants than first come, first served") {
  const sim::workload w = make_workload({.trace = "sharegpt", .rate = 6, .requests = 600, .tenants = 4}).work;
  outcome fcfs = run("chunked", w, "a100-mistral-7b"), fair = run("vtc", w, "a100-mistral-7b");
  REQUIRE(fair.report.service_gap < fcfs.report.service_gap / 2);
}

TEST_CASE("an axis that does not exist, or a parameter out of range, is named") {
  const sim::workload w = make_workload({.grid = "4,2,32,8,2"}).work;
  policy_spec p = find_policy("chunked", "--policy");
  p.order = "tallest";
  REQUIRE_THROWS_WITH(simulate(p, w, make_cost("niyama", {}, "--cost-model"), {}), Catch::Contains("--order is 'tallest'"));
  sim::workload named = w;
  named.blocks = {1}, named.block_tokens = 512;
  REQUIRE_THROWS_WITH(simulate(find_policy("chunked", "--policy"), named, make_cost("niyama", {}, "--cost-model"), {.block = 100}), Catch::Contains("--block is 100"));
  REQUIRE_THROWS_WITH(simulate(find_policy("batchllm", "--policy"), w, make_cost("niyama", {}, "--cost-model"), {.theta = 2}), Catch::Contains("theta"));
}
