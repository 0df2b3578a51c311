// SPDX-License-Identifier: Apache-2.0
// Plans of a step by name, all for the same inner loop: `lean` (equal cost for every block), `heuristic` (FlashAttention's number of
// splits), `unsplit` (a block for each item), and `fused`: lean, with prefixes that sequences share folded once for all.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "quire/attention/cohort.hpp"
#include "quire/attention/plan/build.hpp"
#include "quire/attention/plan/makespan.hpp"

namespace device_bench {

using namespace quire;

/// A plan in host memory, what making it took, and how full the makespan model says the device will be (0: not asked).
struct host_plan {
  std::vector<std::byte> memory;
  attention::plan_view view;
  double microseconds = 0, occupancy = 0;
};

namespace detail {

template <kv::Layout L, attention::Policy P>
host_plan planned(const L& layout, const attention::problem& p, std::span<const attention::query_span> spans, attention::plan_shape asked, const P& policy,
                  const attention::cohort_plan* cohorts) {
  host_plan plan;
  const attention::plan_room room = attention::plan_needs(layout, p, 0, spans, policy, asked, cohorts);
  const std::size_t bytes = attention::plan_bytes(room);
  plan.memory.resize(bytes + attention::plan_alignment);
  auto* const to = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(plan.memory.data()), attention::plan_alignment));
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const status s = attention::plan_step(layout, p, 0, spans, policy, asked, room, {to, bytes}, plan.view, cohorts);
    if (!s) throw std::runtime_error(describe(s));
    best = std::min(best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  plan.microseconds = best;
  if (cohorts != nullptr) return plan;  // the model knows one cost of a piece
  std::vector<attention::item_load> loads;
  for (std::uint32_t i = 0; i < plan.view.item_count; ++i) loads.push_back({plan.view.items[i].pieces.count(), plan.view.items[i].count * p.group()});
  const attention::fold_costs costs;
  const std::uint32_t rows = loads.empty() ? 1 : loads[0].rows;
  const auto start = static_cast<double>(costs.start_of(rows));
  plan.occupancy = attention::model_step(loads, policy, asked.units, {static_cast<double>(costs.piece_of(rows)), start, start}).occupancy();
  return plan;
}

}  // namespace detail

/// `cohorts`: of the step, for `fused`. throws std::runtime_error
template <kv::Layout L>
host_plan plan_by_name(const std::string& name, const L& layout, const attention::problem& p, std::span<const attention::query_span> spans, attention::plan_shape asked,
                       const attention::cohort_plan& cohorts) {
  if (name == "lean") return detail::planned(layout, p, spans, asked, attention::lean_split{}, nullptr);
  if (name == "heuristic") return detail::planned(layout, p, spans, asked, attention::heuristic_split{}, nullptr);
  if (name == "unsplit") return detail::planned(layout, p, spans, asked, attention::no_split{}, nullptr);
  if (name == "fused") return detail::planned(layout, p, spans, asked, attention::lean_split{}, &cohorts);
  throw std::runtime_error("plan '" + name + "': lean, heuristic, unsplit or fused");
}

}  // namespace device_bench
