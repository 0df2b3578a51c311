// SPDX-License-Identifier: Apache-2.0
// A device as the arms of this bench see it, so that they run on a GPU (main.cu) and on the emulator (tests/device/bench_shapes.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "quire/core/device.cuh"

namespace device_bench {

class machine {
 public:
  virtual ~machine() = default;
  virtual void* allocate(std::size_t bytes, const char* name) = 0;   ///< aligned to 256; throws std::bad_alloc
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;
  virtual void finish() = 0;                                         ///< waits for the stream; throws with what went wrong
  virtual quire::device::stream stream() const noexcept = 0;
  virtual std::uint32_t processors() const noexcept = 0;
  /// Blocks of a kernel that one processor holds at a time.
  virtual std::uint32_t resident_blocks(const void* kernel, std::uint32_t threads, std::size_t shared_bytes) = 0;
};

inline void require(const quire::status& s) {
  if (!s) throw std::runtime_error(quire::describe(s));
}

/// Device memory of one owner. Movable.
template <class T>
class device_block {
 public:
  device_block() = default;
  device_block(machine& m, std::size_t count, const char* name)
      : machine_(&m), data_(static_cast<T*>(m.allocate(count * sizeof(T) == 0 ? sizeof(T) : count * sizeof(T), name))), count_(count) {}
  device_block(machine& m, std::span<const T> values, const char* name) : device_block(m, values.size(), name) { upload(values); }
  device_block(device_block&& o) noexcept : machine_(o.machine_), data_(std::exchange(o.data_, nullptr)), count_(std::exchange(o.count_, 0)) {}
  device_block& operator=(device_block o) noexcept {
    std::swap(machine_, o.machine_), std::swap(data_, o.data_), std::swap(count_, o.count_);
    return *this;
  }
  ~device_block() {
    if (data_ != nullptr) machine_->release(data_);
  }

  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return count_; }
  void upload(std::span<const T> values) { machine_->upload(data_, values.data(), values.size_bytes()); }
  std::vector<T> download() const {
    std::vector<T> r(count_);
    machine_->download(r.data(), data_, count_ * sizeof(T));
    return r;
  }

 private:
  machine* machine_ = nullptr;
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace device_bench
