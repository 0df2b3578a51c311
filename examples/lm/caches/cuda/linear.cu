// SPDX-License-Identifier: Apache-2.0
// What no cache changes: the kernels between attentions, whether there is a device, how fast its memory is.
#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>
#include <string>

#include "../../device_linear_unit.cuh"
#include "quire/linear/cuda/cublaslt.cuh"

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

/// cuBLASLt, one product each.
class lt_engine final : public wide_engine {
 public:
  lt_engine() {
    if (const quire::status s = context_.open(); !s) throw std::runtime_error(quire::describe(s));
  }
  std::size_t workspace_bytes() const noexcept override { return std::size_t{32} << 20; }  // of the size that cuBLAS takes itself on sm_90; not measured
  quire::status prepare(const wide_shape& s, std::uint32_t& at) override {
    quire::linear::cuda::matmul product;
    if (const quire::status r = product.prepare(context_, {.n = s.n, .outputs = s.outputs, .inputs = s.inputs, .x_stride = s.inputs, .w_stride = s.inputs, .y_stride = s.outputs,
                                                           .mode = s.mode, .workspace_bytes = workspace_bytes()}); !r)
      return r;
    at = static_cast<std::uint32_t>(products_.size());
    products_.push_back(std::move(product));
    return {};
  }
  quire::status run(std::uint32_t at, const quire::bf16* w, const quire::bf16* x, float* y, std::byte* workspace, quire::device::stream on) const noexcept override {
    return products_[at].run(w, x, y, workspace, on);
  }

 private:
  quire::linear::cuda::lt_context context_;
  std::vector<quire::linear::cuda::matmul> products_;
};

}  // namespace

std::unique_ptr<wide_engine> make_wide_engine() { return std::make_unique<lt_engine>(); }

std::string no_device() {
  int count = 0;
  const cudaError_t e = cudaGetDeviceCount(&count);
  if (e != cudaSuccess) return std::string("no CUDA device answers here: ") + cudaGetErrorString(e);
  if (count == 0) return "there is no CUDA device here";
  int major = 0, minor = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) != cudaSuccess || cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0) != cudaSuccess)
    return "the CUDA device does not say what it is";
  if (major < 8) return "the CUDA device is sm_" + std::to_string(major * 10 + minor) + ", needed is sm_80 or newer";
  return "";
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
