// SPDX-License-Identifier: Apache-2.0
#include "simulation.hpp"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include "error.hpp"
#include "quire/schedule/admission/deadline.hpp"
#include "quire/schedule/admission/projected.hpp"
#include "quire/schedule/admission/watermark.hpp"
#include "quire/schedule/admission/when_it_fits.hpp"
#include "quire/schedule/batching/chunked.hpp"
#include "quire/schedule/batching/chunked_apart.hpp"
#include "quire/schedule/batching/memory_centric.hpp"
#include "quire/schedule/batching/prefill_first.hpp"
#include "quire/schedule/batching/whole.hpp"
#include "quire/schedule/one_of.hpp"
#include "quire/schedule/order/fair.hpp"
#include "quire/schedule/order/fair_priority.hpp"
#include "quire/schedule/order/fcfs.hpp"
#include "quire/schedule/order/longest_prefix.hpp"
#include "quire/schedule/order/prefix_grouped.hpp"
#include "quire/schedule/order/priority.hpp"
#include "quire/schedule/order/shortest_prefill.hpp"
#include "quire/schedule/preemption/cheaper.hpp"
#include "quire/schedule/preemption/recompute.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/prefix/plan.hpp"
#include "quire/schedule/victim/least_lost_work.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"
#include "quire/schedule/victim/newest.hpp"

namespace quire_sim {
namespace {

namespace sch = quire::schedule;
namespace sim = quire::serve::simulate;

// Orders between tenants keep a queue for each, which the others need not pay for: two schedulers.
using plain_order = sch::one_of<sch::order::fcfs, sch::order::priority, sch::order::shortest_prefill, sch::order::longest_prefix, sch::order::prefix_grouped, sim::drawn_order>;
using tenant_order = sch::one_of<sch::order::fair, sch::order::fair_priority>;
using any_batching = sch::one_of<sch::batching::chunked, sch::batching::whole, sch::batching::prefill_first, sch::batching::chunked_apart, sch::batching::memory_centric>;
using any_admission = sch::one_of<sch::admission::when_it_fits, sch::admission::watermark, sch::admission::projected, sch::admission::deadline>;
using any_victim = sch::one_of<sch::victim::newest, sch::victim::lowest_priority, sch::victim::least_lost_work, sim::drawn_victim>;
using any_preemption = sch::one_of<sch::preemption::recompute, sch::preemption::swap, sch::preemption::cheaper>;

[[noreturn]] void unknown(const char* axis, const std::string& name) { throw bad_input(std::string("--") + axis + " is " + legible(name) + ", which is no model of that axis"); }

bool by_tenant(const std::string& order) { return order == "fair" || order == "fair-priority"; }

plain_order make_plain_order(const std::string& n, const sim::priority_pattern* pattern) {
  if (n == "fcfs") return sch::order::fcfs{};
  if (n == "priority") return sch::order::priority{.preempts = true};
  if (n == "shortest-prefill") return sch::order::shortest_prefill{};
  if (n == "longest-prefix") return sch::order::longest_prefix{};
  if (n == "prefix-grouped") return sch::order::prefix_grouped{};
  if (n == "drawn") return sim::drawn_order{pattern};
  unknown("order", n);
}
tenant_order make_tenant_order(const std::string& n) {
  if (n == "fair-priority") return sch::order::fair_priority{};
  return sch::order::fair{};
}
any_batching make_batching(const std::string& n, const engine_options& o) {
  if (n == "chunked") return sch::batching::chunked{.tau = o.tau};
  if (n == "whole") return sch::batching::whole{.max_tokens = o.max_batched};
  if (n == "prefill-first") return sch::batching::prefill_first{.max_batched = o.max_batched};
  if (n == "chunked-apart") return sch::batching::chunked_apart{.tau = o.tau};
  if (n == "memory-centric") return sch::batching::memory_centric{.theta = o.theta, .steps = o.horizon, .guard = o.guard};
  unknown("batching", n);
}
double marginal_token(const cost_model& c) {
  sim::work small, large;
  small.prefill(512, 0), large.prefill(1024, 0);
  return (c.seconds(large) - c.seconds(small)) / 512;
}
any_admission make_admission(const std::string& n, const engine_options& o, const cost_model& c) {
  if (n == "when-it-fits") return sch::admission::when_it_fits{};
  if (n == "watermark") return sch::admission::watermark{};
  if (n == "projected") return sch::admission::projected{.theta = o.theta, .steps = o.horizon};
  if (n == "deadline") return sch::admission::deadline{.seconds_per_prompt_token = marginal_token(c)};
  unknown("admission", n);
}
any_victim make_victim(const std::string& n, const sim::priority_pattern* pattern) {
  if (n == "newest") return sch::victim::newest{};
  if (n == "lowest-priority") return sch::victim::lowest_priority{};
  if (n == "least-lost-work") return sch::victim::least_lost_work{};
  if (n == "drawn") return sim::drawn_victim{pattern};
  unknown("victim", n);
}
any_preemption make_preemption(const std::string& n, const engine_options& o, const cost_model& c) {
  if (n == "recompute") return sch::preemption::recompute{};
  if (n == "swap") return sch::preemption::swap{};
  if (n == "cheaper")
    return sch::preemption::cheaper{.per_recomputed = marginal_token(c), .per_swapped = 2 * static_cast<double>(o.row_bytes) / o.link_bandwidth + 2.0 * o.pieces * o.launch / o.block};
  unknown("preemption", n);
}

/// Groups and ranks as they would be planned with the whole pile known. Prompts as block names, a name of its own for what
/// no other prompt can have.
void plan_ahead(sim::workload& w, const policy_spec& p, std::uint32_t block, outcome& out) {
  std::vector<std::uint64_t> names;
  std::vector<std::uint32_t> tokens;
  std::vector<double> decodes;
  for (const sim::job& j : w.jobs) {
    tokens.push_back(j.request.prompt_tokens);
    decodes.push_back(j.request.max_new_tokens);
    for (std::uint32_t i = 0; std::uint64_t{i} * block < j.request.prompt_tokens; ++i) names.push_back(w.block(j, i, block));
  }
  std::vector<std::span<const std::uint64_t>> prompts;
  std::size_t at = 0;
  for (const std::uint32_t n : tokens) {
    const std::size_t blocks = (std::size_t{n} + block - 1) / block;
    prompts.push_back({names.data() + at, blocks});
    at += blocks;
  }
  const sch::prefix::pile<std::uint64_t> pile{.prompts = prompts, .block_tokens = block, .tokens = tokens};
  const sch::prefix::plan plan = sch::prefix::make_plan(pile, decodes, {.tile = block});
  out.groups = plan.groups.size(), out.plan_saves = plan.saved();
  std::vector<std::uint64_t> first(plan.groups.size() + 1, w.jobs.size());
  for (std::size_t i = 0; i < w.jobs.size(); ++i) first[plan.places[i].group] = std::min<std::uint64_t>(first[plan.places[i].group], i);
  for (std::size_t i = 0; i < w.jobs.size(); ++i) {
    const std::uint32_t g = plan.places[i].group;
    w.jobs[i].request.group = g;
    w.jobs[i].group_tokens = g == 0 ? 0 : plan.groups[g - 1].tokens;
    w.jobs[i].request.rank = p.planned == policy_spec::plan::ratio ? plan.places[i].rank : g == 0 ? i : first[g];
  }
}

/// Rows that are worth waiting for: any of a planned prefix, more than a chunk's tail where sharing is found on the way.
std::uint32_t wait_for(const policy_spec& p, const engine_options& o) { return !p.waits ? 0xffffffffu : p.pins ? o.block : std::max(o.block, 32u); }

template <class Memory, class Order>
void drive(outcome& out, Memory& memory, Order order, const sim::workload& w, const cost_model& cost, const engine_options& o, sim::priority_pattern& pattern, const watcher& watch) {
  const policy_spec& p = out.policy;
  using policy = sch::policy<Order, any_batching, any_admission, any_victim, any_preemption>;
  const bool by_memory = p.batching == "memory-centric";
  sch::scheduler<Memory, policy> sched(memory,
                                       {.order = std::move(order),
                                        .batching = make_batching(p.batching, o),
                                        .admission = make_admission(p.admission, o, cost),
                                        .victim = make_victim(p.victim, &pattern),
                                        .preemption = make_preemption(p.preemption, o, cost)},
                                       {.max_running = by_memory ? o.most_running : o.max_running, .max_requests = static_cast<std::uint32_t>(w.jobs.size()), .max_sequence = 1u << 24});
  const bool drawn = p.order == "drawn" || p.victim == "drawn";
  out.report = sim::run(sched, memory, w, cost, {.fold_shared = o.fold, .hints = p.order == "longest-prefix" ? 128u : 0u, .until = o.until},
                        [&](const sim::step_event& e) {
                          if (drawn) static_cast<void>(pattern.stepped());
                          if (watch) watch(e);
                        });
  out.scheduler = sched.counters();
}

template <class Memory>
void with_order(outcome& out, Memory& memory, const sim::workload& w, const cost_model& cost, const engine_options& o, const watcher& watch) {
  std::uint32_t tenants = 1;
  for (const sim::job& j : w.jobs) tenants = std::max(tenants, j.request.tenant + 1);
  sim::priority_pattern pattern(tenants, o.pattern);
  if (by_tenant(out.policy.order)) drive(out, memory, make_tenant_order(out.policy.order), w, cost, o, pattern, watch);
  else drive(out, memory, make_plain_order(out.policy.order, &pattern), w, cost, o, pattern, watch);
}

}  // namespace

outcome simulate(const policy_spec& policy, sim::workload w, const cost_model& cost, const engine_options& o, const watcher& watch) {
  if (!w.blocks.empty() && w.block_tokens % o.block != 0)
    throw bad_input("--block is " + std::to_string(o.block) + ", allowed what divides the " + std::to_string(w.block_tokens) + " tokens of a block of the trace");
  outcome out{.policy = policy, .report = {}};
  const auto start = std::chrono::steady_clock::now();
  if (policy.planned != policy_spec::plan::none) plan_ahead(w, policy, o.block, out);
  try {
    if (policy.keeps == policy_spec::memory::swapped) {
      sim::swapped_memory memory(w, {.rows = o.rows, .host_rows = o.host_rows, .block = o.block, .row_bytes = o.row_bytes, .pieces = o.pieces, .groups = policy.groups,
                                     .group_blocks = o.group_blocks, .overlap = policy.overlap, .reuse = policy.reuse, .link = {.bytes_per_second = o.link_bandwidth, .launch = o.launch}});
      with_order(out, memory, w, cost, o, watch);
      out.swap = memory.counters();
    } else {
      sim::cached_memory memory(w, {.rows = o.rows, .block = o.block, .cache = policy.keeps == policy_spec::memory::cached, .pin_groups = policy.pins, .wait_for = wait_for(policy, o)});
      with_order(out, memory, w, cost, o, watch);
      out.cache = memory.counters();
    }
  } catch (const std::invalid_argument& e) {  // a parameter of an axis
    throw bad_input("policy " + legible(policy.name) + ": " + e.what());
  }
  out.wall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

}  // namespace quire_sim
