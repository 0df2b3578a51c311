// SPDX-License-Identifier: Apache-2.0
// The vocabulary of CUDA and of core/device.cuh for a host compiler, so that kernel sources run as they are: every thread is a
// fiber, every load and store is seen (see emulator.hpp). Included by core/device.cuh through QUIRE_DEVICE_EMULATOR.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include "emulator/emulator.hpp"
#include "emulator/runtime.hpp"
#include "emulator/streams.hpp"
#include "quire/core/number.hpp"
#include "quire/core/status.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static thread_local
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define QUIRE_EMULATED inline __attribute__((always_inline))

struct uint3 { unsigned x, y, z; };
// Each thread sees its own value for as long as it lives, so they are constants to the compiler.
extern const __thread uint3 threadIdx, blockIdx, blockDim, gridDim;
inline constexpr int warpSize = 32;

#define QUIRE_EMULATED_VECTOR(T, name, align2, align4)                                             \
  struct name##2 { T x, y; } __align__(align2);                                                    \
  struct name##3 { T x, y, z; };                                                                   \
  struct name##4 { T x, y, z, w; } __align__(align4);                                              \
  QUIRE_EMULATED constexpr name##2 make_##name##2(T x, T y) noexcept { return {x, y}; }            \
  QUIRE_EMULATED constexpr name##4 make_##name##4(T x, T y, T z, T w) noexcept { return {x, y, z, w}; }
struct uint2 { unsigned x, y; } __align__(8);
struct uint4 { unsigned x, y, z, w; } __align__(16);
QUIRE_EMULATED constexpr uint2 make_uint2(unsigned x, unsigned y) noexcept { return {x, y}; }
QUIRE_EMULATED constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) noexcept { return {x, y, z, w}; }
QUIRE_EMULATED_VECTOR(int, int, 8, 16)
QUIRE_EMULATED_VECTOR(float, float, 8, 16)
QUIRE_EMULATED_VECTOR(double, double, 16, 16)
QUIRE_EMULATED_VECTOR(unsigned char, uchar, 2, 4)
QUIRE_EMULATED_VECTOR(signed char, char, 2, 4)
QUIRE_EMULATED_VECTOR(unsigned short, ushort, 4, 8)
QUIRE_EMULATED_VECTOR(short, short, 4, 8)
QUIRE_EMULATED_VECTOR(unsigned long long, ulonglong, 16, 16)
#undef QUIRE_EMULATED_VECTOR

// Barriers and fences.
QUIRE_EMULATED void __syncthreads() noexcept { emulator::block_barrier(emulator::reduction::none, 0); }
QUIRE_EMULATED int __syncthreads_count(int p) noexcept { return emulator::block_barrier(emulator::reduction::count, p); }
QUIRE_EMULATED int __syncthreads_or(int p) noexcept { return emulator::block_barrier(emulator::reduction::any, p); }
QUIRE_EMULATED int __syncthreads_and(int p) noexcept { return emulator::block_barrier(emulator::reduction::all, p); }
QUIRE_EMULATED void __syncwarp(unsigned mask = ~0u) noexcept { emulator::warp_sync(mask); }
QUIRE_EMULATED void __threadfence() noexcept { emulator::fence(true); }
QUIRE_EMULATED void __threadfence_system() noexcept { emulator::fence(true); }
QUIRE_EMULATED void __threadfence_block() noexcept { emulator::fence(false); }
QUIRE_EMULATED void __trap() noexcept { emulator::trap("__trap"); }
QUIRE_EMULATED void __nanosleep(unsigned) noexcept {}

// Warp collectives.
namespace emulator {
template <class T>
QUIRE_EMULATED T shuffled(collective how, unsigned mask, T value, unsigned argument, int width) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles take values of 4 or 8 bytes");
  using word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<T>(static_cast<word>(shuffle(how, mask, std::bit_cast<word>(value), argument, static_cast<unsigned>(width))));
}
}  // namespace emulator
template <class T>
QUIRE_EMULATED T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize) noexcept {
  return emulator::shuffled(emulator::collective::shuffle, mask, value, static_cast<unsigned>(lane), width);
}
template <class T>
QUIRE_EMULATED T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) noexcept {
  return emulator::shuffled(emulator::collective::shuffle_up, mask, value, delta, width);
}
template <class T>
QUIRE_EMULATED T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) noexcept {
  return emulator::shuffled(emulator::collective::shuffle_down, mask, value, delta, width);
}
template <class T>
QUIRE_EMULATED T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) noexcept {
  return emulator::shuffled(emulator::collective::shuffle_xor, mask, value, static_cast<unsigned>(lanes), width);
}
QUIRE_EMULATED unsigned __ballot_sync(unsigned mask, int p) noexcept { return emulator::vote(emulator::collective::ballot, mask, p != 0); }
QUIRE_EMULATED int __any_sync(unsigned mask, int p) noexcept { return static_cast<int>(emulator::vote(emulator::collective::any, mask, p != 0)); }
QUIRE_EMULATED int __all_sync(unsigned mask, int p) noexcept { return static_cast<int>(emulator::vote(emulator::collective::all, mask, p != 0)); }
QUIRE_EMULATED unsigned __match_any_sync(unsigned mask, unsigned v) noexcept { return emulator::vote(emulator::collective::match, mask, v); }
QUIRE_EMULATED unsigned __reduce_add_sync(unsigned mask, unsigned v) noexcept { return emulator::vote(emulator::collective::add, mask, v); }
QUIRE_EMULATED unsigned __reduce_min_sync(unsigned mask, unsigned v) noexcept { return emulator::vote(emulator::collective::least, mask, v); }
QUIRE_EMULATED unsigned __reduce_max_sync(unsigned mask, unsigned v) noexcept { return emulator::vote(emulator::collective::most, mask, v); }
QUIRE_EMULATED unsigned __reduce_and_sync(unsigned mask, unsigned v) noexcept { return emulator::vote(emulator::collective::both, mask, v); }
QUIRE_EMULATED unsigned __reduce_or_sync(unsigned mask, unsigned v) noexcept { return emulator::vote(emulator::collective::either, mask, v); }
QUIRE_EMULATED unsigned __reduce_xor_sync(unsigned mask, unsigned v) noexcept { return emulator::vote(emulator::collective::odd, mask, v); }
QUIRE_EMULATED unsigned __activemask() noexcept { return emulator::live_lanes(); }

// Atomics: 4 and 8 bytes; f32 and f64 add.
namespace emulator {
template <class T>
QUIRE_EMULATED T updated(atomic how, T* at, T operand, T expected = T{}) noexcept {
  using word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<T>(static_cast<word>(atomic_update(how, at, std::bit_cast<word>(operand), std::bit_cast<word>(expected), sizeof(T))));
}
}  // namespace emulator
#define QUIRE_EMULATED_ATOMIC(T, cuda_name, how) \
  QUIRE_EMULATED T cuda_name(T* at, T v) noexcept { return emulator::updated(emulator::atomic::how, at, v); }
#define QUIRE_EMULATED_INTEGER_ATOMICS(T, less, more)                                                           \
  QUIRE_EMULATED_ATOMIC(T, atomicAdd, add)                                                                      \
  QUIRE_EMULATED_ATOMIC(T, atomicExch, exchange)                                                                \
  QUIRE_EMULATED_ATOMIC(T, atomicMin, less)                                                                     \
  QUIRE_EMULATED_ATOMIC(T, atomicMax, more)                                                                     \
  QUIRE_EMULATED_ATOMIC(T, atomicAnd, both)                                                                     \
  QUIRE_EMULATED_ATOMIC(T, atomicOr, either)                                                                    \
  QUIRE_EMULATED_ATOMIC(T, atomicXor, odd)                                                                      \
  QUIRE_EMULATED T atomicSub(T* at, T v) noexcept { return atomicAdd(at, static_cast<T>(0 - v)); }           \
  QUIRE_EMULATED T atomicCAS(T* at, T expected, T v) noexcept { return emulator::updated(emulator::atomic::compare, at, v, expected); }
QUIRE_EMULATED_INTEGER_ATOMICS(int, least_signed, most_signed)
QUIRE_EMULATED_INTEGER_ATOMICS(unsigned, least, most)
QUIRE_EMULATED_INTEGER_ATOMICS(unsigned long long, least, most)
QUIRE_EMULATED_ATOMIC(unsigned, atomicInc, increment)
QUIRE_EMULATED_ATOMIC(unsigned, atomicDec, decrement)
QUIRE_EMULATED_ATOMIC(float, atomicExch, exchange)
QUIRE_EMULATED_ATOMIC(float, atomicAdd, add_f32)
QUIRE_EMULATED_ATOMIC(double, atomicAdd, add_f64)
#undef QUIRE_EMULATED_INTEGER_ATOMICS
#undef QUIRE_EMULATED_ATOMIC

// Arithmetic.
template <class T>
QUIRE_EMULATED T __ldg(const T* at) noexcept { return *at; }
QUIRE_EMULATED unsigned __byte_perm(unsigned a, unsigned b, unsigned pick) noexcept {
  const std::uint64_t bytes = std::uint64_t{b} << 32 | a;
  unsigned r = 0;
  for (unsigned i = 0; i < 4; ++i) r |= static_cast<unsigned>(bytes >> (pick >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return r;
}
QUIRE_EMULATED int __popc(unsigned x) noexcept { return std::popcount(x); }
QUIRE_EMULATED int __popcll(unsigned long long x) noexcept { return std::popcount(x); }
QUIRE_EMULATED int __clz(int x) noexcept { return std::countl_zero(static_cast<unsigned>(x)); }
QUIRE_EMULATED int __clzll(long long x) noexcept { return std::countl_zero(static_cast<unsigned long long>(x)); }
QUIRE_EMULATED int __ffs(int x) noexcept { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
QUIRE_EMULATED int __ffsll(long long x) noexcept { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
QUIRE_EMULATED unsigned __brev(unsigned x) noexcept {
  unsigned r = 0;
  for (unsigned i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
  return r;
}
QUIRE_EMULATED unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) noexcept {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) << (by & 31) >> 32);
}
QUIRE_EMULATED unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) noexcept {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (by & 31));
}
QUIRE_EMULATED unsigned __umulhi(unsigned a, unsigned b) noexcept { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }
QUIRE_EMULATED int __dp4a(int a, int b, int c) noexcept {
  for (int i = 0; i < 4; ++i) c += static_cast<signed char>(a >> 8 * i) * static_cast<signed char>(b >> 8 * i);
  return c;
}
QUIRE_EMULATED unsigned __float_as_uint(float x) noexcept { return std::bit_cast<unsigned>(x); }
QUIRE_EMULATED int __float_as_int(float x) noexcept { return std::bit_cast<int>(x); }
QUIRE_EMULATED float __uint_as_float(unsigned x) noexcept { return std::bit_cast<float>(x); }
QUIRE_EMULATED float __int_as_float(int x) noexcept { return std::bit_cast<float>(x); }
QUIRE_EMULATED float __expf(float x) noexcept { return std::exp(x); }
QUIRE_EMULATED float __logf(float x) noexcept { return std::log(x); }
QUIRE_EMULATED float __fdividef(float a, float b) noexcept { return a / b; }
QUIRE_EMULATED float __frcp_rn(float x) noexcept { return 1.0f / x; }
QUIRE_EMULATED float __fsqrt_rn(float x) noexcept { return std::sqrt(x); }
QUIRE_EMULATED float __fmul_rn(float a, float b) noexcept { return a * b; }
QUIRE_EMULATED float __fadd_rn(float a, float b) noexcept { return a + b; }
QUIRE_EMULATED float __fmaf_rn(float a, float b, float c) noexcept { return std::fma(a, b, c); }
QUIRE_EMULATED float __saturatef(float x) noexcept { return x > 0 ? std::min(x, 1.0f) : 0.0f; }
QUIRE_EMULATED int __float2int_rn(float x) noexcept { return static_cast<int>(std::nearbyint(x)); }
QUIRE_EMULATED float rsqrtf(float x) noexcept { return 1.0f / std::sqrt(x); }
#define QUIRE_EMULATED_MINMAX(T)                                         \
  QUIRE_EMULATED constexpr T min(T a, T b) noexcept { return b < a ? b : a; } \
  QUIRE_EMULATED constexpr T max(T a, T b) noexcept { return a < b ? b : a; }
QUIRE_EMULATED_MINMAX(int)
QUIRE_EMULATED_MINMAX(unsigned)
QUIRE_EMULATED_MINMAX(long)
QUIRE_EMULATED_MINMAX(unsigned long)
#undef QUIRE_EMULATED_MINMAX
QUIRE_EMULATED float min(float a, float b) noexcept { return std::fmin(a, b); }
QUIRE_EMULATED float max(float a, float b) noexcept { return std::fmax(a, b); }

// core/device.cuh.
namespace quire::inline v0::device {

constexpr std::uint32_t architectures[] = {900};   ///< whose limits runtime.hpp has

using stream = emulator::stream_state*;

struct launch_shape {
  std::uint32_t blocks = 1, threads = 32;
  std::size_t shared_bytes = 0;   ///< dynamic shared memory a block
};

/// No tool looks on.
struct range {
  explicit range(const char*) noexcept {}
  ~range() {}
};

// Memory and streams: everything has happened when a call returns, unless the stream is recorded. fails: device (`native` 1: no memory, or no device would
// take the shape; 2: faults were recorded; 3: outside of an allocation; 4: not while this thread records a stream).
inline status allocate(void*& p, std::size_t bytes) noexcept {
  if (emulator::spoils_recording()) return {errc::device, "memory of the device", 0, 0, 0, 4};
  try {
    p = emulator::allocate(bytes, "memory of the device");
    return {};
  } catch (...) {
    return {errc::device, "memory of the device", 0, 0, 0, 1};
  }
}
inline void release(void* p) noexcept {
  if (p == nullptr || !emulator::spoils_recording()) emulator::release(p);
}
inline status allocate_pinned(void*& p, std::size_t bytes) noexcept {
  if (emulator::spoils_recording()) return {errc::device, "pinned memory of the host", 0, 0, 0, 4};
  p = ::operator new(bytes, std::nothrow);
  return p != nullptr ? status{} : status{errc::device, "pinned memory of the host", 0, 0, 0, 1};
}
inline void release_pinned(void* p) noexcept {
  if (p == nullptr || !emulator::spoils_recording()) ::operator delete(p);
}

namespace detail {
inline status told(int native, const char* what) noexcept { return native == 0 ? status{} : status{errc::device, what, 0, 0, 0, native}; }
}  // namespace detail
inline status copy(void* to, const void* from, std::size_t bytes, stream on) noexcept {
  return detail::told(emulator::ask(on, [=] { return emulator::copy(to, from, bytes) ? 0 : 3; }), "copy");
}
inline status clear(void* to, std::size_t bytes, stream on) noexcept {
  return detail::told(emulator::ask(on, [=] { return emulator::clear(to, bytes) ? 0 : 3; }), "clearing of memory");
}
inline status wait(stream) noexcept { return emulator::spoils_recording() ? status{errc::device, "work on a stream", 0, 0, 0, 4} : status{}; }
inline status look(machine& m) noexcept {
  m = {3, emulator::most_shared};
  return {};
}

inline status open(stream& s) noexcept { return s = emulator::open_stream(), status{}; }
inline void close(stream s) noexcept { emulator::close_stream(s); }
using graph = emulator::graph_state*;
inline status begin_recording(stream on) noexcept { return detail::told(emulator::start_recording(on), "recording of a stream"); }
inline status end_recording(stream on, graph& made) noexcept { return detail::told(emulator::finish_recording(on, made), "recording of a stream"); }
inline status replay(graph g, stream on) noexcept { return detail::told(emulator::repeat(g, on), "replay of a recording"); }
inline void release_graph(graph g) noexcept { emulator::drop_graph(g); }

// A moment has passed when it is marked, but `look` says so only the second time.
using event = emulator::event_state*;
inline status open(event& e) noexcept { return e = emulator::open_event(), status{}; }
inline void close(event e) noexcept { emulator::close_event(e); }
inline status mark(event e, stream on) noexcept { return detail::told(emulator::mark(e, on), "event of a stream"); }
inline status follow(stream on, event e) noexcept { return detail::told(emulator::follow(on, e), "event of a stream"); }
inline status look(event e, bool& passed) noexcept { return passed = emulator::passed(e), status{}; }
inline status wait(event e) noexcept { return emulator::spoils_recording() ? status{errc::device, "work on a stream", 0, 0, 0, 4} : (emulator::pass(e), status{}); }
inline status pin(void* p, std::size_t bytes) noexcept { return p != nullptr && bytes != 0 ? status{} : status{errc::device, "pinned memory of the host", 0, 0, 0, 1}; }
inline void unpin(void*) noexcept {}

/// Runs the grid before it returns, or keeps it for a replay.
template <class... P, class... A>
status launch(void (*kernel)(P...), launch_shape s, stream on, A&&... arguments) noexcept {
  if (s.blocks == 0 || s.threads == 0) return {};
  if (s.threads > emulator::most_threads) return {errc::device, "threads of a block", s.threads, 1, emulator::most_threads, 1};
  if (s.shared_bytes > emulator::most_shared)
    return {errc::device, "shared memory of a block", static_cast<std::int64_t>(s.shared_bytes), 0, static_cast<std::int64_t>(emulator::most_shared), 1};
  struct call {
    void (*kernel)(P...);
    std::tuple<P...> values;
  };
  return detail::told(emulator::ask(on, [s, c = call{kernel, std::tuple<P...>(static_cast<P>(std::forward<A>(arguments))...)}] {
    const auto body = [](const void* p) { std::apply(static_cast<const call*>(p)->kernel, static_cast<const call*>(p)->values); };
    return emulator::run({s.blocks, s.threads, s.shared_bytes}, body, &c, sizeof c, reinterpret_cast<const void*>(c.kernel)) ? 0 : 2;
  }), "emulated kernel fault");
}

QUIRE_EMULATED std::byte* shared_memory() noexcept { return emulator::dynamic_shared(); }
QUIRE_EMULATED void copy_async(void* to, const void* from) noexcept { emulator::copy_async(to, from); }
QUIRE_EMULATED void copy_commit() noexcept { emulator::copy_commit(); }
template <int Pending>
QUIRE_EMULATED void copy_wait() noexcept {
  static_assert(Pending >= 0);
  emulator::copy_wait(Pending);
}

struct alignas(8) copy_barrier {
  std::uint64_t state;
};
QUIRE_EMULATED void barrier_init(copy_barrier* b, std::uint32_t arrivals) noexcept { emulator::barrier_init(b, arrivals); }
QUIRE_EMULATED void barrier_expect(copy_barrier* b, std::uint32_t bytes) noexcept { emulator::barrier_expect(b, bytes); }
QUIRE_EMULATED void barrier_wait(copy_barrier* b, std::uint32_t parity) noexcept { emulator::barrier_wait(b, parity); }
QUIRE_EMULATED void copy_bulk(void* to, const void* from, std::uint32_t bytes, copy_barrier* done) noexcept { emulator::copy_bulk(to, from, bytes, done); }
QUIRE_EMULATED void fence_async() noexcept { emulator::fence_async(); }

// Operands are registers: what stands in memory is loaded and stored here, where it is seen.
QUIRE_EMULATED void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) noexcept {
  float d[4] = {c[0], c[1], c[2], c[3]};
  emulator::mma(emulator::collective::mma_bf16, d, {a[0], a[1], a[2], a[3]}, {b[0], b[1]});
  c[0] = d[0], c[1] = d[1], c[2] = d[2], c[3] = d[3];
}
QUIRE_EMULATED void mma_f16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) noexcept {
  float d[4] = {c[0], c[1], c[2], c[3]};
  emulator::mma(emulator::collective::mma_f16, d, {a[0], a[1], a[2], a[3]}, {b[0], b[1]});
  c[0] = d[0], c[1] = d[1], c[2] = d[2], c[3] = d[3];
}

namespace detail {
/// As cvt.rn.bf16: every NaN is 0x7fff.
QUIRE_EMULATED std::uint32_t bf16_bits(float x) noexcept { return x != x ? 0x7fffu : bf16::from(x).bits; }
QUIRE_EMULATED std::uint32_t f16_bits(float x) noexcept { return f16::from(std::fmin(std::fmax(x, -65504.0f), 65504.0f)).bits; }
/// a·b + c rounded once: to odd where it is inexact, so that the last rounding sees on which side of a tie it lies.
inline std::uint32_t bf16_fma(std::uint32_t a, std::uint32_t b, std::uint32_t c) noexcept {
  const auto wide = [](std::uint32_t x) { return double{std::bit_cast<float>(x << 16)}; };
  const double p = wide(a & 0xffff) * wide(b & 0xffff), q = wide(c & 0xffff);  // the product is exact
  double s = p + q;
  if (!std::isfinite(s)) return bf16_bits(static_cast<float>(s));
  const auto odd = [](double x, double error) {
    if (error == 0 || (std::bit_cast<std::uint64_t>(x) & 1) != 0) return x;
    return std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) + ((error > 0) == (x > 0) ? 1 : std::uint64_t(-1)));
  };
  const double t = s - p;
  s = odd(s, (p - (s - t)) + (q - t));
  float f = static_cast<float>(s);
  if (double{f} != s && std::isfinite(f) && (std::bit_cast<std::uint32_t>(f) & 1) == 0)
    f = std::bit_cast<float>(std::bit_cast<std::uint32_t>(f) + ((s > double{f}) == (s > 0) ? 1 : std::uint32_t(-1)));
  return bf16_bits(f);
}
}  // namespace detail

QUIRE_EMULATED std::uint32_t pack_bf16(float low, float high) noexcept { return detail::bf16_bits(high) << 16 | detail::bf16_bits(low); }
QUIRE_EMULATED std::uint32_t pack_f16(float low, float high) noexcept { return detail::f16_bits(high) << 16 | detail::f16_bits(low); }
QUIRE_EMULATED std::uint32_t fma_bf16(std::uint32_t a, std::uint32_t b, std::uint32_t c) noexcept {
  return detail::bf16_fma(a >> 16, b >> 16, c >> 16) << 16 | detail::bf16_fma(a, b, c);
}
QUIRE_EMULATED std::uint32_t pick_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t pick) noexcept { return __byte_perm(a, b, pick); }
QUIRE_EMULATED float widen_f16(std::uint16_t bits) noexcept { return f16{bits}.to_float(); }
QUIRE_EMULATED float exp2(float x) noexcept { return std::exp2(x); }

QUIRE_EMULATED std::uint32_t arrive(std::uint32_t* counter, std::uint32_t last) noexcept {
  __threadfence();
  const std::uint32_t before = atomicInc(counter, last);
  __threadfence();
  return before;
}

}  // namespace quire::inline v0::device
