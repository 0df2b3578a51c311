// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "quire/core/extents.hpp"
#include "quire/tier/cuda/memory.cuh"

namespace quire_lm {

/// What a step brings to the device: arrays side by side in pinned memory, sent as they lie by one copy that nobody waits for. The
/// next step begins when that copy is done. throws (constructor): std::bad_alloc
class device_upload {
 public:
  static constexpr std::size_t alignment = 16;
  /// Bytes that n arrays of `bytes` in all take at most.
  static constexpr std::size_t room(std::size_t bytes, std::size_t n) noexcept { return bytes + n * alignment; }

  device_upload(std::size_t bytes, quire::tier::device_memory& memory) : host_(bytes), device_(bytes, &memory), on_(memory.on()) {}

  struct place {
    std::span<std::byte> host;
    const std::byte* device;
  };
  void begin() noexcept { used_ = 0; }
  /// precondition: there is room.
  place take(std::size_t bytes) noexcept {
    QUIRE_ASSERT(used_ + bytes <= host_.size(), "quire_lm::device_upload: a step sends more than was made room for");
    const place p{{host_.data() + used_, bytes}, device_.data() + used_};
    used_ = quire::round_up(used_ + bytes, alignment);
    return p;
  }
  /// `count`: elements that stand there, those past `values` with every field at its default.
  template <class T>
  const T* put(std::span<const T> values, std::size_t count) noexcept {
    const place p = take(count * sizeof(T));
    auto* const to = reinterpret_cast<T*>(p.host.data());
    std::uninitialized_value_construct(std::uninitialized_copy(values.begin(), values.end(), to), to + count);
    return reinterpret_cast<const T*>(p.device);
  }
  /// fails: device
  quire::status send() noexcept { return used_ == 0 ? quire::status{} : quire::device::copy(device_.data(), host_.data(), std::min(used_, host_.size()), on_); }

 private:
  quire::tier::pinned_bytes host_;
  quire::tier::arena device_;
  quire::device::stream on_;
  std::size_t used_ = 0;
};

}  // namespace quire_lm
