// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

#include "../core/status.hpp"

namespace quire::inline v0::tier {

/// A slot of a numbered pool. Numbers are agreed between a link and those who use it.
struct place {
  std::uint32_t pool = 0, slot = 0;
  friend bool operator==(const place&, const place&) = default;
};

/// Directions may overlap in time: `out` leaves the device, `in` comes back.
enum class lane : std::uint8_t { out, in };
inline constexpr std::uint32_t lanes = 2;

/// `slots` adjacent slots of one pool to as many of another.
struct copy {
  place from{}, to{};
  std::uint32_t slots = 1;
  lane way = lane::out;
  std::uint64_t bytes = 0;
};

/// A started copy that is over.
struct landing {
  std::uint32_t id = 0;
  status why{};  ///< failed: the destination holds anything
};

/// Moves bytes in the background. A started copy may read its source and write its destination at any time until `poll` names
/// it, once; in which order copies land is the link's choice. Times are seconds of the caller's clock and never fall.
/// - `start(id, copy, now)`: false when the link has no room for another copy now.
/// - `poll(now)`: a copy that has landed by now; never waits.
/// - `wait(now)`: returns when `poll` has something to name, with the time then. Precondition: a started copy was not named yet.
template <class K>
concept Link = requires(K k, std::uint32_t id, const copy& c, double now) {
  { k.start(id, c, now) } noexcept -> std::same_as<bool>;
  { k.poll(now) } noexcept -> std::same_as<std::optional<landing>>;
  { k.wait(now) } noexcept -> std::same_as<double>;
};

}  // namespace quire::inline v0::tier
