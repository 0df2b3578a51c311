// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

namespace quire::inline v0::kv::evict {

/// What an index knows of the uses of a tile, those of tiles behind it that are gone included.
struct usage {
  std::uint64_t clock = 0;   ///< when it was last used, counted in uses of the index
  std::uint32_t hits = 0;    ///< times it was found
  std::uint32_t tile = 0;    ///< where it stands: tokens [64·tile, 64·tile + 64)
  double age = 0;            ///< what the policy's `age()` was then
};

/// Says which of the tiles that could go is worth least; the oldest of equals goes first. Asked again only when a tile is
/// used or could go anew, so `value` may not change in between. Small and cheap to copy, never fails.
template <class E>
concept Eviction = std::copyable<E> && requires(E e, const E c, const usage& u, double value) {
  { c.age() } noexcept -> std::same_as<double>;          // kept with every use
  { c.value(u) } noexcept -> std::same_as<double>;       // the least goes first
  { e.evicted(value) } noexcept -> std::same_as<void>;   // what went was worth that
};

/// The tile that was not used for longest goes first. test: tests/kv/evict/lru.cpp
struct lru {
  double age() const noexcept { return 0; }
  double value(const usage& u) const noexcept { return static_cast<double>(u.clock); }
  void evicted(double) noexcept {}
};
static_assert(Eviction<lru>);

}  // namespace quire::inline v0::kv::evict
