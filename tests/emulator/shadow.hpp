// SPDX-License-Identifier: Apache-2.0
// The short way of an access: nothing is wrong and nobody else was there since the last barrier. `bytes` is a constant to most
// callers, so that the loops become a few vector instructions.
#pragma once

#include "state.hpp"

namespace emulator {

/// A copy reads what need not be initialised.
enum class access : std::uint8_t { read, write, atomic, copy };

// memory.cpp: the long way.
void unfit(fiber& me, std::uint64_t place, std::size_t bytes, access kind, const void* pc) noexcept;
/// False, and a race is on record, where the thread does not know of an access that this one must come after.
bool check_order(fiber& me, std::uint64_t place, std::size_t bytes, access kind, const void* pc) noexcept;
void join_readers(fiber& me, std::uint64_t place, std::size_t bytes, std::uint64_t mine) noexcept;

/// Events below it are before this thread: the block's last barrier, or for global memory the launch.
inline std::uint64_t floor_of(const fiber& me, std::uint64_t place) noexcept { return is_shared(place) ? event::floor(me.knows.all) : launch_floor; }

inline __attribute__((always_inline)) void note(fiber& me, std::uint64_t place, std::size_t bytes, access kind, const void* pc) noexcept {
  ++totals.accesses;
  // Pointers of their own: the compiler need not fear that a store to a state changes them.
  std::uint64_t *const written = arena.writes + place, *const read = arena.reads + place;
  std::uint8_t* const states = arena.states + place;
  const bool writes = kind == access::write || kind == access::atomic;
  const std::uint8_t looked_at = kind == access::read || kind == access::atomic ? valid | pending | initialised : valid | pending;
  const std::uint8_t fit = looked_at & (valid | initialised);
  std::uint8_t unlike = 0;
  for (std::size_t i = 0; i < bytes; ++i) unlike |= (states[i] & looked_at) ^ fit;
  if (unlike != 0) [[unlikely]] unfit(me, place, bytes, kind, pc);

  const std::uint64_t floor = floor_of(me, place);
  std::uint64_t newest = 0;
  for (std::size_t i = 0; i < bytes; ++i) newest = written[i] > newest ? written[i] : newest;
  if (writes)
    for (std::size_t i = 0; i < bytes; ++i) newest = read[i] > newest ? read[i] : newest;
  if (newest >= floor) check_order(me, place, bytes, kind, pc);

  const std::uint64_t mine = me.now | site_of(pc) | (kind == access::atomic ? event::flag : 0);
  if (writes) {
    for (std::size_t i = 0; i < bytes; ++i) written[i] = mine;
    for (std::size_t i = 0; i < bytes; ++i) states[i] = static_cast<std::uint8_t>((states[i] | initialised) & ~by_engine);
    return;
  }
  const std::uint64_t same = mine >> event::flag_at;
  bool alone = true;
  for (std::size_t i = 0; i < bytes; ++i) alone &= (read[i] < floor) | (read[i] >> event::flag_at == same);
  if (!alone) {
    join_readers(me, place, bytes, mine);
    return;
  }
  for (std::size_t i = 0; i < bytes; ++i) read[i] = mine;
}

}  // namespace emulator
