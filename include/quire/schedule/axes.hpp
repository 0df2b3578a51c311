// SPDX-License-Identifier: Apache-2.0
// The five axes of a scheduling policy as concepts. Each is asked one question; none knows the others.
#pragma once

#include <concepts>
#include <cstdint>

#include "load.hpp"
#include "memory.hpp"
#include "request.hpp"

namespace quire::inline v0::schedule {

/// Who enters the batch first: a strict weak order over what stands still while both requests wait (arrival, lengths,
/// `so_far`); ties go by order of submission. Ageing is a key that does not move: arrival minus what urgency is worth.
template <class O>
concept Order = std::movable<O> && requires(const O o, const request& a, const request& b) {
  { o.admit_before(a, b) }
  noexcept->std::same_as<bool>;
};

/// How much of what a step holds.
template <class B>
concept Batching = std::movable<B> && requires(const B b, const load& l) {
  { b.shape(l) }
  noexcept->std::same_as<shape>;
};

/// Whether the first of the waiting may take `need` rows of memory now.
template <class A>
concept Admission = std::movable<A> && requires(const A a, const request& r, std::uint64_t need, const load& l) {
  { a.judge(r, need, l) }
  noexcept->std::same_as<verdict>;
};

/// Who loses its pages first when a running sequence finds none: a strict weak order, asked anew in each step.
template <class V>
concept Victim = std::movable<V> && requires(const V v, const request& a, const request& b) {
  { v.evict_before(a, b) }
  noexcept->std::same_as<bool>;
};

/// What becomes of the victim's rows. Only what memory can do happens (see PreemptingMemory).
template <class X>
concept Preemption = std::movable<X> && requires(const X x, const request& r) {
  { x.kind(r) }
  noexcept->std::same_as<preemption_kind>;
};

// Hooks an order may add.

/// `by_tenant = true`: the order between tenants may change at any time (counters), that inside a tenant may not.
/// Waiting requests are then kept in one queue per tenant and the heads compared when one is wanted: O(tenants) per
/// admission.
template <class O>
concept TenantOrder = requires {
  requires O::by_tenant;
};
/// `version()`: a new value says that `admit_before` changed its mind about waiting requests; they are sorted anew.
template <class O>
concept VersionedOrder = requires(const O o) {
  { o.version() }
  noexcept->std::same_as<std::uint64_t>;
};
/// `yields(a, b)`: running a gives its pages to waiting b, which is the first of the waiting. Without this hook a
/// running request loses its pages only for want of memory. Asked only of a sequence that has produced a token since it
/// got its pages, so no pair of requests can take turns without progress.
template <class O>
concept YieldingOrder = requires(const O o, const request& a, const request& b) {
  { o.yields(a, b) }
  noexcept->std::same_as<bool>;
};
/// `prepare(requests)`: once, before the first request: how many can be live. May allocate; what follows may not.
template <class O>
concept PreparedOrder = requires(O o, std::uint32_t requests) {
  o.prepare(requests);
};
/// `arrived(r)` at submission; the answer is kept in r.so_far.mark.
template <class O>
concept ArrivalOrder = requires(O o, const request& r) {
  { o.arrived(r) }
  noexcept->std::same_as<std::uint64_t>;
};
/// `admitted` when it gets its pages (again, after a preemption), `preempted` when it loses them and waits again,
/// `left` when it finishes, fails or is cancelled, waiting or running (so_far.running).
template <class O>
concept WatchingOrder = requires(O o, const request& r) {
  { o.admitted(r) }
  noexcept->std::same_as<void>;
  { o.preempted(r) }
  noexcept->std::same_as<void>;
  { o.left(r) }
  noexcept->std::same_as<void>;
};
/// `served(r, tokens)` after a step that computed `tokens` of r, with r.so_far as it was before the step. A token is
/// generated from it exactly when so_far.computed + tokens == known_tokens().
template <class O>
concept ServedOrder = requires(O o, const request& r, std::uint32_t tokens) {
  { o.served(r, tokens) }
  noexcept->std::same_as<void>;
};

// Hooks a batching may add. A batching with `judge` is an Admission too, asked after the policy's own.

/// `chunk(r, room, used)`: how many of the next `room` prompt tokens to compute in a step that holds `used` tokens
/// already (aligning, ramps); cut to [1, room].
template <class B>
concept ChunkingBatching = requires(const B b, const request& r, std::uint32_t room, std::uint32_t used) {
  { b.chunk(r, room, used) }
  noexcept->std::same_as<std::uint32_t>;
};

/// `cost(begin, count)`: what `count` tokens of one sequence from position `begin` on take of shape::tokens; at least
/// `count`, and no less for more tokens. Without it a token takes 1 wherever it stands.
template <class B>
concept CostingBatching = requires(const B b, std::uint32_t begin, std::uint32_t count) {
  { b.cost(begin, count) }
  noexcept->std::same_as<std::uint64_t>;
};

// Hooks any axis may add.

/// `horizon()`: steps ahead for which load::growth is summed.
template <class A>
concept ForesightedAxis = requires(const A a) {
  { a.horizon() }
  noexcept->std::same_as<std::uint32_t>;
};
/// `counts_rows = true`: needs a CountedMemory.
template <class A>
concept RowCountingAxis = requires {
  requires A::counts_rows;
};
/// `valid()`: what is wrong with its parameters; the scheduler's constructor throws it.
template <class A>
concept ValidatedAxis = requires(const A a) {
  { a.valid() }
  noexcept->std::same_as<status>;
};

namespace detail {
/// A hook that is there by name but not by signature would be passed over in silence; this refuses it.
template <class O>
consteval bool order_hooks_well_formed() {
  return (VersionedOrder<O> || !requires(O o) { o.version(); }) &&
         (YieldingOrder<O> || !requires(O o, const request& r) { o.yields(r, r); }) &&
         (ArrivalOrder<O> || !requires(O o, const request& r) { o.arrived(r); }) &&
         (WatchingOrder<O> ||
          !(
              requires(O o, const request& r) { o.admitted(r); } ||
              requires(O o, const request& r) { o.preempted(r); } || requires(O o, const request& r) { o.left(r); })) &&
         (ServedOrder<O> || !requires(O o, const request& r) { o.served(r, 1u); });
}
template <class B>
consteval bool batching_hooks_well_formed() {
  return (ChunkingBatching<B> || !(
                                     requires(B b, const request& r) { b.chunk(r, 1u, 1u); } ||
                                     requires(B b, const request& r) { b.chunk(r, 1u); })) &&
         (CostingBatching<B> || !requires(B b) { b.cost(1u, 1u); }) &&
         (Admission<B> || !requires(B b, const request& r, const load& l) { b.judge(r, 1u, l); });
}
template <class A>
consteval bool axis_hooks_well_formed() {
  return (ForesightedAxis<A> || !requires(A a) { a.horizon(); }) && (ValidatedAxis<A> || !requires(A a) { a.valid(); });
}
}  // namespace detail

}  // namespace quire::inline v0::schedule
