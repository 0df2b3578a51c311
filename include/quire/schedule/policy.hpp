// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include "request.hpp"

namespace quire::inline v0::schedule {

/// Order and mercy only; queues, budgets, chunks and pages belong to `scheduler`. Both orders are strict weak orders;
/// ties go by order of submission. `admit_before` may read anything that stands still while both requests wait
/// (`so_far` does); the other two are asked anew in each step. `yields` is asked only of a sequence that has produced a
/// token since it got its pages, so no pair of requests can take turns without progress.
template <class P>
concept SchedulerPolicy = std::movable<P> &&
    requires(P p, const P cp, const request& a, const request& b, std::uint32_t tokens) {
  { cp.admit_before(a, b) }
  noexcept->std::same_as<bool>;  // who enters the batch first
  { cp.evict_before(a, b) }
  noexcept->std::same_as<bool>;  // who loses its pages first
  { cp.yields(a, b) }
  noexcept->std::same_as<bool>;  // running a gives way to waiting b
  { p.served(a, tokens) }
  noexcept->std::same_as<void>;  // after a step, with a.so_far as it was before the step
};

/// What a step finds, for policies that size it.
struct load {
  std::uint32_t decodes = 0;         ///< sequences that produce a token in this step, memory permitting
  std::uint32_t prefills = 0;        ///< admitted sequences with prompt left
  std::uint32_t waiting = 0;         ///< requests without pages
  std::uint64_t decode_context = 0;  ///< rows the decodes read, summed
};

// Hooks a policy may add. The scheduler calls those that are there.

/// `by_tenant = true`: the order between tenants may change at any time (counters), that inside a tenant may not.
/// Waiting requests are then kept in one queue per tenant and the heads compared when one is wanted: O(tenants) per
/// admission.
template <class P>
concept TenantPolicy = requires {
  requires P::by_tenant;
};
/// `version()`: a new value says that `admit_before` changed its mind about waiting requests; they are then sorted
/// anew.
template <class P>
concept VersionedPolicy = requires(const P p) {
  { p.version() }
  noexcept->std::same_as<std::uint64_t>;
};
/// `arrived` at submission, `left` when a request finishes, fails or is cancelled.
template <class P>
concept WatchingPolicy = requires(P p, const request& r) {
  { p.arrived(r) }
  noexcept->std::same_as<void>;
  { p.left(r) }
  noexcept->std::same_as<void>;
};
/// `budget(load)`: tokens this step should not pass. Decodes are served all the same, `max_tokens` still binds, and
/// a step without decodes gets at least one token.
template <class P>
concept PacingPolicy = requires(P p, const load& l) {
  { p.budget(l) }
  noexcept->std::same_as<std::uint32_t>;
};
/// `chunk(r, room)`: how many of the next `room` prompt tokens to compute now (aligning, ramps); cut to [1, room].
template <class P>
concept ChunkingPolicy = requires(const P p, const request& r, std::uint32_t room) {
  { p.chunk(r, room) }
  noexcept->std::same_as<std::uint32_t>;
};

namespace detail {
/// A hook that is there by name but not by signature would be passed over in silence; this refuses it.
template <class P>
consteval bool hooks_well_formed() {
  return (VersionedPolicy<P> || !requires(P p) { p.version(); }) &&
         (WatchingPolicy<P> || !requires(P p, const request& r) { p.arrived(r); }) &&
         (WatchingPolicy<P> || !requires(P p, const request& r) { p.left(r); }) &&
         (PacingPolicy<P> || !requires(P p, const load& l) { p.budget(l); }) &&
         (ChunkingPolicy<P> || !requires(P p, const request& r) { p.chunk(r, 1u); });
}
}  // namespace detail

}  // namespace quire::inline v0::schedule
