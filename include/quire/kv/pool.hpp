// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../core/status.hpp"
#include "../tier/memory.hpp"
#include "free_runs.hpp"

namespace quire::inline v0::kv {

/// Equal pages with reference counts in one arena; pages of one owner lie side by side where they can (kv/free_runs.hpp).
/// With no bytes a page it counts slots that lie elsewhere. Not copyable. One thread at a time may call non-const members.
/// The arena is host memory or another (tier/memory.hpp), whose bytes the host reaches by `clear`, `copy`, `read` and `write` alone.
/// cost: acquire and the last release O(log pages), the rest constant; no allocation after construction. test: tests/kv/pool.cpp
class page_pool {
 public:
  static constexpr std::uint32_t none = free_runs::none;

  page_pool() = default;
  /// throws std::bad_alloc. `where` outlives the pool; null: the host.
  page_pool(std::uint32_t pages, std::size_t page_bytes, std::uint32_t owners = 0, tier::memory* where = nullptr)
      : page_bytes_(page_bytes), arena_(page_bytes * pages, where), references_(pages, 0), free_(pages, owners) {}

  std::uint32_t pages() const noexcept { return static_cast<std::uint32_t>(references_.size()); }
  std::uint32_t free_pages() const noexcept { return free_.free(); }
  std::size_t page_bytes() const noexcept { return page_bytes_; }
  std::byte* base() const noexcept { return arena_.data(); }
  std::byte* page(std::uint32_t p) const noexcept { return arena_.data() + p * page_bytes_; }
  bool on_host() const noexcept { return arena_.on_host(); }
  void clear(std::uint32_t p) const noexcept { arena_.clear(page(p), page_bytes_); }
  /// The first `bytes` from `at` of a page on, from anywhere in the same memory.
  void copy(std::uint32_t p, std::size_t at, const std::byte* from, std::size_t bytes) const noexcept { arena_.copy(page(p) + at, from, bytes); }
  /// A whole page to the host and back. precondition: as many bytes; fails: device.
  status read(std::uint32_t p, std::span<std::byte> to) const noexcept { return arena_.read(page(p), to); }
  status write(std::uint32_t p, std::span<const std::byte> from) const noexcept { return arena_.write(page(p), from); }
  std::uint32_t references(std::uint32_t p) const noexcept { return references_[p]; }

  /// A page with one reference, or `none` when there is no free page. An owner's pages come from its group, a run that is
  /// opened with up to `want` pages; without an owner the page is a group of its own.
  std::uint32_t acquire(std::uint32_t owner = none, std::uint32_t want = 1) noexcept {
    const std::uint32_t p = free_.acquire(owner, want);
    if (p != none) references_[p] = 1;
    return p;
  }
  /// What is unused of the owner's group becomes everybody's.
  void leave(std::uint32_t owner) noexcept { free_.leave(owner); }
  void share(std::uint32_t p) noexcept {
    QUIRE_ASSERT(references_[p] > 0, "quire::kv::page_pool: a free page cannot be shared");
    ++references_[p];
  }
  void release(std::uint32_t p) noexcept {
    QUIRE_ASSERT(references_[p] > 0, "quire::kv::page_pool: page released twice");
    if (--references_[p] == 0) free_.release(p);
  }

  /// Releases what a table names from entry `size` on; entries may be `none`.
  void shrink(std::vector<std::uint32_t>& table, std::size_t size) noexcept {
    for (; table.size() > size; table.pop_back())
      if (table.back() != none) release(table.back());
  }

  /// Whether the free runs and the counts agree with `held`, the references found by walking every owner.
  bool check(const std::vector<std::uint32_t>& held) const {
    if (held != references_ || !free_.check()) return false;
    for (std::uint32_t p = 0; p < pages(); ++p)
      if ((references_[p] == 0) != free_.is_free(p)) return false;
    return true;
  }

 private:
  std::size_t page_bytes_ = 0;
  tier::arena arena_;
  std::vector<std::uint32_t> references_;
  free_runs free_;
};

}  // namespace quire::inline v0::kv
