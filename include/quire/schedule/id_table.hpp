// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "../core/config.hpp"

namespace quire::inline v0::schedule {

/// Map from 64-bit ids to small indices that allocates only in its constructor. Linear probing, deletion by shifting
/// back, at most half full: all operations O(1) expected. Holds at most `capacity` ids (precondition of `insert`).
class id_table {
 public:
  static constexpr std::uint32_t none = 0xffffffffu;

  explicit id_table(std::uint32_t capacity)
      : cells_(std::bit_ceil(std::uint64_t{capacity} * 2 + 2)), mask_(cells_.size() - 1) {}

  std::uint32_t find(std::uint64_t id) const noexcept {
    for (std::uint64_t i = home(id); cells_[i].index != none; i = (i + 1) & mask_)
      if (cells_[i].id == id) return cells_[i].index;
    return none;
  }
  /// Precondition: `id` is absent and fewer than `capacity` ids are present. `index` is not `none`.
  void insert(std::uint64_t id, std::uint32_t index) noexcept {
    std::uint64_t i = home(id);
    while (cells_[i].index != none) i = (i + 1) & mask_;
    cells_[i] = {id, index};
  }
  /// Change the index of an id that is present.
  void assign(std::uint64_t id, std::uint32_t index) noexcept {
    for (std::uint64_t i = home(id); cells_[i].index != none; i = (i + 1) & mask_)
      if (cells_[i].id == id) {
        cells_[i].index = index;
        return;
      }
  }
  void erase(std::uint64_t id) noexcept {
    std::uint64_t i = home(id);
    while (cells_[i].index != none && cells_[i].id != id) i = (i + 1) & mask_;
    if (cells_[i].index == none) return;
    for (std::uint64_t j = (i + 1) & mask_; cells_[j].index != none; j = (j + 1) & mask_) {
      // the cell at j may move back to the hole at i only if its home does not lie after the hole
      if (((j - home(cells_[j].id)) & mask_) < ((j - i) & mask_)) continue;
      cells_[i] = cells_[j];
      i = j;
    }
    cells_[i] = {};
  }

 private:
  struct cell {
    std::uint64_t id = 0;
    std::uint32_t index = none;
  };
  std::uint64_t home(std::uint64_t x) const noexcept {  // ids are often consecutive: mix before masking
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) & mask_;
  }

  std::vector<cell> cells_;
  std::uint64_t mask_;
};

}  // namespace quire::inline v0::schedule
