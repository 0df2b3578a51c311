// SPDX-License-Identifier: Apache-2.0
// How full a device is under a policy, from lengths and costs alone: workers start in order, each on the first unit that is free.
// What it says is a ceiling: memory bandwidth and launches are not in it.
#pragma once

#include <functional>
#include <queue>
#include <span>
#include <vector>

#include "policy.hpp"

namespace quire::inline v0::attention {

/// Costs of a worker, in any one unit of time.
struct block_costs {
  double tile = 1;    ///< a piece of an item
  double start = 0;   ///< an item that it begins or goes on with
  double merge = 0;   ///< a partial result, written and read again
};

/// What a step takes. ideal: the time of all items, unsplit, spread over all units without a gap.
struct makespan {
  double time = 0, ideal = 0;
  std::uint32_t workers = 0, partials = 0;
  constexpr double occupancy() const noexcept { return time > 0 ? ideal / time : 1.0; }
};

/// f(worker, item, its pieces) for every share of a step, in the order of the line. A worker gets the stretch deal(length, workers, worker).
template <Dealing D, class F>
constexpr void for_each_share(const D& d, std::span<const item_load> items, std::uint64_t length, std::uint32_t workers, F&& f) {
  std::uint64_t before = 0;
  std::uint32_t w = 0;
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    const std::uint64_t end = before + d.length(items[i]);
    while (w < workers && deal(length, workers, w).end <= before) ++w;
    for (std::uint32_t v = w; v < workers && deal(length, workers, v).begin < end; ++v)
      if (const range pieces = share_of(d, items[i], before, deal(length, workers, v)); !pieces.empty()) f(v, i, pieces);
    before = end;
  }
}

/// When the last of these workers ends, `units` of them running at a time.
inline double list_schedule(std::span<const double> workers, std::uint32_t units) {
  if (units == 0) return 0;
  std::priority_queue<double, std::vector<double>, std::greater<>> free(std::greater<>{}, std::vector<double>(units, 0.0));
  double last = 0;
  for (const double time : workers) {
    const double end = free.top() + time;
    free.pop(), free.push(end);
    last = std::max(last, end);
  }
  return last;
}

/// A step under a policy on `units` units (SMs × blocks that one holds). Allocates.
/// from: LeanAttention (arXiv:2405.10480); test: tests/attention/plan/makespan.cpp
template <Policy P>
makespan model_step(std::span<const item_load> items, const P& policy, std::uint32_t units, const block_costs& costs) {
  step_totals t;
  makespan out;
  for (const item_load& i : items) {
    t.pieces += i.pieces, ++t.items, t.longest = std::max(t.longest, i.pieces);
    if (i.pieces != 0) out.ideal += costs.start + i.pieces * costs.tile;
  }
  out.ideal /= units;
  const auto dealing = policy.dealing(t, units);
  std::uint64_t length = 0;
  for (const item_load& i : items) length += dealing.length(i);
  std::vector<double> times(policy.workers(t, length, units), 0.0);
  for_each_share(dealing, items, length, static_cast<std::uint32_t>(times.size()), [&](std::uint32_t w, std::uint32_t i, range pieces) {
    const bool partial = pieces.size() != items[i].pieces;
    times[w] += costs.start + static_cast<double>(pieces.size()) * costs.tile + (partial ? costs.merge : 0);
    out.partials += partial;
  });
  out.workers = static_cast<std::uint32_t>(times.size());
  out.time = list_schedule(times, units);
  return out;
}

}  // namespace quire::inline v0::attention
