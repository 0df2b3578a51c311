// SPDX-License-Identifier: Apache-2.0
// How other planners deal a step, as models only: they choose by rules that are no cuts of equal stretches.
#pragma once

#include <algorithm>
#include <queue>

#include "quire/attention/plan/makespan.hpp"
#include "quire/core/extents.hpp"

namespace quire_bench {

using namespace quire;
using attention::block_costs, attention::item_load, attention::makespan;

inline double share_cost(std::uint32_t pieces, bool partial, const block_costs& c) { return c.start + pieces * c.tile + (partial ? c.merge : 0); }

inline makespan ideal_of(std::span<const item_load> items, std::uint32_t units, const block_costs& c) {
  makespan m;
  for (const item_load& i : items) m.ideal += i.pieces == 0 ? 0 : share_cost(i.pieces, false, c) / units;
  return m;
}

/// FlashMLA: contiguous, one part for each unit, a payload of ceil((all pieces + overhead · items) / parts) + overhead, where every item
/// that a part takes from costs it `overhead` pieces.
inline makespan payload_parts(std::span<const item_load> items, std::uint32_t units, const block_costs& c, std::uint32_t overhead) {
  makespan m = ideal_of(items, units, c);
  std::uint64_t all = 0;
  for (const item_load& i : items) all += i.pieces + overhead;
  const std::uint64_t payload = (all + units - 1) / units + overhead;
  std::uint32_t item = 0, done = 0;
  for (std::uint32_t part = 0; part < units && item < items.size(); ++part) {
    double time = 0;
    for (std::uint64_t room = payload; item < items.size();) {
      const std::uint32_t left = items[item].pieces - done;
      if (room >= left + std::uint64_t{overhead} || part + 1 == units) {
        if (left != 0) time += share_cost(left, done != 0, c), m.partials += done != 0;
        room -= std::min<std::uint64_t>(room, left + std::uint64_t{overhead});
        ++item, done = 0;
      } else {
        if (room > overhead) time += share_cost(static_cast<std::uint32_t>(room - overhead), true, c), ++m.partials, done += static_cast<std::uint32_t>(room - overhead);
        break;
      }
    }
    m.time = std::max(m.time, time), ++m.workers;
  }
  return m;
}

/// FlashInfer's persistent plan: chunks of at most (all pieces / units), rounded up to `grain` pieces, each to the unit with least.
inline makespan least_loaded(std::span<const item_load> items, std::uint32_t units, const block_costs& c, std::uint32_t grain) {
  makespan m = ideal_of(items, units, c);
  std::uint64_t all = 0;
  for (const item_load& i : items) all += i.pieces;
  const auto chunk = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, ((all + units - 1) / units + grain - 1) / grain) * grain);
  std::priority_queue<double, std::vector<double>, std::greater<>> load(std::greater<>{}, std::vector<double>(units, 0.0));
  for (const item_load& i : items)
    for (std::uint32_t at = 0; at < i.pieces; at += chunk) {
      const bool partial = i.pieces > chunk;
      const double end = load.top() + share_cost(std::min(chunk, i.pieces - at), partial, c);
      load.pop(), load.push(end);
      m.time = std::max(m.time, end), m.partials += partial;
    }
  m.workers = units;
  return m;
}

/// FlashAttention-3 for ragged batches: blocks for each unit = ceil(1.1 · all pieces / units), an item gets ceil(pieces / that) even splits;
/// they start in order.
inline makespan dynamic_splits(std::span<const item_load> items, std::uint32_t units, const block_costs& c) {
  makespan m = ideal_of(items, units, c);
  std::uint64_t all = 0;
  for (const item_load& i : items) all += i.pieces;
  const std::uint64_t each = std::max<std::uint64_t>(1, (all * 11 + units * std::uint64_t{10} - 1) / (units * std::uint64_t{10}));
  std::vector<double> times;
  for (const item_load& i : items) {
    if (i.pieces == 0) continue;
    const auto splits = static_cast<std::uint32_t>((i.pieces + each - 1) / each), size = ceil_div(i.pieces, splits);
    for (std::uint32_t at = 0; at < i.pieces; at += size) times.push_back(share_cost(std::min(size, i.pieces - at), splits > 1, c)), m.partials += splits > 1;
  }
  m.workers = static_cast<std::uint32_t>(times.size());
  m.time = attention::list_schedule(times, units);
  return m;
}

}  // namespace quire_bench
