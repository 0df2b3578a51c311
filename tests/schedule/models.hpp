// SPDX-License-Identifier: Apache-2.0
// Every model of every axis, and every combination of them at run time.
#pragma once

#include <array>
#include <cstdint>

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
#include "quire/schedule/policy.hpp"
#include "quire/schedule/preemption/cheaper.hpp"
#include "quire/schedule/preemption/recompute.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/victim/least_lost_work.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"
#include "quire/schedule/victim/newest.hpp"

namespace test {
namespace s = quire::schedule;

template <class... Ms>
struct models {
  using any = s::one_of<Ms...>;
  static constexpr std::size_t size = sizeof...(Ms);
  /// The i-th model, with parameters that depend on the seed.
  static any at(std::size_t i, unsigned seed);
};
using orders = models<s::order::fcfs, s::order::priority, s::order::shortest_prefill, s::order::longest_prefix,
                      s::order::prefix_grouped, s::order::fair, s::order::fair_priority>;
using batchings = models<s::batching::chunked, s::batching::whole, s::batching::prefill_first,
                         s::batching::chunked_apart, s::batching::memory_centric>;
using admissions =
    models<s::admission::when_it_fits, s::admission::watermark, s::admission::projected, s::admission::deadline>;
using victims = models<s::victim::newest, s::victim::lowest_priority, s::victim::least_lost_work>;
using preemptions = models<s::preemption::recompute, s::preemption::swap, s::preemption::cheaper>;

template <class M>
M parameters(unsigned seed) {
  M m{};
  if constexpr (requires { m.tau; }) m.tau = 1 + seed * 7 % 64;
  if constexpr (requires {
                  m.round_to;
                  m.stages;
                }) {
    m.round_to = 1 + seed % (m.tau < 8 ? 1 : 8);
    m.max_chunk = seed % 3 ? 0xffffffffu : 1 + seed % 16;
    m.stages = seed % 4;
    m.even_depth = seed % 5 % 3 ? 1 + seed % 40 : 0;
    m.end_at = 1 + seed % 7;
  }
  if constexpr (requires { m.max_tokens; }) m.max_tokens = seed % 2 ? 1 + seed % 90 : m.max_tokens;
  if constexpr (requires { m.max_batched; }) m.max_batched = 1 + seed * 5 % 90;
  if constexpr (requires { m.guard; }) m.guard = 1 + seed * 7 % 64;
  if constexpr (requires { m.theta; }) m.theta = 0.5 + seed % 6 * 0.1;
  if constexpr (requires { m.steps; }) m.steps = seed % 20;
  if constexpr (requires { m.fraction; }) m.fraction = seed % 4 * 0.1;
  if constexpr (requires { m.preempts; }) m.preempts = seed % 2 == 1;
  if constexpr (requires { m.seconds_per_prompt_token; }) {
    m.seconds_per_prompt_token = 0.1, m.seconds_per_new_token = 0.5, m.relegate = seed % 2 == 0;
  }
  if constexpr (requires { m.per_swapped; })
    m = {.per_recomputed = 1, .per_recomputed_squared = 0.01, .per_swapped = 1.1};
  return m;
}
template <class... Ms>
s::one_of<Ms...> models<Ms...>::at(std::size_t i, unsigned seed) {
  using maker = any (*)(unsigned);
  constexpr std::array<maker, size> makers{+[](unsigned x) { return any(parameters<Ms>(x)); }...};
  return makers.at(i)(seed);
}

using any_policy = s::policy<orders::any, batchings::any, admissions::any, victims::any, preemptions::any>;

}  // namespace test
