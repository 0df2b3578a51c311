// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

#include "../core/status.hpp"
#include "huge_pages.hpp"

namespace quire::inline v0::tier {

/// Memory that the host can't touch itself: a device's. What is asked of it happens in order, and before whatever its caller starts
/// there afterwards; only `read` and `write` wait. A refusal that a call has no way to tell is kept: such a device serves nothing more, and
/// `failure` says so before results are believed. One thread at a time. model: tier/cuda/memory.cuh
class memory {
 public:
  /// Aligned to 256 bytes at least. throws std::bad_alloc.
  virtual std::byte* allocate(std::size_t bytes) = 0;
  virtual void release(std::byte* at) noexcept = 0;
  virtual void clear(std::byte* to, std::size_t bytes) noexcept = 0;                        ///< zeros
  virtual void copy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept = 0;  ///< both are here
  /// From the host: `from` may change when the call returns. fails: device.
  virtual status write(std::byte* to, std::span<const std::byte> from) noexcept = 0;
  /// To the host: complete when the call returns. fails: device.
  virtual status read(const std::byte* from, std::span<std::byte> to) noexcept = 0;
  virtual status failure() const noexcept = 0;

 protected:
  ~memory() = default;
};

/// One stretch of bytes: in host memory, or in a memory that outlives it. Movable. What stands there is moved by the members, which
/// serve both; pointers lie inside it. throws (constructor): std::bad_alloc. test: tests/tier/memory.cpp
class arena {
 public:
  arena() = default;
  explicit arena(std::size_t bytes, memory* where = nullptr) : host_(where == nullptr ? bytes : 0), there_(where != nullptr && bytes != 0 ? where->allocate(bytes) : nullptr, {where}) {}

  std::byte* data() const noexcept { return on_host() ? host_.data() : there_.get(); }
  /// Whether the host may follow pointers into it.
  bool on_host() const noexcept { return where() == nullptr; }
  void clear(std::byte* to, std::size_t bytes) const noexcept {
    if (bytes == 0) return;
    if (where() != nullptr) where()->clear(to, bytes);
    else std::memset(to, 0, bytes);
  }
  /// `from` may lie in another arena of the same memory.
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) const noexcept {
    if (bytes == 0) return;
    if (where() != nullptr) where()->copy(to, from, bytes);
    else std::memcpy(to, from, bytes);
  }
  /// fails: device.
  status write(std::byte* to, std::span<const std::byte> from) const noexcept {
    if (from.empty()) return {};
    if (where() != nullptr) return where()->write(to, from);
    std::memcpy(to, from.data(), from.size());
    return {};
  }
  /// fails: device.
  status read(const std::byte* from, std::span<std::byte> to) const noexcept {
    if (to.empty()) return {};
    if (where() != nullptr) return where()->read(from, to);
    std::memcpy(to.data(), from, to.size());
    return {};
  }

 private:
  struct give_back {
    memory* where;
    void operator()(std::byte* p) const noexcept { where->release(p); }
  };
  memory* where() const noexcept { return there_.get_deleter().where; }

  huge_block host_;
  std::unique_ptr<std::byte, give_back> there_;
};

}  // namespace quire::inline v0::tier
