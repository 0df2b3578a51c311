// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "config.hpp"

namespace quire::inline v0 {

/// 64-bit checksum of bytes that go to a disk or a wire: finds damage, resists no attacker. Bytes may come in parts of any
/// size; the result depends on all bytes and on their number, and not on the machine's alignment.
/// cost: a multiplication for 8 bytes. test: tests/core/checksum.cpp
class checksum {
 public:
  constexpr void add(std::uint64_t word) noexcept { mix(word), length_ += 8; }
  void add(const void* bytes, std::size_t n) noexcept {
    const auto* p = static_cast<const std::byte*>(bytes);
    length_ += n;
    while (n != 0) {
      const std::size_t take = n < 8 - held_ ? n : 8 - held_;
      std::memcpy(reinterpret_cast<std::byte*>(&open_) + held_, p, take);
      held_ += take, p += take, n -= take;
      if (held_ == 8) mix(open_), open_ = 0, held_ = 0;
      if (held_ != 0) continue;
      for (; n >= 8; p += 8, n -= 8) {
        std::uint64_t w;
        std::memcpy(&w, p, 8);
        mix(w);
      }
    }
  }
  constexpr std::uint64_t value() const noexcept {
    checksum end = *this;
    if (held_ != 0) end.mix(open_);
    end.mix(length_);
    return end.state_ ^ end.state_ >> 29;
  }

 private:
  constexpr void mix(std::uint64_t w) noexcept {
    state_ = (state_ ^ w) * 0x9e3779b97f4a7c15u;
    state_ ^= state_ >> 32;
  }
  std::uint64_t state_ = 0x243f6a8885a308d3u, open_ = 0, length_ = 0;
  std::size_t held_ = 0;
};

/// FNV-1a, 64 bits: for short texts and files whose formats name it; slower than `checksum`, byte by byte.
/// test: tests/core/checksum.cpp
constexpr std::uint64_t fnv1a(std::span<const std::byte> bytes) noexcept {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const std::byte b : bytes) h = (h ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3u;
  return h;
}

}  // namespace quire::inline v0
