// SPDX-License-Identifier: Apache-2.0
// What g++ calls where instrumented code loads and stores (-fsanitize=thread), indexes an array (bounds) or shifts (shift), and
// memcpy, memmove and memset, which the linker sends here (--wrap). This file itself is compiled without any of it.
#include <cstring>
#include <string>

#include "shadow.hpp"

namespace {

using emulator::access;
using emulator::current;
using emulator::fiber;

void misaligned(fiber& me, std::uint64_t place, std::size_t bytes, access kind, const void* pc) {
  const emulator::unseen nothing;
  emulator::record(emulator::fault_kind::misaligned, me, pc, 0,
                   (kind == access::write ? "a write of " : "a read of ") + std::to_string(bytes) + " bytes at " + emulator::describe(place) + " by " + emulator::who(me.thread) + " of block " +
                       std::to_string(emulator::block_index()) + " at " + emulator::at(pc));
  emulator::stop_block();
}

template <std::size_t Bytes, bool Aligned>
inline __attribute__((always_inline)) void touch(void* p, access kind, const void* pc) noexcept {
  fiber* const me = current;
  if (!me) return;
  if (reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(me->stack) <= emulator::stack_bytes - Bytes) return;
  const std::uint64_t place = emulator::place_of(p);
  if (place == emulator::arena_map::none) return emulator::elsewhere(*me, p, Bytes, kind == access::write, pc);
  if (Aligned && reinterpret_cast<std::uintptr_t>(p) % Bytes != 0) misaligned(*me, place, Bytes, kind, pc);
  emulator::note(*me, place, Bytes, kind, pc);
}

void touch_range(const void* p, std::size_t bytes, access kind, const void* pc) noexcept {
  fiber* const me = current;
  if (!me || bytes == 0) return;
  if (const auto from = reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(me->stack); from < emulator::stack_bytes && bytes <= emulator::stack_bytes - from) return;
  const std::uint64_t place = emulator::place_of(p);
  if (place == emulator::arena_map::none) return emulator::elsewhere(*me, p, bytes, kind == access::write, pc);
  emulator::note(*me, place, bytes, kind, pc);
}

/// What the compiler says of a place (libubsan's data, whose head does not change).
struct source_place {
  const char* file;
  std::uint32_t line, column;
};

[[gnu::noinline]] void undefined(const source_place& at, const char* what, std::int64_t value, const char* after, const void* pc) {
  fiber* const me = current;
  if (!me) return;
  const emulator::unseen nothing;
  const char* slash = std::strrchr(at.file, '/');
  emulator::record(emulator::fault_kind::undefined, *me, pc, at.line, what + std::to_string(value) + after + " by " + emulator::who(me->thread) + " of block " + std::to_string(emulator::block_index()) +
                   " at " + emulator::at(pc) + " (" + (slash ? slash + 1 : at.file) + ":" + std::to_string(at.line) + ")");
  emulator::stop_block();
}

}  // namespace

#define QUIRE_PC __builtin_return_address(0)
extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

void __tsan_read1(void* p) { touch<1, true>(p, access::read, QUIRE_PC); }
void __tsan_read2(void* p) { touch<2, true>(p, access::read, QUIRE_PC); }
void __tsan_read4(void* p) { touch<4, true>(p, access::read, QUIRE_PC); }
void __tsan_read8(void* p) { touch<8, true>(p, access::read, QUIRE_PC); }
void __tsan_read16(void* p) { touch<16, true>(p, access::read, QUIRE_PC); }
void __tsan_write1(void* p) { touch<1, true>(p, access::write, QUIRE_PC); }
void __tsan_write2(void* p) { touch<2, true>(p, access::write, QUIRE_PC); }
void __tsan_write4(void* p) { touch<4, true>(p, access::write, QUIRE_PC); }
void __tsan_write8(void* p) { touch<8, true>(p, access::write, QUIRE_PC); }
void __tsan_write16(void* p) { touch<16, true>(p, access::write, QUIRE_PC); }
// Of types that claim no alignment: a device would load them by smaller words.
void __tsan_unaligned_read2(void* p) { touch<2, false>(p, access::read, QUIRE_PC); }
void __tsan_unaligned_read4(void* p) { touch<4, false>(p, access::read, QUIRE_PC); }
void __tsan_unaligned_read8(void* p) { touch<8, false>(p, access::read, QUIRE_PC); }
void __tsan_unaligned_read16(void* p) { touch<16, false>(p, access::read, QUIRE_PC); }
void __tsan_unaligned_write2(void* p) { touch<2, false>(p, access::write, QUIRE_PC); }
void __tsan_unaligned_write4(void* p) { touch<4, false>(p, access::write, QUIRE_PC); }
void __tsan_unaligned_write8(void* p) { touch<8, false>(p, access::write, QUIRE_PC); }
void __tsan_unaligned_write16(void* p) { touch<16, false>(p, access::write, QUIRE_PC); }
void __tsan_read_range(void* p, std::size_t n) { touch_range(p, n, access::read, QUIRE_PC); }
void __tsan_write_range(void* p, std::size_t n) { touch_range(p, n, access::write, QUIRE_PC); }
void __tsan_vptr_update(void** p, void*) { touch<8, true>(p, access::write, QUIRE_PC); }
void __tsan_vptr_read(void** p) { touch<8, true>(p, access::read, QUIRE_PC); }

void* __real_memcpy(void* to, const void* from, std::size_t n);
void* __real_memmove(void* to, const void* from, std::size_t n);
void* __real_memset(void* to, int value, std::size_t n);
void* __wrap_memcpy(void* to, const void* from, std::size_t n) {
  if (current) touch_range(from, n, access::read, QUIRE_PC), touch_range(to, n, access::write, QUIRE_PC);
  return __real_memcpy(to, from, n);
}
void* __wrap_memmove(void* to, const void* from, std::size_t n) {
  if (current) touch_range(from, n, access::read, QUIRE_PC), touch_range(to, n, access::write, QUIRE_PC);
  return __real_memmove(to, from, n);
}
void* __wrap_memset(void* to, int value, std::size_t n) {
  if (current) touch_range(to, n, access::write, QUIRE_PC);
  return __real_memset(to, value, n);
}

// Host code in instrumented units uses std::atomic: the operations themselves, all of them sequentially consistent. No kernel
// source does.
#define QUIRE_ATOMICS(bits)                                                                                                              \
  std::uint##bits##_t __tsan_atomic##bits##_load(const volatile std::uint##bits##_t* a, int) { return __atomic_load_n(a, __ATOMIC_SEQ_CST); } \
  void __tsan_atomic##bits##_store(volatile std::uint##bits##_t* a, std::uint##bits##_t v, int) { __atomic_store_n(a, v, __ATOMIC_SEQ_CST); } \
  std::uint##bits##_t __tsan_atomic##bits##_exchange(volatile std::uint##bits##_t* a, std::uint##bits##_t v, int) { return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST); } \
  std::uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile std::uint##bits##_t* a, std::uint##bits##_t v, int) { return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST); } \
  std::uint##bits##_t __tsan_atomic##bits##_fetch_sub(volatile std::uint##bits##_t* a, std::uint##bits##_t v, int) { return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST); } \
  std::uint##bits##_t __tsan_atomic##bits##_fetch_and(volatile std::uint##bits##_t* a, std::uint##bits##_t v, int) { return __atomic_fetch_and(a, v, __ATOMIC_SEQ_CST); } \
  std::uint##bits##_t __tsan_atomic##bits##_fetch_or(volatile std::uint##bits##_t* a, std::uint##bits##_t v, int) { return __atomic_fetch_or(a, v, __ATOMIC_SEQ_CST); } \
  std::uint##bits##_t __tsan_atomic##bits##_fetch_xor(volatile std::uint##bits##_t* a, std::uint##bits##_t v, int) { return __atomic_fetch_xor(a, v, __ATOMIC_SEQ_CST); } \
  bool __tsan_atomic##bits##_compare_exchange_strong(volatile std::uint##bits##_t* a, std::uint##bits##_t* e, std::uint##bits##_t v, int, int) { return __atomic_compare_exchange_n(a, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); } \
  bool __tsan_atomic##bits##_compare_exchange_weak(volatile std::uint##bits##_t* a, std::uint##bits##_t* e, std::uint##bits##_t v, int, int) { return __atomic_compare_exchange_n(a, e, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
QUIRE_ATOMICS(8)
QUIRE_ATOMICS(16)
QUIRE_ATOMICS(32)
QUIRE_ATOMICS(64)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}

void __ubsan_handle_out_of_bounds(const source_place* at, std::uintptr_t index) {
  undefined(*at, "index ", static_cast<std::int64_t>(index), " past the end of an array", QUIRE_PC);
}
void __ubsan_handle_shift_out_of_bounds(const source_place* at, std::uintptr_t, std::uintptr_t by) {
  undefined(*at, "a shift by ", static_cast<std::int64_t>(by), "", QUIRE_PC);
}

}  // extern "C"
