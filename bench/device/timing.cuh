// SPDX-License-Identifier: Apache-2.0
// CUDA's side of this bench: memory and a stream of our own, times by events, captured graphs, and the bandwidth that everything is
// measured against.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>

#include "machine.cuh"

namespace device_bench {

inline void cuda(cudaError_t e, const char* what) {
  if (e != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(e));
}

class cuda_machine final : public machine {
 public:
  cuda_machine() {
    cuda(cudaGetDeviceProperties(&properties_, 0), "device 0");
    cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  }
  ~cuda_machine() override { cudaStreamDestroy(stream_); }
  cuda_machine(const cuda_machine&) = delete;
  cuda_machine& operator=(const cuda_machine&) = delete;

  void* allocate(std::size_t bytes, const char* name) override {
    void* p = nullptr;
    if (const cudaError_t e = cudaMalloc(&p, bytes); e != cudaSuccess) {
      cudaGetLastError();
      throw std::runtime_error(std::string(name) + ": no " + std::to_string(bytes) + " bytes of device memory: " + cudaGetErrorString(e));
    }
    return p;
  }
  void release(void* memory) noexcept override { cudaFree(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override { cuda(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "upload"); }
  void download(void* to, const void* from, std::size_t bytes) override { cuda(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "download"); }
  void finish() override { cuda(cudaStreamSynchronize(stream_), "stream"); }
  device::stream stream() const noexcept override { return stream_; }
  std::uint32_t processors() const noexcept override { return static_cast<std::uint32_t>(properties_.multiProcessorCount); }
  std::uint32_t resident_blocks(const void* kernel, std::uint32_t threads, std::size_t shared_bytes) override {
    int blocks = 0;
    if (shared_bytes > 48 * 1024) cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)), "shared memory of a block");
    cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, static_cast<int>(threads), shared_bytes), "resident blocks");
    return static_cast<std::uint32_t>(blocks);
  }
  const cudaDeviceProp& properties() const noexcept { return properties_; }
  std::size_t free_bytes() const {
    std::size_t free = 0, all = 0;
    cuda(cudaMemGetInfo(&free, &all), "free memory");
    return free;
  }

 private:
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
};

/// Microseconds of one launch: the median of samples, and their tenth and ninetieth percentile.
struct timing {
  double median = 0, low = 0, high = 0;
  std::uint32_t launches = 0, samples = 0;
};

/// Times `launch(i)` for i = 0, 1, …: after a warm-up, at least 100 launches or `seconds` of them, in samples of at least 200 µs or one
/// launch, each between two events. Launches queue up without a wait, so that a sample is the device's time where the host keeps up.
template <class F>
timing time_launches(cuda_machine& m, F&& launch, double seconds, std::uint32_t warm_up = 3) {
  std::uint32_t next = 0;
  const auto run = [&](std::uint32_t n) {
    for (std::uint32_t i = 0; i < n; ++i) require(launch(next++));
  };
  struct event {
    cudaEvent_t e = nullptr;
    event() { cuda(cudaEventCreate(&e), "event"); }
    ~event() { cudaEventDestroy(e); }
    event(event&& o) noexcept : e(std::exchange(o.e, nullptr)) {}
  };
  const auto between = [](const event& a, const event& b) {
    float ms = 0;
    cuda(cudaEventElapsedTime(&ms, a.e, b.e), "elapsed");
    return static_cast<double>(ms) * 1e3;
  };
  event begin, end;
  run(warm_up);
  cuda(cudaEventRecord(begin.e, m.stream()), "event");
  run(4);
  cuda(cudaEventRecord(end.e, m.stream()), "event");
  m.finish();
  const double one = std::max(between(begin, end) / 4, 0.5);
  const auto each = static_cast<std::uint32_t>(std::clamp(200.0 / one, 1.0, 50.0));
  const auto wanted = static_cast<std::uint32_t>(std::min(std::max(100.0, 0.05e6 / one), seconds * 1e6 / one));
  const std::uint32_t samples = std::max(10u, (wanted + each - 1) / each);
  std::vector<event> marks(samples + 1);
  run(2);  // the device is busy while the first event waits
  cuda(cudaEventRecord(marks[0].e, m.stream()), "event");
  for (std::uint32_t s = 0; s < samples; ++s) {
    run(each);
    cuda(cudaEventRecord(marks[s + 1].e, m.stream()), "event");
  }
  m.finish();
  std::vector<double> us;
  for (std::uint32_t s = 0; s < samples; ++s) us.push_back(between(marks[s], marks[s + 1]) / each);
  std::sort(us.begin(), us.end());
  return {us[samples / 2], us[samples / 10], us[samples - 1 - samples / 10], samples * each, samples};
}

/// Launches 0 … count − 1 captured in one graph: that it can be done shows that nothing in them waits, allocates or picks a stream.
class captured {
 public:
  template <class F>
  captured(cuda_machine& m, std::uint32_t count, F&& launch) : machine_(m), count_(count) {
    cuda(cudaStreamBeginCapture(m.stream(), cudaStreamCaptureModeGlobal), "capture");
    status wrong;
    for (std::uint32_t i = 0; i < count && wrong; ++i) wrong = launch(i);
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(m.stream(), &graph);
    if (!wrong) throw std::runtime_error("capture: " + describe(wrong));
    cuda(ended, "end of the capture");
    cuda(cudaGraphGetNodes(graph, nullptr, &nodes_), "nodes");
    const cudaError_t made = cudaGraphInstantiate(&graph_, graph, 0);
    cudaGraphDestroy(graph);
    cuda(made, "graph");
  }
  ~captured() { cudaGraphExecDestroy(graph_); }
  captured(const captured&) = delete;
  captured& operator=(const captured&) = delete;
  status replay() noexcept { return device::check(cudaGraphLaunch(graph_, machine_.stream()), "graph launch"); }
  std::uint32_t count() const noexcept { return count_; }
  std::size_t nodes() const noexcept { return nodes_; }

 private:
  cuda_machine& machine_;
  std::uint32_t count_;
  std::size_t nodes_ = 0;
  cudaGraphExec_t graph_ = nullptr;
};

/// Reads 16 bytes a thread at a time, eight of them under way, and writes next to nothing.
template <class Chunk>
__global__ void __launch_bounds__(512) read_kernel(const Chunk* from, std::uint64_t count, std::uint32_t* sink) {
  const std::uint64_t stride = std::uint64_t{gridDim.x} * blockDim.x;
  std::uint32_t x = 0;
  std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 7 * stride < count; i += 8 * stride) {
    Chunk c[8];
#pragma unroll
    for (std::uint32_t k = 0; k < 8; ++k) c[k] = from[i + k * stride];
#pragma unroll
    for (std::uint32_t k = 0; k < 8; ++k) x ^= c[k].x ^ c[k].y ^ c[k].z ^ c[k].w;
  }
  for (; i < count; i += stride) x ^= from[i].x;
  if (x == 0x9e3779b9u) *sink = x;
}

/// GB/s of reading a buffer many times larger than the L2, and of copying it (bytes read and written).
struct bandwidth {
  double read = 0, copy = 0;
};
inline bandwidth measure_bandwidth(cuda_machine& m, std::size_t bytes, double seconds) {
  bytes = std::min(bytes, m.free_bytes() / 4) / 4096 * 4096;
  device_block<std::byte> from(m, bytes, "bandwidth buffer"), to(m, bytes, "bandwidth buffer");
  device_block<std::uint32_t> sink(m, 1, "sink");
  cuda(cudaMemsetAsync(from.data(), 0x5a, bytes, m.stream()), "memset");
  bandwidth best;
  for (const std::uint32_t blocks : {2u, 4u}) {  // of 512 threads on each processor
    const auto read = time_launches(m, [&](std::uint32_t) {
      return device::launch(&read_kernel<uint4>, {.blocks = m.processors() * blocks, .threads = 512}, m.stream(), reinterpret_cast<const uint4*>(from.data()), bytes / 16, sink.data());
    }, seconds);
    best.read = std::max(best.read, static_cast<double>(bytes) / read.median * 1e-3);
  }
  const auto copy = time_launches(m, [&](std::uint32_t) { return device::check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, m.stream()), "copy"); }, seconds);
  best.copy = 2 * static_cast<double>(bytes) / copy.median * 1e-3;
  return best;
}

}  // namespace device_bench
