// SPDX-License-Identifier: Apache-2.0
// Read bandwidth, the wall that memory-bound kernels are measured against. Measure it in the same run, alternating with
// the kernel: it drifts.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "quire/core/executor.hpp"
#include "quire/core/simd.hpp"

namespace quire_bench {

/// Zeroed memory in huge pages where the system has them. throws: std::bad_alloc.
class big_buffer {
 public:
  explicit big_buffer(std::size_t bytes) : bytes_((bytes + 2097151) / 2097152 * 2097152) {
    void* p = mmap(nullptr, bytes_ + 2097152, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    base_ = p;
    data_ = reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(p) + 2097151) / 2097152 * 2097152);
    madvise(data_, bytes_, MADV_HUGEPAGE);
  }
  ~big_buffer() { munmap(base_, bytes_ + 2097152); }
  big_buffer(const big_buffer&) = delete;
  big_buffer& operator=(const big_buffer&) = delete;
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return bytes_; }

 private:
  std::size_t bytes_;
  void* base_ = nullptr;
  std::byte* data_ = nullptr;
};

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0.0 : (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

/// Folds every whole 256 bytes of `bytes` into a number, as fast as loads go.
inline std::uint64_t read_all(const std::byte* data, std::size_t bytes) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<std::uint64_t> d;
  constexpr std::size_t step = hn::MaxLanes(hn::ScalableTag<std::uint64_t>{}) * 8;
  auto a = hn::Zero(d), b = a, c = a, e = a;
  const auto at = [&](std::size_t i) { return hn::LoadU(d, reinterpret_cast<const std::uint64_t*>(data + i)); };
  for (std::size_t i = 0; i + 4 * step <= bytes; i += 4 * step) {
    for (std::size_t line = 0; line < 4 * step; line += 64) hwy::Prefetch(data + i + 4096 + line);
    a = hn::Xor(a, at(i));
    b = hn::Xor(b, at(i + step));
    c = hn::Xor(c, at(i + 2 * step));
    e = hn::Xor(e, at(i + 3 * step));
  }
  return hn::GetLane(hn::Xor(hn::Xor(a, b), hn::Xor(c, e)));
}

/// Bytes per second of one pass over `data` with all workers, each reading a contiguous share.
template <class Executor>
double read_bandwidth(Executor& executor, const std::byte* data, std::size_t bytes) {
  std::vector<std::uint64_t> sink(executor.workers() * 8);
  const double start = seconds();
  executor.run([&](const quire::team& t) {
    const quire::range r = t.share(bytes, 4096);
    sink[t.worker * 8] = read_all(data + r.begin, r.size());
  });
  const double elapsed = seconds() - start;
  volatile std::uint64_t keep = sink[0];
  static_cast<void>(keep);
  return static_cast<double>(bytes) / elapsed;
}

}  // namespace quire_bench
