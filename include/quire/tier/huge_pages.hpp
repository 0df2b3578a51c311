// SPDX-License-Identifier: Apache-2.0
// Memory for caches and weights: large, aligned, in the system's large pages where it has them.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace quire::inline v0::tier {

/// One stretch of bytes with one owner. From 2 MiB on it asks the system for large pages: a page table of small ones costs
/// a random walk over a cache an eighth of its speed, since every few lines need another address looked up.
/// test: tests/tier/huge_pages.cpp
class huge_block {
 public:
  static constexpr std::size_t small_page = 4096, large_page = std::size_t{2} << 20;

  huge_block() = default;
  /// Uninitialised. throws std::bad_alloc. The system gives memory when it is first written.
  explicit huge_block(std::size_t bytes) {
    if (bytes == 0) return;
    const std::align_val_t alignment{bytes < large_page ? small_page : large_page};
    data_ = {static_cast<std::byte*>(::operator new(bytes, alignment)), give_back{alignment}};
#if defined(__linux__)
    if (bytes >= large_page) static_cast<void>(::madvise(data_.get(), bytes / large_page * large_page, MADV_HUGEPAGE));  // a hint: may be refused
#endif
  }
  std::byte* data() const noexcept { return data_.get(); }

 private:
  struct give_back {
    std::align_val_t alignment;  // that of `new`
    void operator()(std::byte* p) const noexcept { ::operator delete(p, alignment); }
  };
  std::unique_ptr<std::byte, give_back> data_;
};

}  // namespace quire::inline v0::tier
