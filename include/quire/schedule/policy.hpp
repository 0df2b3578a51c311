// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

#include "admission/when_it_fits.hpp"
#include "axes.hpp"
#include "batching/chunked.hpp"
#include "order/fcfs.hpp"
#include "preemption/recompute.hpp"
#include "victim/newest.hpp"

namespace quire::inline v0::schedule {

/// Everything about scheduling that is a matter of taste, in five parts that know nothing of each other. Each has a
/// folder of models; `one_of` chooses among models at run time.
template <Order O = order::fcfs, Batching B = batching::chunked, Admission A = admission::when_it_fits,
          Victim V = victim::newest, Preemption X = preemption::recompute>
struct policy {
  O order{};
  B batching{};
  A admission{};
  V victim{};
  X preemption{};
};

template <class P>
concept Policy = std::movable<P> && requires(P p) {
  requires Order<decltype(p.order)>;
  requires Batching<decltype(p.batching)>;
  requires Admission<decltype(p.admission)>;
  requires Victim<decltype(p.victim)>;
  requires Preemption<decltype(p.preemption)>;
};
static_assert(Policy<policy<>>);

namespace detail {
template <class P>
consteval bool policy_hooks_well_formed() {
  return order_hooks_well_formed<decltype(P::order)>() && batching_hooks_well_formed<decltype(P::batching)>() &&
         axis_hooks_well_formed<decltype(P::order)>() && axis_hooks_well_formed<decltype(P::batching)>() &&
         axis_hooks_well_formed<decltype(P::admission)>() && axis_hooks_well_formed<decltype(P::victim)>() &&
         axis_hooks_well_formed<decltype(P::preemption)>();
}
/// Whether some axis of P needs a memory that counts rows.
template <class P>
consteval bool counts_rows() {
  return RowCountingAxis<decltype(P::batching)> || RowCountingAxis<decltype(P::admission)>;
}
template <class A>
void require_valid(const A& axis) {
  if constexpr (ValidatedAxis<A>)
    if (const status s = axis.valid(); !s) throw std::invalid_argument("schedule::policy: " + describe(s));
}
template <class P>
P checked_policy(P p) {
  require_valid(p.order), require_valid(p.batching), require_valid(p.admission);
  require_valid(p.victim), require_valid(p.preemption);
  return p;
}
}  // namespace detail

}  // namespace quire::inline v0::schedule
