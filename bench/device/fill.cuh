// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cache.cuh"

namespace device_bench {

template <class Chunk>
__global__ void fill_kernel(const __grid_constant__ fill_call c) {
  const std::uint64_t chunks = c.piece_bytes / sizeof(Chunk), all = c.pieces * chunks;
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all; i += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t kind = splitmix64(c.seed ^ (i / chunks) << 20)() % c.kinds;
    reinterpret_cast<Chunk*>(c.to)[i] = reinterpret_cast<const Chunk*>(c.templates)[kind * chunks + i % chunks];
  }
}

status fill(const fill_call& c, device::stream on) noexcept {
  const std::uint64_t all = c.pieces * (c.piece_bytes / sizeof(uint4)), blocks = (all + 255) / 256;
  return device::launch(&fill_kernel<uint4>, {.blocks = static_cast<std::uint32_t>(blocks < 4096 ? blocks : 4096), .threads = 256}, on, c);
}

}  // namespace device_bench
