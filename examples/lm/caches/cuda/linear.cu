// SPDX-License-Identifier: Apache-2.0
// What no cache changes: the kernels between attentions, whether there is a device, how fast its memory is.
#include <algorithm>
#include <array>
#include <chrono>
#include <string>

#include "../../device_linear_unit.cuh"

namespace quire_lm {
namespace {

/// Reads all of `from` [n]; what is found is kept where it is zero all over, which nobody could know before.
__global__ void read_kernel(const uint4* from, std::size_t n, std::uint32_t* kept) {
  std::uint32_t any = 0;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n; i += std::size_t{gridDim.x} * blockDim.x) {
    const uint4 v = from[i];
    any |= v.x | v.y | v.z | v.w;
  }
  if (any != 0) *kept = any;
}

}  // namespace

std::string no_device() {
  int count = 0;
  const cudaError_t e = cudaGetDeviceCount(&count);
  if (e != cudaSuccess) return std::string("no CUDA device answers here: ") + cudaGetErrorString(e);
  return count == 0 ? "there is no CUDA device here" : "";
}

double device_read_bandwidth(quire::tier::device_memory& memory) {
  constexpr std::size_t bytes = std::size_t{1} << 30;
  quire::device::machine m;
  if (!quire::device::look(m)) return 0;
  const quire::tier::arena from(bytes + 256, &memory);
  from.clear(from.data(), bytes + 256);
  std::array<double, 5> passes{};
  for (double& pass : passes) {
    if (!quire::device::wait(memory.on())) return 0;
    const auto start = std::chrono::steady_clock::now();
    const auto* words = reinterpret_cast<const uint4*>(from.data());
    if (!quire::device::launch(&read_kernel, {.blocks = m.processors * 8, .threads = 256}, memory.on(), words, bytes / sizeof(uint4), reinterpret_cast<std::uint32_t*>(from.data() + bytes))) return 0;
    if (!quire::device::wait(memory.on())) return 0;
    pass = bytes / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  std::sort(passes.begin(), passes.end());
  return passes[2];
}

}  // namespace quire_lm
