// SPDX-License-Identifier: Apache-2.0
// What the emulator knows: threads, what each thread knows of the others, and three words of shadow for each byte.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "emulator.hpp"
#include "runtime.hpp"

namespace emulator {

/// Time in a block: what a thread did at clock c is before another thread exactly when the other knows a clock above c of it.
/// Clocks rise at everything that may order memory, from launch to launch.
using clock_type = std::uint32_t;
using clocks = std::vector<clock_type>;  ///< [threads] what is known of each
struct block_clocks {
  std::uint32_t block;  ///< serial number in the launch
  const clocks* of;
};
using foreign_clocks = std::vector<block_clocks>;  ///< sorted by block

struct knowledge {
  clock_type all = 0;                       ///< of every thread of the block: the last barrier
  clock_type lanes[warp_lanes] = {};        ///< of the warp's lanes: __syncwarp
  const clocks* extra = nullptr;            ///< of threads: atomics after fences
  const foreign_clocks* foreign = nullptr;  ///< of other blocks
};

/// An event of the shadow: clock, thread, whether it was atomic (writes) or names a set (reads), and where in the program.
struct event {
  static constexpr unsigned clock_bits = 25, thread_bits = 10, site_bits = 28;
  static constexpr unsigned flag_at = site_bits, thread_at = flag_at + 1, clock_at = thread_at + thread_bits;
  static constexpr std::uint64_t flag = std::uint64_t{1} << flag_at;
  static constexpr std::uint64_t floor(clock_type c) noexcept { return std::uint64_t{c} << clock_at; }
  static constexpr std::uint64_t of(clock_type c, std::uint32_t thread) noexcept { return floor(c) | std::uint64_t{thread} << thread_at; }
  static constexpr clock_type clock(std::uint64_t e) noexcept { return static_cast<clock_type>(e >> clock_at); }
  static constexpr std::uint32_t thread(std::uint64_t e) noexcept { return static_cast<std::uint32_t>(e >> thread_at) & ((1u << thread_bits) - 1); }
  static constexpr std::uint32_t site(std::uint64_t e) noexcept { return static_cast<std::uint32_t>(e) & ((1u << site_bits) - 1); }
};

struct async_copy {
  std::uint64_t to;   ///< place in the arena
  const std::byte* from;
  const void* pc;
};

enum class condition : std::uint8_t { ready, at_barrier, at_collective, at_copies, ended };

struct fiber {
  boost::context::detail::fcontext_t context = nullptr;
  std::byte* stack = nullptr;
  std::uint32_t thread = 0, warp = 0, lane = 0;
  condition where = condition::ended;

  // What it waits for.
  collective operation = collective::sync;
  reduction barrier = reduction::none;
  std::uint32_t mask = 0, argument = 0, width = 0;
  std::uint64_t bits = 0;  ///< offered, then received
  float* c = nullptr;
  const std::uint32_t *a = nullptr, *b = nullptr;
  const void* pc = nullptr;
  std::uint64_t copies_of = 0;  ///< place of a copy barrier, whose phase of this parity is waited for
  std::uint32_t parity = 0;

  // What it knows.
  clock_type clock = 0;
  std::uint64_t now = 0;  ///< event::of(clock, thread)
  knowledge knows, at_fence;
  clock_type fence_clock = 0;                    ///< what it did at smaller clocks is behind its last fence, 0: none
  bool fence_wide = false;
  const foreign_clocks* seen = nullptr;          ///< what atomics have shown it; known after a fence
  const clocks* seen_here = nullptr;
  const clocks* fenced = nullptr;                ///< what fences of the async proxy that are before this thread cover
  knowledge at_async_fence;                      ///< its own last one, if that is not in `fenced` yet
  clock_type async_fence_clock = 0;              ///< 0: it is

  // Its copies: groups end at `groups[i]` copies.
  std::vector<async_copy> copies;
  std::vector<std::uint32_t> groups;
};

/// The thread that runs; null outside of kernels and inside of the emulator.
extern constinit __thread fiber* current;

/// While one lives, hooks return at once: what the emulator itself touches is nobody's business.
struct unseen {
  fiber* const me = current;
  unseen() noexcept { current = nullptr; }
  ~unseen() { current = me; }
  unseen(const unseen&) = delete;
  unseen& operator=(const unseen&) = delete;
};

inline constexpr std::size_t stack_bytes = 256 * 1024, guard_bytes = 4096;

/// One address space for all that kernels reach: dynamic shared memory, then a picture of static shared memory (which lies in
/// the thread-local segment), then global memory. Shadows are indexed by the place in it.
struct arena_map {
  static constexpr std::uint64_t statics = 1 << 20, global = 2 << 20, size = std::uint64_t{8} << 30, none = ~std::uint64_t{0};
  std::byte* base = nullptr;
  std::uint64_t *writes = nullptr, *reads = nullptr;
  std::uint8_t* states = nullptr;
};
/// Of a byte.
inline constexpr std::uint8_t valid = 1, initialised = 2, pending = 4, by_engine = 8;  ///< by_engine: last written by a bulk copy

extern arena_map arena;
extern std::uintptr_t statics_begin, statics_bytes;  ///< the calling thread's static shared memory
extern std::uintptr_t program_begin;                 ///< sites count from here
extern std::uint64_t launch_floor, block_floor;      ///< events below are before everything
extern counters totals;

inline std::uint64_t place_of(const void* p) noexcept {
  const auto a = reinterpret_cast<std::uintptr_t>(p);
  if (a - reinterpret_cast<std::uintptr_t>(arena.base) < arena_map::size) return a - reinterpret_cast<std::uintptr_t>(arena.base);
  if (a - statics_begin < statics_bytes) return arena_map::statics + (a - statics_begin);
  return arena_map::none;
}
inline std::uint64_t site_of(const void* pc) noexcept {
  const std::uintptr_t s = reinterpret_cast<std::uintptr_t>(pc) - program_begin;
  return s >> event::site_bits ? 0 : s;
}
inline bool is_shared(std::uint64_t place) noexcept { return place < arena_map::global; }

// memory.cpp
void prepare_memory();
void begin_launch_memory(std::uint32_t threads);
void begin_block_memory(std::uint32_t serial, clock_type start, std::size_t shared_bytes);
/// An access outside of the arena and the thread's own stack.
void elsewhere(fiber& me, const void* p, std::size_t bytes, bool writes, const void* pc) noexcept;
void set_readable(const void* p, std::size_t bytes) noexcept;
void tick(fiber& f) noexcept;
void set_clock(fiber& f, clock_type c) noexcept;
const foreign_clocks* joined(const foreign_clocks* a, const foreign_clocks* b);
const clocks* joined(const clocks* a, const clocks* b);
/// A clock of each thread of the block: what `me` knows, itself included.
const clocks* known_by(fiber& me);
/// Takes a fence of its own into `fenced`.
void settle_fence(fiber& me);
/// The last access to a stretch that fences of the async proxy do not cover, in words; bytes that bulk copies wrote need none.
std::string unfenced_access(const fiber& me, std::uint64_t place, std::size_t bytes, std::uint64_t& with);
bool covered_by_fence(const fiber& me, std::uint32_t thread, clock_type c) noexcept;
std::byte* byte_at(std::uint64_t place) noexcept;
/// Every fiber of a block at a barrier, or lanes at __syncwarp.
void meet_block(fiber* fibers, std::uint32_t threads);
void meet_lanes(fiber* warp, std::uint32_t mask);
void finish_copies(fiber& me, std::uint32_t groups_left);
std::string describe(std::uint64_t place);

// bulk.cpp
void begin_block_copies() noexcept;
std::size_t copies_under_way() noexcept;
void finish_copy(std::size_t i);          ///< one of those under way
void report_unawaited_copies();           ///< when a block has ended
bool is_copy_barrier(std::uint64_t place) noexcept;
std::string describe_barrier(std::uint64_t place);

// faults.cpp
std::string at(const void* pc);          ///< a mark that becomes `file:line` when reports are read
std::string at_site(std::uint32_t site);
std::string who(std::uint32_t thread);
/// Remembers the fault unless one of the same kind, at the same places, is known.
void record(fault_kind kind, const fiber& me, const void* pc, std::uint64_t other, std::string text);
std::size_t recorded() noexcept;
bool too_many() noexcept;

// scheduler.cpp
/// The thread that runs is done for, and its block with it.
[[noreturn]] void stop_block() noexcept;
/// Lets others run: a thread that spins on an atomic waits for one of them.
void yield(fiber& me, const void* pc) noexcept;
/// Until a phase of the barrier at `place` ends.
void wait_for_copies(fiber& me, std::uint64_t place, std::uint32_t parity, const void* pc) noexcept;
void wake_at_copies(std::uint64_t place) noexcept;
fiber* fiber_of(std::uint32_t thread) noexcept;
std::uint32_t block_threads() noexcept;
std::uint32_t block_index() noexcept;
std::uint32_t block_index_of(std::uint32_t serial) noexcept;

// symbols.cpp
struct symbol {
  std::string name;
  std::uint64_t value, bytes;
};
/// Static shared variables: place in the thread-local segment; others there are the emulator's and the test's own.
const std::vector<symbol>& shared_variables();
struct segment {
  std::uintptr_t begin, end;
  bool writable;
};
const std::vector<segment>& program_segments();
std::byte* local_segment(std::size_t& bytes);  ///< the calling thread's
std::string function_name(const void* pc);
std::vector<std::string> lines_of(const std::vector<std::uintptr_t>& places);

}  // namespace emulator
