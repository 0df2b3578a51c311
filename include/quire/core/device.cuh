// SPDX-License-Identifier: Apache-2.0
// Where device code meets the hardware: launches, memory spaces and instructions, as functions. A unit that defines
// QUIRE_DEVICE_EMULATOR (the name of a header) takes the same names from there, and kernels run as they are on a host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "config.hpp"
#include "status.hpp"

namespace quire::inline v0::device {

inline constexpr std::uint32_t warp_threads = 32;
inline constexpr float log2_e = 1.4426950408889634f;   ///< exp(x) is exp2(log2_e·x)

/// What a launch can count on.
struct machine {
  std::uint32_t processors = 0;
  std::size_t shared_bytes = 0;   ///< of a block, where it asks by name
};

}  // namespace quire::inline v0::device

#if defined(QUIRE_DEVICE_EMULATOR)
#include QUIRE_DEVICE_EMULATOR
#else

#include <cuda_runtime.h>
#if !defined(__CUDA_ARCH__) && __has_include(<nvtx3/nvToolsExt.h>)  // half a second of parsing in each pass that sees it
#include <nvtx3/nvToolsExt.h>
#endif

namespace quire::inline v0::device {

/// What the unit is compiled for, ascending (800 for compute capability 8.0); host code knows it too. Each unit's own.
#if defined(__CUDA_ARCH_LIST__)
constexpr std::uint32_t architectures[] = {__CUDA_ARCH_LIST__};
#else
constexpr std::uint32_t architectures[] = {800};
#endif

/// Work goes to a stream that the caller names; only `wait` waits for one.
using stream = cudaStream_t;

struct launch_shape {
  std::uint32_t blocks = 1, threads = 32;
  std::size_t shared_bytes = 0;   ///< dynamic shared memory a block
};

/// A name that profilers show over the host's calls while this stands. Without a tool a push is a load and a branch, without
/// NVTX's headers it is nothing. Ranges of a thread nest.
class range {
 public:
#if !defined(__CUDA_ARCH__) && __has_include(<nvtx3/nvToolsExt.h>)
  explicit range(const char* name) noexcept { nvtxRangePushA(name); }
  ~range() { nvtxRangePop(); }
#else
  explicit range(const char*) noexcept {}
  ~range() {}
#endif
  range(const range&) = delete;
  range& operator=(const range&) = delete;
};

/// fails: device (`native`: the runtime's code)
inline status check(cudaError_t e, const char* what) noexcept {
  if (e == cudaSuccess) return {};
  return {errc::device, what, 0, 0, 0, static_cast<int>(e)};
}

/// Memory of the device, and of the host for copies that run beside both. Released pointers may be null. fails: device.
inline status allocate(void*& p, std::size_t bytes) noexcept { return check(cudaMalloc(&p, bytes), "memory of the device"); }
inline void release(void* p) noexcept { static_cast<void>(cudaFree(p)); }
inline status allocate_pinned(void*& p, std::size_t bytes) noexcept { return check(cudaMallocHost(&p, bytes), "pinned memory of the host"); }
inline void release_pinned(void* p) noexcept { static_cast<void>(cudaFreeHost(p)); }
/// In the order of the stream; addresses say which side is which. Memory of the host that is not pinned is read before the return.
inline status copy(void* to, const void* from, std::size_t bytes, stream on) noexcept { return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, on), "copy"); }
inline status clear(void* to, std::size_t bytes, stream on) noexcept { return check(cudaMemsetAsync(to, 0, bytes, on), "clearing of memory"); }
/// Until all that was asked of the stream is done. fails: device, also for what went wrong in a kernel before.
inline status wait(stream on) noexcept { return check(cudaStreamSynchronize(on), "work on a stream"); }

/// A stream beside the default one, in order with that alone. fails: device.
inline status open(stream& s) noexcept { return check(cudaStreamCreate(&s), "stream"); }
inline void close(stream s) noexcept { static_cast<void>(cudaStreamDestroy(s)); }

/// What a stream was asked for while it was recorded, to be asked for again as one: launches with the arguments they had then, copies
/// and clearings between the places they had then. What stands in memory is read when it runs.
using graph = cudaGraphExec_t;
/// What this thread asks of `on` is kept from here on, not started; the default stream can't be recorded. Until `end_recording` the thread may neither
/// allocate nor release memory, nor wait: that is refused and spoils the recording. A kernel is launched before it is recorded, so that it has been loaded. fails: device.
inline status begin_recording(stream on) noexcept { return check(cudaStreamBeginCapture(on, cudaStreamCaptureModeThreadLocal), "recording of a stream"); }
/// `made` is released by the caller. fails: device (what was spoilt too), `made` is null then.
inline status end_recording(stream on, graph& made) noexcept {
  made = nullptr;
  cudaGraph_t kept = nullptr;
  if (const status s = check(cudaStreamEndCapture(on, &kept), "recording of a stream"); !s) return s;
  const status s = check(cudaGraphInstantiate(&made, kept, 0), "recording of a stream");
  static_cast<void>(cudaGraphDestroy(kept));
  return s;
}
/// In the order of the stream. fails: device.
inline status replay(graph g, stream on) noexcept { return check(cudaGraphLaunch(g, on), "replay of a recording"); }
inline void release_graph(graph g) noexcept { static_cast<void>(cudaGraphExecDestroy(g)); }

/// A moment of a stream. fails: device.
using event = cudaEvent_t;
inline status open(event& e) noexcept { return check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "event"); }
inline void close(event e) noexcept { static_cast<void>(cudaEventDestroy(e)); }
/// The moment is when all is done that `on` was asked for before.
inline status mark(event e, stream on) noexcept { return check(cudaEventRecord(e, on), "event of a stream"); }
/// What `on` is asked for afterwards begins after the moment.
inline status follow(stream on, event e) noexcept { return check(cudaStreamWaitEvent(on, e, 0), "event of a stream"); }
/// Whether it has passed; never waits. fails: device, also for what went wrong before it; `passed` is true then.
inline status look(event e, bool& passed) noexcept {
  const cudaError_t said = cudaEventQuery(e);
  passed = said != cudaErrorNotReady;
  return passed ? check(said, "work on a stream") : status{};
}
/// Until it has passed. fails: as look.
inline status wait(event e) noexcept { return check(cudaEventSynchronize(e), "work on a stream"); }

/// Memory of the host that was allocated otherwise, for copies that run beside both. fails: device.
inline status pin(void* p, std::size_t bytes) noexcept { return check(cudaHostRegister(p, bytes, cudaHostRegisterDefault), "pinned memory of the host"); }
inline void unpin(void* p) noexcept { static_cast<void>(cudaHostUnregister(p)); }

/// The current device. fails: device, where there is none.
inline status look(machine& m) noexcept {
  int at = 0, processors = 0, bytes = 0;
  if (const status s = check(cudaGetDevice(&at), "CUDA device"); !s) return s;
  if (const status s = check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, at), "processors of the device"); !s) return s;
  if (const status s = check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, at), "shared memory of the device"); !s) return s;
  m = {static_cast<std::uint32_t>(processors), static_cast<std::size_t>(bytes)};
  return {};
}

/// Starts a kernel. More than 48 KiB of shared memory is asked for by name; blocks of no threads and grids of no blocks are
/// nothing to do. fails: device.
template <class... P, class... A>
status launch(void (*kernel)(P...), launch_shape s, stream on, A&&... arguments) noexcept {
  if (s.blocks == 0 || s.threads == 0) return {};
  if (s.shared_bytes > 48 * 1024)
    if (const status r = check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(s.shared_bytes)), "shared memory of a block"); !r)
      return r;
  cudaLaunchConfig_t how{};
  how.gridDim = dim3(s.blocks), how.blockDim = dim3(s.threads), how.dynamicSmemBytes = s.shared_bytes, how.stream = on;
  return check(cudaLaunchKernelEx(&how, kernel, static_cast<P>(std::forward<A>(arguments))...), "kernel launch");
}

/// This block's dynamic shared memory, aligned to 128 bytes.
__device__ inline std::byte* shared_memory() noexcept {
  extern __shared__ __align__(128) std::byte quire_shared_memory[];
  return quire_shared_memory;
}

/// 16 bytes from global to shared memory, past the registers and L1; both aligned to 16. They arrive at a `copy_wait` that
/// leaves their group out, for the thread that asked; for others at the barrier after it.
__device__ inline void copy_async(void* to, const void* from) noexcept {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(to))), "l"(from) : "memory");
}
/// Closes this thread's group of copies.
__device__ inline void copy_commit() noexcept { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most the `Pending` newest groups of this thread are under way.
template <int Pending>
__device__ inline void copy_wait() noexcept {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// A barrier in shared memory that counts bulk copies. A phase of it ends when as many threads as it was made for have arrived
/// and all bytes that they announced have come; then the next begins. Phases are known by their parity, the first one's is 0. A place is a barrier from
/// `barrier_init` to the end of the block. Compute capability 9.0 and later: before, whatever asks for it traps.
struct alignas(8) copy_barrier {
  std::uint64_t state;
};
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
__device__ inline void barrier_init(copy_barrier*, std::uint32_t) noexcept { __trap(); }
__device__ inline void barrier_expect(copy_barrier*, std::uint32_t) noexcept { __trap(); }
__device__ inline void barrier_wait(copy_barrier*, std::uint32_t) noexcept { __trap(); }
__device__ inline void copy_bulk(void*, const void*, std::uint32_t, copy_barrier*) noexcept { __trap(); }
__device__ inline void fence_async() noexcept { __trap(); }
#else
namespace detail {
__device__ inline std::uint32_t shared_address(const void* p) noexcept { return static_cast<std::uint32_t>(__cvta_generic_to_shared(p)); }
}  // namespace detail

/// One thread makes it. Others use it after a barrier of the block, copies after a `fence_async` before that.
__device__ inline void barrier_init(copy_barrier* b, std::uint32_t arrivals) noexcept {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(detail::shared_address(b)), "r"(arrivals) : "memory");
}
/// Announces `bytes` more of this phase, below 2^20, and arrives.
__device__ inline void barrier_expect(copy_barrier* b, std::uint32_t bytes) noexcept {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(detail::shared_address(b)), "r"(bytes) : "memory");
}
/// Until the phase of this parity has ended, which is this one or the one before. The thread sees what its copies brought and what others wrote before they arrived.
__device__ inline void barrier_wait(copy_barrier* b, std::uint32_t parity) noexcept {
  std::uint32_t done;
  do {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(done) : "r"(detail::shared_address(b)), "r"(parity) : "memory");
  } while (done == 0);
}
/// From global to shared memory, by the copy engine: places aligned to 16, `bytes` a multiple of 16. One thread asks; `done` counts the bytes when they
/// have come. What threads have read or written where they go must be behind a `fence_async`, and that before the copy.
__device__ inline void copy_bulk(void* to, const void* from, std::uint32_t bytes, copy_barrier* done) noexcept {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(detail::shared_address(to)), "l"(from), "r"(bytes), "r"(detail::shared_address(done))
               : "memory");
}
/// What this thread has done in shared memory, and knows of others, is before the bulk copies that come after it: copies go by another
/// proxy, and neither a barrier nor the order of one thread holds between proxies.
__device__ inline void fence_async() noexcept { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#endif

/// c += a·b on a warp, f32 sums of bf16 products: a [16][16], b [16][8], c [16][8]. With g = lane / 4 and t = lane % 4 a lane holds
/// a: rows g, g + 8, g, g + 8 at columns 2t, 2t, 2t + 8, 2t + 8 and one more; b: rows 2t and 2t + 8 and one more, column g; c: row
/// g, columns 2t and 2t + 1, then row g + 8. Two neighbours share a word, the lower in its low half.
__device__ inline void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) noexcept {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// The same for f16.
__device__ inline void mma_f16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) noexcept {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Two f32 as bf16 or f16 in one word, nearest even, `low` in the low half; f16 saturates.
__device__ inline std::uint32_t pack_bf16(float low, float high) noexcept {
  std::uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ inline std::uint32_t pack_f16(float low, float high) noexcept {
  std::uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(fminf(fmaxf(high, -65504.0f), 65504.0f)), "f"(fminf(fmaxf(low, -65504.0f), 65504.0f)));
  return r;
}
/// a·b + c on both halves of a word, each rounded once.
__device__ inline std::uint32_t fma_bf16(std::uint32_t a, std::uint32_t b, std::uint32_t c) noexcept {
  std::uint32_t r;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}
/// Bytes of (b:a) that the four nibbles of `pick` name, lowest first: 0-3 are a's, 4-7 b's.
__device__ inline std::uint32_t pick_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t pick) noexcept { return __byte_perm(a, b, pick); }

/// An f16 as f32.
__device__ inline float widen_f16(std::uint16_t bits) noexcept {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(bits));
  return r;
}

/// 2^x, within 2 ulp; 2^-inf is 0.
__device__ inline float exp2(float x) noexcept {
  float r;
  asm("ex2.approx.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

/// counter ← counter == last ? 0 : counter + 1; returns what it was. Writes of the block before it are seen by whoever reads
/// after a later arrival. One thread of a block calls it after a barrier.
__device__ inline std::uint32_t arrive(std::uint32_t* counter, std::uint32_t last) noexcept {
  __threadfence();
  const std::uint32_t before = atomicInc(counter, last);
  __threadfence();
  return before;
}

}  // namespace quire::inline v0::device
#endif
