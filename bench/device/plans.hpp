// SPDX-License-Identifier: Apache-2.0
// Plans of a step by name, all for the same inner loop: `lean` (equal cost for every block), `heuristic` (FlashAttention's number of
// splits), `unsplit` (a block for each item), and `fused`: lean, with a prefix that all sequences share folded once for all.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "quire/attention/plan/build.hpp"
#include "quire/attention/plan/makespan.hpp"
#include "quire/attention/subtree_walk.hpp"

namespace device_bench {

using namespace quire;

/// A plan in host memory, what making it took, and how full the model says the device will be.
struct host_plan {
  std::vector<std::byte> memory;
  attention::plan_view view;
  double microseconds = 0, occupancy = 0;
};

namespace detail {

inline std::byte* aligned(std::vector<std::byte>& v) { return reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(v.data()), attention::plan_alignment)); }

template <kv::Layout L, attention::Policy P>
host_plan planned(const L& layout, const attention::problem& p, std::span<const attention::query_span> spans, attention::plan_shape asked, const P& policy) {
  host_plan plan;
  const attention::plan_room room = attention::plan_needs(layout, p, 0, spans, policy, asked);
  plan.memory.resize(attention::plan_bytes(room) + attention::plan_alignment);
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const status s = attention::plan_step(layout, p, 0, spans, policy, asked, room, {aligned(plan.memory), attention::plan_bytes(room)}, plan.view);
    if (!s) throw std::runtime_error(describe(s));
    best = std::min(best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  plan.microseconds = best;
  std::vector<attention::item_load> loads;
  for (std::uint32_t i = 0; i < plan.view.item_count; ++i) loads.push_back({plan.view.items[i].pieces.count(), plan.view.items[i].count * p.group()});
  const attention::fold_costs costs;
  const std::uint32_t rows = loads.empty() ? 1 : loads[0].rows;
  const auto start = static_cast<double>(costs.start_of(rows));
  plan.occupancy = attention::model_step(loads, policy, asked.units, {static_cast<double>(costs.piece_of(rows)), start, start}).occupancy();
  return plan;
}

}  // namespace detail

/// throws std::runtime_error
template <kv::Layout L>
host_plan plan_by_name(const std::string& name, const L& layout, const attention::problem& p, std::span<const attention::query_span> spans, attention::plan_shape asked) {
  if (name == "lean") return detail::planned(layout, p, spans, asked, attention::lean_split{});
  if (name == "heuristic") return detail::planned(layout, p, spans, asked, attention::heuristic_split{});
  if (name == "unsplit") return detail::planned(layout, p, spans, asked, attention::no_split{});
  throw std::runtime_error("plan '" + name + "': lean, heuristic, unsplit or fused");
}

/// Decodes that share their first `pieces` pieces: items that fold the prefix for as many spans as `wide_rows` rows hold, then every
/// span's own pieces, dealt by cost to as many workers as there are units.
inline host_plan fused_plan(const attention::problem& p, std::span<const attention::query_span> spans, std::uint32_t pieces, std::uint32_t wide_rows, std::uint32_t units) {
  const std::uint32_t n = static_cast<std::uint32_t>(spans.size()), most = std::min(wide_rows / p.group(), tile_tokens);
  std::vector<attention::plan_item> items;
  std::vector<attention::plan_member> members;
  for (std::uint32_t first = 0; first < n; first += most)
    for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
      attention::plan_item item;
      static_cast<attention::work_item&>(item) = {first, h, pieces * piece_tokens, std::min(most, n - first), {0, 0, pieces}};
      item.link = static_cast<std::uint32_t>(members.size());
      for (std::uint32_t m = 0; m < item.count; ++m) members.push_back({first + m, 0});
      items.push_back(item);
    }
  const auto prefixes = static_cast<std::uint32_t>(items.size());
  for (std::uint32_t s = 0; s < n; ++s)
    for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
      attention::plan_item item;
      static_cast<attention::work_item&>(item) = {s, h, spans[s].first, 1, {0, pieces, ceil_div(spans[s].first / tile_tokens + 1, piece_tiles)}, pieces};
      item.link = s / most * p.kv_heads + h, item.ordinal = s % most;
      members[items[item.link].link + item.ordinal].item = static_cast<std::uint32_t>(items.size());
      items.push_back(item);
    }

  const attention::lean dealing;
  std::uint64_t length = 0, total = 0;
  std::uint32_t depth = 1;
  std::vector<attention::item_load> loads;
  for (const auto& i : items) {
    loads.push_back({i.pieces.count(), i.count * p.group()});
    length += dealing.length(loads.back()), total += loads.back().pieces;
    depth = std::max(depth, attention::subtree_walk::depth(i.pieces.end));
  }
  const auto workers = static_cast<std::uint32_t>(std::min<std::uint64_t>(units, total));
  std::vector<attention::plan_cut> cuts;
  std::uint64_t before = 0;
  std::uint32_t item = 0;
  for (std::uint32_t w = 0; w < workers; ++w) {
    const std::uint64_t begin = deal(length, workers, w).begin;
    while (before + dealing.length(loads[item]) <= begin) before += dealing.length(loads[item++]);
    attention::plan_cut cut{item, begin <= before ? 0 : dealing.piece_at(loads[item], begin - before)};
    if (cut.piece == loads[item].pieces) cut = {item + 1, 0};
    if (cut.item < items.size() && (cuts.empty() || !(cuts.back() == cut))) cuts.push_back(cut);
  }
  const auto used = static_cast<std::uint32_t>(cuts.size());
  cuts.push_back({static_cast<std::uint32_t>(items.size()), 0});

  host_plan plan;
  const auto align = [](std::size_t b) { return round_up(b, attention::plan_alignment); };
  const std::size_t at_cuts = align(items.size() * sizeof items[0]), at_spans = at_cuts + align(cuts.size() * sizeof cuts[0]), at_members = at_spans + align(spans.size_bytes());
  plan.memory.resize(at_members + members.size() * sizeof members[0] + attention::plan_alignment);
  std::byte* const to = detail::aligned(plan.memory);
  auto* own = reinterpret_cast<attention::plan_item*>(to);
  std::uninitialized_copy(items.begin(), items.end(), own);
  std::uninitialized_copy(cuts.begin(), cuts.end(), reinterpret_cast<attention::plan_cut*>(to + at_cuts));
  std::uninitialized_copy(spans.begin(), spans.end(), reinterpret_cast<attention::query_span*>(to + at_spans));
  std::uninitialized_copy(members.begin(), members.end(), reinterpret_cast<attention::plan_member*>(to + at_members));
  plan.view = {.items = own, .cuts = reinterpret_cast<attention::plan_cut*>(to + at_cuts), .spans = reinterpret_cast<attention::query_span*>(to + at_spans),
               .members = reinterpret_cast<attention::plan_member*>(to + at_members), .item_count = static_cast<std::uint32_t>(items.size()), .span_count = n,
               .prefix_items = prefixes, .member_count = static_cast<std::uint32_t>(members.size()), .workers = used, .slots = used, .depth = depth, .merge_depth = depth};
  for (std::uint32_t w = 0; w < used; ++w) {
    const range touched = attention::items_of(plan.view, w);
    for (std::uint64_t i = touched.begin; i < touched.end; ++i)
      if (own[i].workers++ == 0) own[i].first_worker = w;
  }
  return plan;
}

}  // namespace device_bench
