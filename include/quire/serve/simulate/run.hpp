// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

#include "../../schedule/scheduler.hpp"
#include "cost.hpp"
#include "fairness.hpp"
#include "metrics.hpp"
#include "simulated_memory.hpp"
#include "workload.hpp"

namespace quire::inline v0::serve::simulate {

struct run_options {
  bool fold_shared = true;  ///< decodes of a group read the rows it shares once per step
  std::uint32_t hints = 0;  ///< requests whose hits are looked up before each step, those that waited longest
  double until = std::numeric_limits<double>::infinity();  ///< stop after the step that ends past this
  std::uint32_t fair_tenants = 64;  ///< more tenants than this: no service gap, which costs their square per step
  double prompt_weight = 1, output_weight = 2;  ///< of a token of service
};

/// One step as it was run, for whoever draws or checks it.
struct step_event {
  double planned = 0, begin = 0, end = 0;
  simulate::work work{};
  std::uint32_t running = 0, waiting = 0;
  const schedule::step* step = nullptr;
};
struct no_watch {
  void operator()(const step_event&) const noexcept {}
};

namespace detail {
/// When requests come: the given times, and turns that follow an answer.
class agenda {
 public:
  explicit agenda(const workload& w) {
    std::vector<bool> follows(w.jobs.size());
    for (const job& j : w.jobs)
      if (j.next_turn != job::none) follows[j.next_turn] = true;
    for (std::uint32_t i = 0; i < w.jobs.size(); ++i)
      if (!follows[i]) queue_.push({w.jobs[i].request.arrival, i});
  }
  bool empty() const noexcept { return queue_.empty(); }
  double next() const noexcept { return empty() ? std::numeric_limits<double>::infinity() : queue_.top().first; }
  void add(double at, std::uint32_t id) { queue_.push({at, id}); }
  std::uint32_t pop() {
    const std::uint32_t id = queue_.top().second;
    queue_.pop();
    return id;
  }

 private:
  using event = std::pair<double, std::uint32_t>;  // equal times: by index
  std::priority_queue<event, std::vector<event>, std::greater<>> queue_;
};
}  // namespace detail

/// Drive a scheduler over a workload in virtual time: the scheduler object is the one that serves a real model, the
/// memory counts, and a step takes what the cost model says. Deterministic; the clock never goes back. A request that
/// the scheduler refuses, or that finds no room though nothing else is left to wait for, counts as failed.
/// cost: that of the scheduler's steps and O(entries). throws: std::bad_alloc. test: tests/serve/simulate/run.cpp
template <SimulatedMemory M, class P, CostModel C, class Watch = no_watch>
report run(schedule::scheduler<M, P>& sched, M& memory, const workload& w, const C& cost, const run_options& o = {},
           Watch&& watch = {}) {
  constexpr double never = std::numeric_limits<double>::infinity();
  report r;
  r.lives.resize(w.jobs.size());
  std::uint32_t tenants = 1, groups = 1;
  for (const job& j : w.jobs) {
    tenants = std::max(tenants, j.request.tenant + 1);
    groups = std::max(groups, j.request.group + 1);
  }
  service_gap service(tenants);
  const bool gaps = tenants > 1 && tenants <= o.fair_tenants;
  std::vector<std::uint64_t> folded_in(groups);  // step in which a group's shared rows were last counted
  std::vector<double> seen(w.jobs.size());       // end of the last step that held the job
  detail::agenda agenda(w);
  double now = 0;

  std::vector<std::uint32_t> queue;  // never scheduled, for hints
  const auto refresh_hints = [&] {
    if constexpr (requires { memory.found(0); }) {
      std::erase_if(queue, [&](std::uint32_t id) { return r.lives[id].scheduled >= 0 || r.lives[id].failed; });
      for (std::size_t i = 0; i < std::min<std::size_t>(queue.size(), o.hints); ++i)
        static_cast<void>(sched.hint(queue[i], memory.found(queue[i])));
    }
  };

  const auto over = [&](std::uint32_t id, bool failed) {
    lifeline& l = r.lives[id];
    l.failed = failed;
    if (gaps && l.scheduled < 0 && l.arrived >= 0) service.admitted(w.jobs[id].request.tenant);
    memory.ended(id);
    if (failed) return void(++r.failed);
    l.finished = now;
    ++r.finished;
    r.prompt_tokens += w.jobs[id].request.prompt_tokens;
    r.latency.add(now - l.arrived);
    if (const std::uint32_t next = w.jobs[id].next_turn; next != job::none) agenda.add(now + w.jobs[next].pause, next);
  };
  const auto arrive = [&](double at, std::uint32_t id) {
    schedule::request q = w.jobs[id].request;
    q.id = id;
    q.arrival = at;
    r.lives[id].arrived = q.arrival;
    if (gaps) service.arrived(q.tenant);
    if (!sched.submit(q)) return over(id, true);
    if (o.hints != 0) queue.push_back(id);
  };

  for (;;) {
    while (agenda.next() <= now) {
      const double at = agenda.next();
      arrive(at, agenda.pop());
    }
    memory.at(now);
    if (o.hints != 0) refresh_hints();
    const auto step = sched.next(now);
    memory.settle();
    while (const auto f = sched.take_failure()) over(static_cast<std::uint32_t>(f->id), true);
    if (!step) {
      const double later = std::min(agenda.next(), sched.live() != 0 ? memory.wakes_at() : never);
      if (later != never) {
        if (sched.live() != 0) r.stalled += std::max(0.0, std::min(later, memory.wakes_at()) - now);
        now = std::max(now, later);
        continue;
      }
      if (sched.live() == 0) break;
      const auto id = sched.refused().id;
      if (!sched.cancel(id)) break;
      over(static_cast<std::uint32_t>(id), true);
      continue;
    }
    // what the step reads and computes
    work x;
    for (const schedule::entry& e : step->entries) {
      const job& j = w.jobs[e.id];
      if (e.phase == schedule::phase::prefill) {
        x.prefill(e.count, e.begin);
        continue;
      }
      std::uint64_t rows = std::uint64_t{e.begin} + 1;
      if (const std::uint32_t g = j.request.group; o.fold_shared && g != 0 && j.group_tokens != 0) {
        if (folded_in[g] == step->number) rows -= std::min<std::uint64_t>(rows - 1, j.group_tokens);
        folded_in[g] = step->number;
      }
      x.decode(rows);
    }
    const double begin = std::max(now, memory.starts_at(now)), end = begin + cost.seconds(x);
    r.stalled += begin - now;
    r.busy += end - begin;
    for (const schedule::entry& e : step->entries) {
      lifeline& l = r.lives[e.id];
      if (l.scheduled < 0) {
        l.scheduled = begin;
        r.delay.add(begin - l.arrived);
        if (gaps) service.admitted(w.jobs[e.id].request.tenant);
      }
      if (const std::uint32_t lost = sched.find(e.id)->so_far.preemptions; lost != l.preemptions)
        l.preempted_for += begin - seen[e.id], l.preemptions = lost;
      seen[e.id] = end;
    }
    r.step_tokens.add(step->tokens);
    r.running.add(sched.running());
    r.most_tokens = std::max(r.most_tokens, step->tokens);
    r.most_running = std::max(r.most_running, sched.running());
    const step_event event{now, begin, end, x, sched.running(), sched.waiting(), &*step};
    now = end;
    static_cast<void>(sched.commit(*step));
    for (const schedule::entry& e : step->entries) {
      const auto id = static_cast<std::uint32_t>(e.id);
      const std::uint32_t tenant = w.jobs[id].request.tenant;
      memory.computed(id, e.begin + e.count);
      service.served(tenant, e.phase == schedule::phase::prefill ? o.prompt_weight * e.count : 0);
      if (!e.wants_logits) continue;
      lifeline& l = r.lives[id];
      if (l.tokens++ == 0) l.first_token = now, r.first_token.add(l.time_to_first());
      else r.gap.add(now - l.last_token), l.longest_gap = std::max(l.longest_gap, now - l.last_token);
      l.last_token = now;
      ++r.output_tokens;
      service.served(tenant, o.output_weight);
      static_cast<void>(sched.token(id));
      if (sched.find(id) == nullptr) over(id, false);
    }
    if (gaps) service.note();
    watch(event);
    if (now > o.until) break;
  }
  const schedule::scheduler_counters& c = sched.counters();
  r.makespan = now;
  r.steps = c.steps, r.computed_tokens = c.computed, r.recomputed_tokens = c.recomputed;
  r.preempted = c.preempted, r.yielded = c.yielded;
  if (tenants > 1) r.jain = jain_index(service.service());
  r.service_gap = service.largest();
  return r;
}

}  // namespace quire::inline v0::serve::simulate
