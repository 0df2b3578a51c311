// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include "../../schedule/memory.hpp"

namespace quire::inline v0::serve::simulate {

/// A memory that lives in virtual time. Seconds.
template <class M>
concept SimulatedMemory = schedule::Memory<M> &&
    requires(M m, const M cm, double now, schedule::request_id id, std::uint32_t rows) {
  { m.at(now) } -> std::same_as<void>;             // time has come to `now`
  { m.settle() } -> std::same_as<void>;            // the decisions of a step are made: transfers begin
  { cm.starts_at(now) } -> std::same_as<double>;   // when that step finds its rows in place
  { cm.wakes_at() } -> std::same_as<double>;       // when a transfer ends next; +inf: none is under way
  { m.computed(id, rows) } -> std::same_as<void>;  // rows [0, rows) have been computed
  { m.ended(id) } -> std::same_as<void>;           // finished, failed or cancelled, after release
};

}  // namespace quire::inline v0::serve::simulate
