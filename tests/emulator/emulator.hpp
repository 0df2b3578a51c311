// SPDX-License-Identifier: Apache-2.0
// A GPU for tests, in place of one that is not there. Kernel sources compiled by g++ with
//   -DQUIRE_DEVICE_EMULATOR='"emulator/device.hpp"' -fsanitize=thread,bounds,shift   (and what tests/device/CMakeLists.txt adds)
// call us at every load and store; each of their threads is a fiber, and a block's threads meet at barriers as on the device.
// Blocks run one after another, so a launch with a seed repeats exactly; what would go wrong had they run together is found by
// happens-before clocks and does not depend on luck.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

enum class fault_kind : std::uint8_t {
  out_of_bounds,       ///< outside of every allocation, the block's shared memory and the thread's own
  misaligned,          ///< a device loads and stores n bytes at multiples of n
  uninitialised,       ///< a read of what nobody wrote
  race,                ///< threads of a block, one writing, without a barrier (or a fence and an atomic) between them
  race_between_blocks, ///< the same across blocks of a launch
  divergent,           ///< lanes of a mask wait for each other at different operations, or have ended
  divergent_barrier,   ///< the same for a block's barrier
  unfinished_copy,     ///< an access to bytes of a copy that has not been waited for, or two copies to the same bytes
  abandoned_copy,      ///< a thread ended before it waited for its copies, or a block with bulk copies that nobody waited for
  unfenced_copy,       ///< a bulk copy to bytes (or counted by a barrier) that threads have touched with no fence_async between
  bad_barrier,         ///< a copy barrier that was never made, is made twice, is touched as memory or arrived at too often
  hang,                ///< a wait for a copy barrier that nothing can end any more
  undefined,           ///< an index past an array, a shift past a word
  trap                 ///< a broken precondition
};
const char* name(fault_kind k) noexcept;

struct fault {
  fault_kind kind;
  std::uint32_t block, thread;
  std::string text;  ///< what, where in memory, file and line of both sides
};

/// Faults since `clear`, in the order in which they were found; each pair of places in the source once.
std::vector<fault> faults();
void clear() noexcept;

struct settings {
  std::uint64_t seed = 1;      ///< orders blocks, warps and lanes; 0 is ascending
  bool uninitialised = true;   ///< report reads of what nobody wrote
};
/// For the launches that follow.
settings& options() noexcept;

/// Global memory, filled with NaNs that count as unwritten; `name` is what reports call it. Red zones lie between allocations.
void* allocate(std::size_t bytes, const char* name);
void release(void* memory) noexcept;
/// The host has written these bytes.
void written(void* memory, std::size_t bytes) noexcept;

/// Copies and zeros that the host asks for, as a stream does them: bytes that nobody wrote stay so where they go. False, and nothing
/// is moved, where device memory on one side is not one allocation.
bool copy(void* to, const void* from, std::size_t bytes) noexcept;
bool clear(void* to, std::size_t bytes) noexcept;

struct counters {
  std::uint64_t launches = 0, blocks = 0, switches = 0, products = 0, accesses = 0;
};
const counters& counted() noexcept;

}  // namespace emulator
