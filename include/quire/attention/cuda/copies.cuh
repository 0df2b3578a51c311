// SPDX-License-Identifier: Apache-2.0
// How tiles come from pages into a block's ring: by all threads, 16 bytes at a time (compute capability 8.0), or by the copy engine, a row
// of words at a time, and a barrier for each turn that counts their bytes (9.0). What comes, where to and the bits are the same.
#pragma once

#include <concepts>
#include <type_traits>

#include "../../core/device.cuh"
#include "tuning.cuh"

namespace quire::inline v0::attention::cuda {

inline constexpr std::uint32_t block_warps = 4, block_threads = block_warps * device::warp_threads;

/// One thread's part in copies that all threads of a block ask for together.
struct async_order {
  std::uint32_t thread;

  /// `Count` stretches of `Bytes` (a multiple of 16) that follow each other, to places `Stride` bytes apart.
  template <std::uint32_t Count, std::uint32_t Bytes, std::uint32_t Stride = Bytes>
  __device__ void rows(std::byte* to, const std::byte* from) const noexcept {
    constexpr std::uint32_t chunks = Bytes / 16, all = Count * chunks;
    if constexpr (Count == 1) {
      for (std::uint32_t c = thread; c < chunks; c += block_threads) device::copy_async(to + c * 16, from + c * 16);
    } else {
#pragma unroll
      for (std::uint32_t i = 0; i < (all + block_threads - 1) / block_threads; ++i) {
        const std::uint32_t c = i * block_threads + thread;
        if (all % block_threads == 0 || c < all) device::copy_async(to + (c / chunks * (Stride / 4) + c % chunks * 4) * 4, from + c * 16);
      }
    }
  }
};

/// The same by the first warp, a stretch a lane: the engine takes it from there.
struct bulk_order {
  std::uint32_t thread;
  device::copy_barrier* done;

  template <std::uint32_t Count, std::uint32_t Bytes, std::uint32_t Stride = Bytes>
  __device__ void rows(std::byte* to, const std::byte* from) const noexcept {
    static_assert(Bytes % 16 == 0 && Stride % 16 == 0, "quire::attention::cuda: bulk copies are of multiples of 16 bytes");
    if (thread < device::warp_threads)
      for (std::uint32_t r = thread; r < Count; r += device::warp_threads) device::copy_bulk(to + r * Stride, from + r * Bytes, Bytes, done);
  }
};

/// Copies in `Turns` turns that come round again: each is asked for, waited for by all threads in the same order, and free for the next once all
/// have passed a barrier of the block.
template <std::uint32_t Turns>
class async_copies {
 public:
  struct shared {};                                    ///< what they keep in the block's shared memory,
  static constexpr std::uint32_t turn_bytes = 0;       ///< of it for each turn

  __device__ async_copies(shared&, std::uint32_t thread) noexcept : thread_(thread) {}
  /// Once a block, by all threads, before `release`.
  __device__ void prepare() noexcept {}
  /// Before a barrier of the block: what this thread did with the ring is done, and copies may go there after it.
  __device__ void release() noexcept {}
  /// Opens a turn in which so many bytes are asked for; none is a turn, too.
  __device__ async_order open(std::uint32_t, std::uint32_t) noexcept { return {thread_}; }
  /// Ends what was opened. Without a turn: nothing is asked for any more, but waits go on.
  __device__ void close() noexcept { device::copy_commit(); }
  /// Until the oldest turn but one that was closed has come: own copies, those of others after a barrier of the block.
  __device__ void wait(std::uint32_t) noexcept { device::copy_wait<static_cast<int>(Turns) - 2>(); }

 private:
  std::uint32_t thread_;
};

/// from: PTX ISA, cp.async.bulk and the async proxy; test: tests/attention/cuda/copies.cpp
template <std::uint32_t Turns>
class bulk_copies {
  static_assert(Turns <= 32, "quire::attention::cuda: at most 32 tiles in a ring of bulk copies");

 public:
  struct shared {
    device::copy_barrier done[Turns];
  };
  static constexpr std::uint32_t turn_bytes = sizeof(device::copy_barrier);

  __device__ bulk_copies(shared& s, std::uint32_t thread) noexcept : shared_(s), thread_(thread) {}
  __device__ void prepare() noexcept {
    if (thread_ < Turns) device::barrier_init(&shared_.done[thread_], 1);
  }
  /// The engine's writes must come after this thread's reads, too.
  __device__ void release() noexcept { device::fence_async(); }
  __device__ bulk_order open(std::uint32_t turn, std::uint32_t bytes) noexcept {
    device::copy_barrier* done = &shared_.done[turn];
    if (thread_ == 0) device::barrier_expect(done, bytes);  // copies that are done before count as well: the phase can't end without it
    return {thread_, done};
  }
  __device__ void close() noexcept {}
  __device__ void wait(std::uint32_t turn) noexcept {
    device::barrier_wait(&shared_.done[turn], phases_ >> turn & 1u);
    phases_ ^= 1u << turn;
  }

 private:
  shared& shared_;
  std::uint32_t thread_, phases_ = 0;   ///< bits: parity of each turn's phase
};

template <copying How, std::uint32_t Turns>
using copies_of = std::conditional_t<How == copying::bulk, bulk_copies<Turns>, async_copies<Turns>>;

/// What a ring asks of those who fill it.
template <class C>
concept TileCopies = requires(C c, typename C::shared& s, std::uint32_t n, std::byte* to, const std::byte* from) {
  C(s, n);
  { C::turn_bytes } -> std::convertible_to<std::uint32_t>;
  c.prepare(), c.release(), c.close(), c.wait(n);
  c.open(n, n).template rows<2, 16, 32>(to, from);
};
static_assert(TileCopies<async_copies<2>> && TileCopies<bulk_copies<2>>);

}  // namespace quire::inline v0::attention::cuda
