// SPDX-License-Identifier: Apache-2.0
// Dealing: who folds which pieces. Pieces 0..n-1 are the leaves of one fixed binary tree (node (level, index) covers
// pieces [index·2^level, (index+1)·2^level)), whatever the number of workers, so results never depend on the dealing.
#pragma once

#include <bit>
#include <cstdint>

#include "config.hpp"

namespace quire::inline v0 {

/// Half-open range of piece, tile or row indices.
struct range {
  std::uint64_t begin = 0, end = 0;
  QUIRE_HD constexpr std::uint64_t size() const noexcept { return end - begin; }
  QUIRE_HD constexpr bool empty() const noexcept { return begin >= end; }
  friend bool operator==(const range&, const range&) = default;
};

QUIRE_HD constexpr range intersect(range a, range b) noexcept {
  const range r{a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
  return r.begin < r.end ? r : range{r.begin, r.begin};
}

/// Share of `worker` when `total` units are cut into `workers` contiguous ranges that differ by at most one unit.
/// `grain` > 1 keeps every cut but the last at a multiple of it.
/// from: stream-K (arXiv:2301.03598), LeanAttention (arXiv:2405.10480)
QUIRE_HD constexpr range deal(std::uint64_t total, std::uint32_t workers, std::uint32_t worker, std::uint32_t grain = 1) noexcept {
  const std::uint64_t units = (total + grain - 1) / grain;
  const auto cut = [&](std::uint64_t w) {
    const std::uint64_t c = units * w / workers * grain;
    return c < total ? c : total;
  };
  return {cut(worker), cut(worker + std::uint64_t{1})};
}

/// A node of the merge tree.
struct tree_node {
  std::uint32_t level = 0;
  std::uint64_t index = 0;
  QUIRE_HD constexpr range pieces() const noexcept { return {index << level, (index + 1) << level}; }
  QUIRE_HD constexpr tree_node left() const noexcept { return {level - 1, index * 2}; }
  QUIRE_HD constexpr tree_node right() const noexcept { return {level - 1, index * 2 + 1}; }
  friend bool operator==(const tree_node&, const tree_node&) = default;
};

/// The largest aligned subtree that starts at r.begin and stays inside r. Cutting a range this way, again and again,
/// gives the maximal aligned subtrees a worker may write.
QUIRE_HD constexpr tree_node first_subtree(range r) noexcept {
  const int room = std::bit_width(r.size()) - 1;
  const int aligned = r.begin == 0 ? 63 : std::countr_zero(r.begin);
  const auto level = static_cast<std::uint32_t>(room < aligned ? room : aligned);
  return {level, r.begin >> level};
}

/// The root of the smallest tree over pieces [0, n); pieces past n are the identity.
QUIRE_HD constexpr tree_node root(std::uint64_t n) noexcept {
  return {n <= 1 ? 0u : static_cast<std::uint32_t>(std::bit_width(n - 1)), 0};
}

}  // namespace quire::inline v0
