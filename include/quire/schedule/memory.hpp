// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include "../core/status.hpp"
#include "request.hpp"

namespace quire::inline v0::schedule {

/// What becomes of the rows of a request that loses its pages.
enum class preemption_kind : std::uint8_t { recompute, swap };

/// Where a scheduler finds room for rows. Reservations of a request add up until it is released.
/// fails: reserve with out_of_pages for "not now" (it is asked again); any other code ends the request.
template <class M>
concept Memory = requires(M m, request_id id, std::uint32_t tokens) {
  {
    m.reserve(id, tokens)
    } -> std::same_as<status>;              // room for `tokens` rows more than reserved so far; all or nothing
  { m.release(id) } -> std::same_as<void>;  // everything goes back, at any time, also what a preemption kept
};

// Hooks a memory may add.

/// `admit(id)` before the first reservation after submission or preemption: opens the sequence. Codes as for reserve,
/// and not_ready for "another request is computing what this one will share": it is set aside, those behind it go on,
/// and it is asked again in the next step. A request that is admitted and then finds no room is preempted or released
/// before it is admitted again.
template <class M>
concept AdmittingMemory = requires(M m, request_id id) {
  { m.admit(id) } -> std::same_as<status>;
};
/// `resident(id)` right after admission: rows that are already there and paid for (prefix hit, swapped in).
template <class M>
concept ResidentMemory = requires(M m, request_id id) {
  { m.resident(id) } -> std::same_as<std::uint32_t>;
};
/// `ready(id)`: whether all resident rows can be read. Asked once a step from admission until it says yes; meanwhile the
/// sequence keeps its pages but is in no step. It may be preempted or released before it is ready. Then `resident` is
/// asked again: fewer rows mean that the others were lost on the way, and all room that was reserved with them.
template <class M>
concept ReadyMemory = requires(M m, request_id id) {
  { m.ready(id) } -> std::same_as<bool>;
};
/// `preempt(id, kind)` instead of `release` when a request will come back; answers what it really did: a full host pool
/// turns a swap into a recomputation, never into a failure. A request that found no room at admission comes back with
/// the kind of its last preemption: what was kept before is to be kept, and pages are free at once where there is
/// nothing to copy.
template <class M>
concept PreemptingMemory = requires(M m, request_id id, preemption_kind kind) {
  { m.preempt(id, kind) } -> std::same_as<preemption_kind>;
};
/// `fits(tokens)`: whether a sequence of so many rows could be held by an otherwise empty memory; asked at submission.
template <class M>
concept BoundedMemory = requires(M m, std::uint32_t tokens) {
  { m.fits(tokens) } -> std::same_as<status>;
};
/// Rows in all and rows unreserved now, for admission rules that look ahead.
template <class M>
concept CountedMemory = requires(M m) {
  { m.capacity_tokens() } -> std::same_as<std::uint64_t>;
  { m.free_tokens() } -> std::same_as<std::uint64_t>;
};
/// `leaving_tokens()`: rows in pages that will be free when their contents have been copied away. A running sequence
/// that finds no room waits for them, if they will do, before others lose their pages.
template <class M>
concept LeavingMemory = requires(M m) {
  { m.leaving_tokens() } -> std::same_as<std::uint64_t>;
};

namespace detail {
template <class M>
consteval bool memory_hooks_well_formed() {
  return (AdmittingMemory<M> || !requires(M m, request_id id) { m.admit(id); }) &&
         (ResidentMemory<M> || !requires(M m, request_id id) { m.resident(id); }) &&
         (ReadyMemory<M> || !requires(M m, request_id id) { m.ready(id); }) &&
         (PreemptingMemory<M> || !(
                                     requires(M m, request_id id) { m.preempt(id, preemption_kind::swap); } ||
                                     requires(M m, request_id id) { m.preempt(id); })) &&
         (BoundedMemory<M> || !requires(M m) { m.fits(1u); }) &&
         (LeavingMemory<M> || !requires(M m) { m.leaving_tokens(); }) &&
         (CountedMemory<M> || !requires(M m) { m.capacity_tokens(); }) &&
         (CountedMemory<M> || !requires(M m) { m.free_tokens(); });
}
}  // namespace detail

}  // namespace quire::inline v0::schedule
