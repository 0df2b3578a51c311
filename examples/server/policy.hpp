// SPDX-License-Identifier: Apache-2.0
// The scheduler's policy by names, one for each axis. A model of an axis becomes a flag's value by a line in its table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../lm/error.hpp"
#include "quire/schedule/admission/deadline.hpp"
#include "quire/schedule/admission/projected.hpp"
#include "quire/schedule/admission/watermark.hpp"
#include "quire/schedule/batching/chunked_apart.hpp"
#include "quire/schedule/batching/memory_centric.hpp"
#include "quire/schedule/batching/prefill_first.hpp"
#include "quire/schedule/batching/whole.hpp"
#include "quire/schedule/one_of.hpp"
#include "quire/schedule/order/fair.hpp"
#include "quire/schedule/order/fair_priority.hpp"
#include "quire/schedule/order/longest_prefix.hpp"
#include "quire/schedule/order/priority.hpp"
#include "quire/schedule/order/shortest_prefill.hpp"
#include "quire/schedule/policy.hpp"
#include "quire/schedule/preemption/cheaper.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/victim/least_lost_work.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"

namespace quire_server {

namespace axes {
using namespace quire::schedule;
using any_order = one_of<order::fcfs, order::priority, order::shortest_prefill, order::longest_prefix, order::fair, order::fair_priority>;
using any_batching = one_of<batching::chunked, batching::chunked_apart, batching::prefill_first, batching::whole, batching::memory_centric>;
using any_admission = one_of<admission::when_it_fits, admission::watermark, admission::projected, admission::deadline>;
using any_victim = one_of<victim::newest, victim::lowest_priority, victim::least_lost_work>;
using any_preemption = one_of<preemption::recompute, preemption::swap, preemption::cheaper>;
}  // namespace axes

using serving_policy = quire::schedule::policy<axes::any_order, axes::any_batching, axes::any_admission, axes::any_victim, axes::any_preemption>;

struct policy_names {
  std::string order = "fcfs", batching = "chunked", admission = "when-it-fits", victim = "newest", preemption = "recompute";
  std::uint32_t tau = 256;           ///< tokens of a step
  std::uint32_t even_depth = 0;      ///< position at which a row's attention costs as much as the rest of it; 0: rows cost the same
  double ageing = 10;                ///< seconds of waiting that a level of priority is worth
  bool preempt_for_priority = false; ///< running texts give way to more urgent waiting ones
  double prefill_rate = 0, decode_rate = 0;            ///< tokens a second, of one text: what a deadline is judged by
  std::vector<quire::schedule::order::tenant_weight> weights{};  ///< of fair orders
};

/// A tenant's number for the scheduler. FNV-1a: two names that meet in 32 bits share what they get.
[[nodiscard]] inline std::uint32_t tenant_of(std::string_view name) noexcept {
  std::uint32_t h = name.empty() ? 0 : 2166136261u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return h;
}

namespace detail {

template <class Axis>
struct named {
  std::string_view name;
  Axis (*make)(const policy_names&);
};

inline constexpr named<axes::any_order> orders[] = {
    {"fcfs", [](const policy_names&) -> axes::any_order { return axes::order::fcfs{}; }},
    {"priority", [](const policy_names& n) -> axes::any_order { return axes::order::priority{n.ageing, n.preempt_for_priority}; }},
    {"shortest-prefill", [](const policy_names&) -> axes::any_order { return axes::order::shortest_prefill{}; }},
    {"longest-prefix", [](const policy_names&) -> axes::any_order { return axes::order::longest_prefix{}; }},
    {"fair", [](const policy_names& n) -> axes::any_order { return axes::order::fair({.weights = n.weights}); }},
    {"fair-priority", [](const policy_names& n) -> axes::any_order { return axes::order::fair_priority({.weights = n.weights}, n.preempt_for_priority); }}};
inline constexpr named<axes::any_batching> batchings[] = {
    {"chunked", [](const policy_names& n) -> axes::any_batching { return axes::batching::chunked{.tau = n.tau, .even_depth = n.even_depth, .end_at = n.even_depth != 0 ? quire::tile_tokens : 1}; }},
    {"chunked-apart", [](const policy_names& n) -> axes::any_batching { return axes::batching::chunked_apart{.tau = n.tau}; }},
    {"prefill-first", [](const policy_names& n) -> axes::any_batching { return axes::batching::prefill_first{.max_batched = n.tau}; }},
    {"whole", [](const policy_names& n) -> axes::any_batching { return axes::batching::whole{.max_tokens = n.tau}; }},
    {"memory-centric", [](const policy_names& n) -> axes::any_batching { return axes::batching::memory_centric{.guard = n.tau}; }}};
inline constexpr named<axes::any_admission> admissions[] = {
    {"when-it-fits", [](const policy_names&) -> axes::any_admission { return axes::admission::when_it_fits{}; }},
    {"watermark", [](const policy_names&) -> axes::any_admission { return axes::admission::watermark{}; }},
    {"projected", [](const policy_names&) -> axes::any_admission { return axes::admission::projected{}; }},
    {"deadline", [](const policy_names& n) -> axes::any_admission {
       return axes::admission::deadline{.seconds_per_prompt_token = 1 / n.prefill_rate, .seconds_per_new_token = 1 / n.decode_rate};
     }}};
inline constexpr named<axes::any_victim> victims[] = {
    {"newest", [](const policy_names&) -> axes::any_victim { return axes::victim::newest{}; }},
    {"lowest-priority", [](const policy_names&) -> axes::any_victim { return axes::victim::lowest_priority{}; }},
    {"least-lost-work", [](const policy_names&) -> axes::any_victim { return axes::victim::least_lost_work{}; }}};
inline constexpr named<axes::any_preemption> preemptions[] = {
    {"recompute", [](const policy_names&) -> axes::any_preemption { return axes::preemption::recompute{}; }},
    {"swap", [](const policy_names&) -> axes::any_preemption { return axes::preemption::swap{}; }},
    {"cheaper", [](const policy_names&) -> axes::any_preemption { return axes::preemption::cheaper{}; }}};

template <class Axis, std::size_t N>
Axis choose(const named<Axis> (&table)[N], const std::string& name, const char* flag, const policy_names& all) {
  std::string known;
  for (const auto& entry : table) {
    if (entry.name == name) return entry.make(all);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw quire_lm::bad_input(std::string(flag) + " is " + quire_lm::quoted(name) + ", allowed " + known);
}

}  // namespace detail

/// fails: bad_input naming the flag, its value and what is allowed.
[[nodiscard]] inline serving_policy make_policy(const policy_names& n) {
  if (n.admission == "deadline" && !(n.prefill_rate > 0 && n.decode_rate > 0))
    throw quire_lm::bad_input("--admission is 'deadline' without --prefill-rate and --decode-rate, allowed with both");
  return {detail::choose(detail::orders, n.order, "--order", n), detail::choose(detail::batchings, n.batching, "--batching", n),
          detail::choose(detail::admissions, n.admission, "--admission", n), detail::choose(detail::victims, n.victim, "--victim", n),
          detail::choose(detail::preemptions, n.preemption, "--preemption", n)};
}

}  // namespace quire_server
