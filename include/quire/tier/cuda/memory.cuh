// SPDX-License-Identifier: Apache-2.0
// A device's memory behind the host's objects: the arena of a store's pages, a model's weights and rows.
#pragma once

#include "../../core/device.cuh"
#include "../memory.hpp"

namespace quire::inline v0::tier {

/// Global memory of the current device. Everything happens on one stream, so that it is in order with kernels there: a page that is
/// cleared for another sequence is cleared after the kernels that read it last. test: tests/tier/cuda/memory.cpp
class device_memory final : public memory {
 public:
  explicit device_memory(device::stream on = {}) noexcept : on_(on) {}

  device::stream on() const noexcept { return on_; }
  std::byte* allocate(std::size_t bytes) override {
    void* p = nullptr;
    if (!device::allocate(p, bytes)) throw std::bad_alloc();
    return static_cast<std::byte*>(p);
  }
  void release(std::byte* at) noexcept override { device::release(at); }
  void clear(std::byte* to, std::size_t bytes) noexcept override { keep(device::clear(to, bytes, on_)); }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept override { keep(device::copy(to, from, bytes, on_)); }
  status write(std::byte* to, std::span<const std::byte> from) noexcept override {
    const status s = device::copy(to, from.data(), from.size(), on_);
    return s ? device::wait(on_) : s;  // pinned memory is read later
  }
  status read(const std::byte* from, std::span<std::byte> to) noexcept override {
    const status s = device::copy(to.data(), from, to.size(), on_);
    return s ? device::wait(on_) : s;
  }
  status failure() const noexcept override { return failure_; }

 private:
  void keep(const status& s) noexcept {
    if (failure_) failure_ = s;
  }
  device::stream on_;
  status failure_{};
};

/// Memory of the host that copies to a device need not wait for. Movable. throws: std::bad_alloc.
class pinned_bytes {
 public:
  pinned_bytes() = default;
  explicit pinned_bytes(std::size_t bytes) : bytes_(bytes) {
    void* p = nullptr;
    if (bytes != 0 && !device::allocate_pinned(p, bytes)) throw std::bad_alloc();
    data_.reset(static_cast<std::byte*>(p));
  }
  std::byte* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return bytes_; }

 private:
  struct give_back {
    void operator()(std::byte* p) const noexcept { device::release_pinned(p); }
  };
  std::unique_ptr<std::byte, give_back> data_;
  std::size_t bytes_ = 0;
};

}  // namespace quire::inline v0::tier
