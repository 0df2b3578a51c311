// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include "../core/status.hpp"
#include "request.hpp"

namespace quire::inline v0::schedule {

/// Where a scheduler finds room for rows. Reservations of a request add up until it is released.
/// fails: reserve with out_of_pages for "not now" (it is asked again); any other code ends the request.
template <class M>
concept Memory = requires(M m, request_id id, std::uint32_t tokens) {
  {
    m.reserve(id, tokens)
    } -> std::same_as<status>;              // room for `tokens` rows more than reserved so far; all or nothing
  { m.release(id) } -> std::same_as<void>;  // everything goes back
};

// Hooks a memory may add.

/// `admit(id)` before the first reservation after submission or preemption: opens the sequence. Codes as for reserve.
/// A request that is admitted and then finds no room is preempted or released before it is admitted again.
template <class M>
concept AdmittingMemory = requires(M m, request_id id) {
  { m.admit(id) } -> std::same_as<status>;
};
/// `resident(id)` right after admission: rows that are already there and paid for (prefix hit, swapped in).
template <class M>
concept ResidentMemory = requires(M m, request_id id) {
  { m.resident(id) } -> std::same_as<std::uint32_t>;
};
/// `preempt(id)` instead of `release` when a request will come back: the rows may be kept in another tier.
template <class M>
concept PreemptingMemory = requires(M m, request_id id) {
  { m.preempt(id) } -> std::same_as<void>;
};
/// `fits(tokens)`: whether a sequence of so many rows could be held by an otherwise empty memory; asked at submission.
template <class M>
concept BoundedMemory = requires(M m, std::uint32_t tokens) {
  { m.fits(tokens) } -> std::same_as<status>;
};

namespace detail {
template <class M>
consteval bool memory_hooks_well_formed() {
  return (AdmittingMemory<M> || !requires(M m, request_id id) { m.admit(id); }) &&
         (ResidentMemory<M> || !requires(M m, request_id id) { m.resident(id); }) &&
         (PreemptingMemory<M> || !requires(M m, request_id id) { m.preempt(id); }) &&
         (BoundedMemory<M> || !requires(M m) { m.fits(1u); });
}
}  // namespace detail

}  // namespace quire::inline v0::schedule
