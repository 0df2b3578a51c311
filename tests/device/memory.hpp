// SPDX-License-Identifier: Apache-2.0
// The same test on the emulator (g++) and on a GPU (nvcc): memory that has a name, and whether all went well.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "catch.hpp"
#include "quire/core/device.cuh"
#if defined(QUIRE_DEVICE_EMULATOR)
#include "emulator/emulator.hpp"
#endif

namespace device_test {

#if defined(QUIRE_DEVICE_EMULATOR)

inline constexpr bool emulated = true;
inline bool device_present() { return true; }
/// What went wrong since the last call; empty when all is well.
inline std::string faults() {
  std::string text;
  for (const auto& f : emulator::faults()) text += f.text + "\n";
  emulator::clear();
  return text;
}
/// How blocks, warps and lanes are ordered in the launches that follow. A GPU does as it likes.
inline void order(std::uint64_t seed) { emulator::options().seed = seed; }
namespace detail {
inline void* allocate(std::size_t bytes, const char* name) { return emulator::allocate(bytes, name); }
inline void release(void* p) noexcept { emulator::release(p); }
inline void to_device(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
  emulator::written(to, bytes);
}
inline void to_host(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
}  // namespace detail

#else

inline constexpr bool emulated = false;
inline bool device_present() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}
inline std::string faults() {
  const cudaError_t e = cudaDeviceSynchronize();
  return e == cudaSuccess ? "" : cudaGetErrorString(e);
}
inline void order(std::uint64_t) {}
namespace detail {
inline void* allocate(std::size_t bytes, const char*) {
  void* p = nullptr;
  if (cudaMalloc(&p, bytes) != cudaSuccess) throw std::bad_alloc();
  cudaMemset(p, 0xff, bytes);
  return p;
}
inline void release(void* p) noexcept { cudaFree(p); }
inline void to_device(void* to, const void* from, std::size_t bytes) { cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice); }
inline void to_host(void* to, const void* from, std::size_t bytes) { cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost); }
}  // namespace detail

#endif

/// Device memory, NaNs until it is uploaded. Movable.
template <class T>
class device_array {
 public:
  explicit device_array(std::size_t count, const char* name) : data_(static_cast<T*>(detail::allocate(count * sizeof(T), name))), count_(count) {}
  device_array(std::span<const T> values, const char* name) : device_array(values.size(), name) { upload(values); }
  device_array(const std::vector<T>& values, const char* name) : device_array(std::span<const T>(values), name) {}
  device_array(device_array&& o) noexcept : data_(std::exchange(o.data_, nullptr)), count_(std::exchange(o.count_, 0)) {}
  device_array& operator=(device_array o) noexcept {
    std::swap(data_, o.data_), std::swap(count_, o.count_);
    return *this;
  }
  ~device_array() { detail::release(data_); }

  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return count_; }
  void upload(std::span<const T> values) { detail::to_device(data_, values.data(), values.size_bytes()); }
  std::vector<T> download() const {
    std::vector<T> r(count_);
    detail::to_host(r.data(), data_, count_ * sizeof(T));
    return r;
  }

 private:
  T* data_;
  std::size_t count_;
};

/// Ends a stretch of launches: waits for the device and fails the test with what went wrong.
inline void finish() {
  const std::string wrong = faults();
  INFO(wrong);
  REQUIRE(wrong.empty());
}
/// In a test case without a device: says so, in the words that ctest knows, and returns false.
inline bool device_or_skip() {
  if (device_present()) return true;
  WARN("skipped: no CUDA device");
  return false;
}

}  // namespace device_test
