// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "../id_table.hpp"

namespace quire::inline v0::schedule::prefix {

/// What a cache of blocks that forgets the least recently used one would have found, prompt by prompt: the baseline of
/// a plan. A hit is the leading run of blocks that are there; then every block of the prompt is touched, the first one
/// first, and each one that is new pushes out the oldest when the cache is full. Partial last blocks are kept as well.
/// cost: O(1) for each block, no allocation after construction. Precondition: capacity from 1 to 2^32 - 3.
/// test: tests/schedule/prefix/lru_replay.cpp
class lru_replay {
 public:
  /// unit of capacity: blocks
  explicit lru_replay(std::uint32_t capacity) : entries_(std::size_t{capacity} + 1), index_(capacity) {
    QUIRE_ASSERT(capacity >= 1, "quire::schedule::prefix::lru_replay: capacity is 0, allowed 1 and more");
  }

  /// Serve a prompt. Returns how many of its leading blocks were there.
  std::size_t serve(std::span<const std::uint64_t> blocks) noexcept {
    std::size_t hit = 0;
    while (hit < blocks.size() && index_.find(blocks[hit]) != id_table::none) ++hit;
    for (const std::uint64_t b : blocks) touch(b);
    return hit;
  }
  std::uint32_t size() const noexcept { return used_; }

 private:
  struct entry {
    std::uint64_t block = 0;
    std::uint32_t newer = 0, older = 0;
  };

  void touch(std::uint64_t block) noexcept {
    std::uint32_t e = index_.find(block);
    if (e == id_table::none) {
      if (used_ + 1 < entries_.size()) {
        e = ++used_;
      } else {
        e = entries_[0].newer;  // entry 0 closes the ring: the oldest on one side, the newest on the other
        unlink(e);
        index_.erase(entries_[e].block);
      }
      entries_[e].block = block;
      index_.insert(block, e);
    } else {
      unlink(e);
    }
    entry& x = entries_[e];
    x.newer = 0;
    x.older = entries_[0].older;
    entries_[x.older].newer = e;
    entries_[0].older = e;
  }
  void unlink(std::uint32_t e) noexcept {
    entries_[entries_[e].newer].older = entries_[e].older;
    entries_[entries_[e].older].newer = entries_[e].newer;
  }

  std::vector<entry> entries_;
  id_table index_;
  std::uint32_t used_ = 0;
};

}  // namespace quire::inline v0::schedule::prefix
