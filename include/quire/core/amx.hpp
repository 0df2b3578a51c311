// SPDX-License-Identifier: Apache-2.0
// Advanced Matrix Extensions: eight registers of up to 16 rows × 64 bytes, and products of them. Beside core/simd.hpp the only file
// with instructions. A register's shape is state of the thread, and costs some 70 ns to set: kernels ask for one configuration over and over.
#pragma once

#include <cstddef>
#include <cstdint>

#include "config.hpp"

#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#define QUIRE_AMX(instruction) instruction
namespace quire::inline v0::amx::inline QUIRE_ISA {
inline constexpr bool compiled = true;
/// Linux gives the room for the registers to whoever asks.
inline bool allowed() noexcept {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = ::syscall(SYS_arch_prctl, request, tile_data) == 0;
  return granted;
}
}  // namespace quire::inline v0::amx::inline QUIRE_ISA
#else
#define QUIRE_AMX(instruction) static_cast<void>(0)
namespace quire::inline v0::amx::inline QUIRE_ISA {
inline constexpr bool compiled = false;            ///< is this unit compiled for a processor that has them?
inline bool allowed() noexcept { return false; }   ///< and may this process use them?
}  // namespace quire::inline v0::amx::inline QUIRE_ISA
#endif

namespace quire::inline v0::amx::inline QUIRE_ISA {

inline constexpr std::uint32_t most_rows = 16, most_bytes = 64;

/// Shapes of the registers, as the processor reads them. One that never changes, with static storage: `use` knows it by its address.
struct alignas(64) configuration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  constexpr configuration& with(std::uint32_t which, std::uint32_t how_many, std::uint32_t bytes) noexcept {
    rows[which] = static_cast<std::uint8_t>(how_many), row_bytes[which] = static_cast<std::uint16_t>(bytes);
    return *this;
  }
};
static_assert(sizeof(configuration) == 64);

namespace detail {
inline constinit thread_local const configuration* current = nullptr;
}

/// This thread's registers have these shapes from here on; nothing where they have them already. Else all are zero.
/// precondition (of all below): allowed().
inline void use(const configuration& c) noexcept {
  if (detail::current == &c) return;
  detail::current = &c;
  QUIRE_AMX(asm volatile("ldtilecfg %0" : : "m"(c)));
}
/// Gives the registers back: a thread that sleeps without them is cheaper to put aside.
inline void release() noexcept {
  if (detail::current == nullptr) return;
  detail::current = nullptr;
  QUIRE_AMX(asm volatile("tilerelease"));
}

/// Rows `stride` bytes apart.
template <std::uint32_t To>
inline void load(const void* from, std::size_t stride) noexcept {
  static_cast<void>(from), static_cast<void>(stride);
  QUIRE_AMX(asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(To) : "memory"));
}
template <std::uint32_t From>
inline void store(void* to, std::size_t stride) noexcept {
  static_cast<void>(to), static_cast<void>(stride);
  QUIRE_AMX(asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(From) : "memory"));
}
template <std::uint32_t Which>
inline void zero() noexcept {
  QUIRE_AMX(asm volatile("tilezero %%tmm%c0" : : "i"(Which)));
}
/// C[m][n] += Σ_k A[m][k]·B[k / pack][n][k % pack], pack numbers of B in 32 bits. A bf16 element is two sums, of even and of odd k in their order,
/// then added to C; 32-bit integers are exact. A: s8, B: u8.
template <std::uint32_t C, std::uint32_t A, std::uint32_t B>
inline void multiply_bf16() noexcept {
  QUIRE_AMX(asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B)));
}
template <std::uint32_t C, std::uint32_t A, std::uint32_t B>
inline void multiply_s8u8() noexcept {
  QUIRE_AMX(asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B)));
}

}  // namespace quire::inline v0::amx::inline QUIRE_ISA
