// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "../core/status.hpp"

namespace quire::inline v0::kv {

/// Equal pages with reference counts in one arena. Not copyable. One thread at a time may call non-const members.
/// cost: every operation constant time, no allocation after construction. test: tests/kv/pool.cpp
class page_pool {
 public:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  page_pool() = default;
  /// throws std::bad_alloc. Memory is taken from the system when a page is first written.
  page_pool(std::uint32_t pages, std::size_t page_bytes) : page_bytes_(page_bytes), references_(pages, 0) {
    free_.reserve(pages);
    for (std::uint32_t p = pages; p != 0; --p) free_.push_back(p - 1);
    if (pages != 0 && page_bytes != 0)
      arena_.reset(static_cast<std::byte*>(::operator new(page_bytes * pages, std::align_val_t{alignment})));
  }

  std::uint32_t pages() const noexcept { return static_cast<std::uint32_t>(references_.size()); }
  std::uint32_t free_pages() const noexcept { return static_cast<std::uint32_t>(free_.size()); }
  std::size_t page_bytes() const noexcept { return page_bytes_; }
  std::byte* base() const noexcept { return arena_.get(); }
  std::byte* page(std::uint32_t p) const noexcept { return arena_.get() + p * page_bytes_; }
  std::uint32_t references(std::uint32_t p) const noexcept { return references_[p]; }

  /// A page with one reference, or `none` when there is no free page.
  std::uint32_t acquire() noexcept {
    if (free_.empty()) return none;
    const std::uint32_t p = free_.back();
    free_.pop_back();
    references_[p] = 1;
    return p;
  }
  void share(std::uint32_t p) noexcept {
    QUIRE_ASSERT(references_[p] > 0, "quire::kv::page_pool: a free page cannot be shared");
    ++references_[p];
  }
  void release(std::uint32_t p) noexcept {
    QUIRE_ASSERT(references_[p] > 0, "quire::kv::page_pool: page released twice");
    if (--references_[p] == 0) free_.push_back(p);
  }

  /// Releases what a table names from entry `size` on; entries may be `none`.
  void shrink(std::vector<std::uint32_t>& table, std::size_t size) noexcept {
    for (; table.size() > size; table.pop_back())
      if (table.back() != none) release(table.back());
  }

  /// Whether the free list and the counts agree with `held`, the references found by walking every owner.
  bool check(const std::vector<std::uint32_t>& held) const {
    if (held.size() != references_.size()) return false;
    std::vector<bool> seen(references_.size(), false);
    for (std::uint32_t p : free_) {
      if (p >= references_.size() || seen[p] || references_[p] != 0) return false;
      seen[p] = true;
    }
    for (std::size_t p = 0; p < references_.size(); ++p)
      if (references_[p] != held[p] || (references_[p] == 0) != seen[p]) return false;
    return true;
  }

 private:
  static constexpr std::size_t alignment = 4096;
  struct free_arena {
    void operator()(std::byte* p) const noexcept { ::operator delete(p, std::align_val_t{alignment}); }
  };
  std::size_t page_bytes_ = 0;
  std::unique_ptr<std::byte, free_arena> arena_;
  std::vector<std::uint32_t> references_;
  std::vector<std::uint32_t> free_;
};

}  // namespace quire::inline v0::kv
