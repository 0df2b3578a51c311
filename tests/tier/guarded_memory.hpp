// SPDX-License-Identifier: Apache-2.0
// A memory that the host can't touch, as a device's is not: its pages are closed but while one of its own calls is at work. Whoever
// follows a pointer into it ends the test program.
#pragma once

#include <sys/mman.h>

#include <map>

#include "quire/tier/memory.hpp"

namespace tier_test {

class guarded_memory final : public quire::tier::memory {
 public:
  std::byte* allocate(std::size_t bytes) override {
    void* p = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    auto* at = static_cast<std::byte*>(p);
    held[at] = bytes;
    open({at});
    std::memset(at, 0xa5, bytes);  // what nobody wrote is not zero
    close();
    return at;
  }
  void release(std::byte* at) noexcept override {
    ::munmap(at, held.at(at));
    held.erase(at);
  }
  void clear(std::byte* to, std::size_t bytes) noexcept override { with({to}, [&] { std::memset(to, 0, bytes); }); }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept override { with({to, from}, [&] { std::memcpy(to, from, bytes); }); }
  quire::status write(std::byte* to, std::span<const std::byte> from) noexcept override {
    if (refuses) return {quire::errc::device, "copy", 0, 0, 0, 7};
    with({to}, [&] { std::memcpy(to, from.data(), from.size()); });
    return {};
  }
  quire::status read(const std::byte* from, std::span<std::byte> to) noexcept override {
    if (refuses) return {quire::errc::device, "copy", 0, 0, 0, 7};
    with({from}, [&] { std::memcpy(to.data(), from, to.size()); });
    return {};
  }
  quire::status failure() const noexcept override { return {}; }

  std::map<const std::byte*, std::size_t> held;  ///< what is allocated
  bool refuses = false;

 private:
  template <class F>
  void with(std::initializer_list<const std::byte*> where, F&& f) noexcept {
    open(where);
    f();
    close();
  }
  void open(std::initializer_list<const std::byte*> where) noexcept {
    for (const std::byte* p : where) {
      const auto i = std::prev(held.upper_bound(p));
      ::mprotect(const_cast<std::byte*>(i->first), i->second, PROT_READ | PROT_WRITE);
    }
  }
  void close() noexcept {
    for (const auto& [at, bytes] : held) ::mprotect(const_cast<std::byte*>(at), bytes, PROT_NONE);
  }
};

}  // namespace tier_test
