// SPDX-License-Identifier: Apache-2.0
// What kernels call behind the names of device.hpp. Compiled without instrumentation (scheduler.cpp, memory.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

inline constexpr std::uint32_t warp_lanes = 32;
inline constexpr std::uint32_t most_threads = 1024;
inline constexpr std::size_t most_shared = 227 * 1024;  ///< dynamic shared memory a block may ask for, as on sm_90

struct grid_shape {
  std::uint32_t blocks, threads;
  std::size_t shared_bytes;
};

/// Runs `body(arguments)` as every thread of the grid, and returns when all have ended. `arguments` [argument_bytes] is what
/// threads may read of the host's memory; `kernel` names the launch in reports. Returns false when a fault was recorded.
bool run(grid_shape shape, void (*body)(const void*), const void* arguments, std::size_t argument_bytes, const void* kernel) noexcept;

enum class reduction : std::uint8_t { none, count, any, all };
/// Every thread of the block arrives; returns the reduction of their predicates.
int block_barrier(reduction r, int predicate) noexcept;

/// What a warp does together. Lanes that arrive at different operations never meet.
enum class collective : std::uint8_t {
  sync, shuffle, shuffle_up, shuffle_down, shuffle_xor, ballot, any, all, match, add, least, most, both, either, odd, mma_bf16, mma_f16
};
const char* name(collective c) noexcept;
void warp_sync(std::uint32_t mask) noexcept;
/// Shuffles: `bits` is what this lane offers; `argument` the lane, distance or mask; `width` the size of the groups.
std::uint64_t shuffle(collective how, std::uint32_t mask, std::uint64_t bits, std::uint32_t argument, std::uint32_t width) noexcept;
/// Votes and reductions over the lanes in `mask`.
std::uint32_t vote(collective how, std::uint32_t mask, std::uint32_t value) noexcept;
void mma(collective how, float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) noexcept;
std::uint32_t live_lanes() noexcept;

enum class atomic : std::uint8_t { add, exchange, least, most, increment, decrement, compare, both, either, odd, add_f32, add_f64, least_signed, most_signed };
/// *at ← f(*at, operand); returns what it was. `bytes` is 4 or 8; `compare` stores `operand` where `expected` stood.
std::uint64_t atomic_update(atomic how, void* at, std::uint64_t operand, std::uint64_t expected, std::uint32_t bytes) noexcept;
void fence(bool device_wide) noexcept;

std::byte* dynamic_shared() noexcept;
void copy_async(void* to, const void* from) noexcept;
void copy_commit() noexcept;
void copy_wait(std::uint32_t pending) noexcept;
// Bulk copies (bulk.cpp). They end at moments that the seed draws; a barrier's phase ends with them.
void barrier_init(void* barrier, std::uint32_t arrivals) noexcept;
void barrier_expect(void* barrier, std::uint32_t bytes) noexcept;
void barrier_wait(void* barrier, std::uint32_t parity) noexcept;
void copy_bulk(void* to, const void* from, std::uint32_t bytes, void* barrier) noexcept;
void fence_async() noexcept;
[[noreturn]] void trap(const char* why) noexcept;

}  // namespace emulator
