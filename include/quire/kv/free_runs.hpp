// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "../core/config.hpp"

namespace quire::inline v0::kv {

namespace detail {

/// A set of numbers below `size`: bits, and above them bits that say which words are not empty.
/// cost: every operation looks at one word of each of log64(size) levels.
class number_set {
 public:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  number_set() = default;
  explicit number_set(std::uint32_t size) {
    do {
      size = (size + 63) / 64;
      levels_.emplace_back(size);
    } while (size > 1);
  }
  void insert(std::uint32_t n) noexcept {
    for (auto& words : levels_) words[n / 64] |= std::uint64_t{1} << n % 64, n /= 64;
  }
  void erase(std::uint32_t n) noexcept {
    for (auto& words : levels_) {
      if ((words[n / 64] &= ~(std::uint64_t{1} << n % 64)) != 0) return;
      n /= 64;
    }
  }
  /// The least member >= n, or `none`.
  std::uint32_t at_or_after(std::uint32_t n) const noexcept {
    for (std::size_t level = 0; level < levels_.size(); ++level, n = n / 64 + 1) {
      if (n / 64 >= levels_[level].size()) return none;
      if (const std::uint64_t later = levels_[level][n / 64] >> n % 64; later != 0) {
        n += static_cast<std::uint32_t>(std::countr_zero(later));
        while (level-- != 0) n = n * 64 + static_cast<std::uint32_t>(std::countr_zero(levels_[level][n]));
        return n;
      }
    }
    return none;
  }
  /// The greatest member, or `none`.
  std::uint32_t last() const noexcept {
    if (levels_.empty() || levels_.back()[0] == 0) return none;
    std::uint32_t n = 0;
    for (std::size_t level = levels_.size(); level-- != 0;) n = n * 64 + 63 - static_cast<std::uint32_t>(std::countl_zero(levels_[level][n]));
    return n;
  }

 private:
  std::vector<std::vector<std::uint64_t>> levels_;
};

}  // namespace detail

/// Runs of adjacent slots in a list of slots; `none` entries are passed over. What a swap copies at once is such a run.
inline std::uint32_t count_runs(std::span<const std::uint32_t> slots) noexcept {
  std::uint32_t runs = 0, next = detail::number_set::none;
  for (const std::uint32_t s : slots) {
    if (s == detail::number_set::none) continue;
    runs += s != next;
    next = s + 1;
  }
  return runs;
}

/// Which of `slots` equal slots are free, kept so that the slots of one owner lie side by side. An owner takes slots from its
/// group, a run with an unused rest; the rest is still free memory, and is taken from its end when nothing else is left. So
/// groups only bias where slots lie, never how many there are. Freed neighbours merge.
/// One thread at a time. No allocation after construction; 24 bytes a slot.
/// cost: O(log slots) each. from: block groups of FastSwitch (arXiv:2411.18424); test: tests/kv/free_runs.cpp
class free_runs {
 public:
  static constexpr std::uint32_t none = detail::number_set::none;

  free_runs() = default;
  /// throws std::bad_alloc. Owners are numbers below `owners`.
  free_runs(std::uint32_t slots, std::uint32_t owners)
      : length_(slots, 1), group_(slots, none), before_(slots, none), after_(slots, none), owners_(owners), free_(slots), open_(slots), rests_(slots) {
    if (slots != 0) insert(0, slots, none);
  }

  std::uint32_t slots() const noexcept { return static_cast<std::uint32_t>(length_.size()); }
  /// Free slots, unused rests of groups included.
  std::uint32_t free() const noexcept { return free_; }
  bool is_free(std::uint32_t slot) const noexcept { return length_[slot] != 0; }
  /// Slots of the longest free run outside all groups.
  std::uint32_t longest() const noexcept {
    const std::uint32_t n = open_.lengths.last();
    return n == none ? 0 : n;
  }

  /// A slot, or `none` when there is none. With an owner: the next one of its group, or of a new group of up to `want` slots,
  /// which is placed right behind the last slot if that is free, else in the smallest run that has `want`, else in the
  /// longest run, else in half of the longest rest of another group.
  std::uint32_t acquire(std::uint32_t owner = none, std::uint32_t want = 1) noexcept {
    if (free_ == 0) return none;
    std::uint32_t slot = none;
    if (owner != none && has_rest(owner)) {
      slot = owners_[owner].next;
    } else {
      slot = place(owner, owner == none || want == 0 ? 1 : want);
      if (owner != none) owners_[owner].begin = slot;
    }
    take_first(slot);
    if (owner != none) owners_[owner].next = slot + 1;
    --free_;
    return slot;
  }
  /// precondition: `slot` is not free.
  void release(std::uint32_t slot) noexcept {
    QUIRE_ASSERT(!is_free(slot), "quire::kv::free_runs: a free slot is released");
    ++free_;
    length_[slot] = 1;
    if (slot + 1 < slots() && is_free(slot + 1) && group_[slot + 1] != none) {
      const std::uint32_t owner = group_[slot + 1];
      if (slot >= owners_[owner].begin) {  // the group's newest slot: its rest grows again
        const std::uint32_t n = length_[slot + 1];
        remove(slot + 1);
        owners_[owner].next = slot;
        return insert(slot, n + 1, owner);
      }
    }
    open(slot, 1);
  }
  /// The unused rest of the owner's group becomes everybody's; its next slot starts a group of its own.
  void leave(std::uint32_t owner) noexcept {
    if (has_rest(owner)) {
      const std::uint32_t start = owners_[owner].next, n = length_[start];
      remove(start);
      open(start, n);
    }
    owners_[owner] = {};
  }

  /// Walks every invariant.
  bool check() const noexcept {
    std::uint32_t found = 0;
    bool was_open = false;
    for (std::uint32_t s = 0; s < slots();) {
      if (!is_free(s)) {
        was_open = false, ++s;
        continue;
      }
      const std::uint32_t n = length_[s], owner = group_[s];
      if (n > slots() - s || length_[s + n - 1] != n || group_[s + n - 1] != owner) return false;
      for (std::uint32_t i = s; i < s + n; ++i)
        if (!is_free(i)) return false;
      if (owner != none && (owners_[owner].next != s || owners_[owner].begin > s)) return false;
      if (owner == none && was_open) return false;  // neighbours that did not merge
      const index& at = owner == none ? open_ : rests_;
      std::uint32_t in_list = at.first[n];
      while (in_list != none && in_list != s) in_list = after_[in_list];
      if (in_list != s || at.lengths.at_or_after(n) != n) return false;
      was_open = owner == none;
      found += n, s += n;
    }
    return found == free_;
  }

 private:
  /// Runs by length: lists of starts, and the set of lengths that have one.
  struct index {
    index() = default;
    explicit index(std::uint32_t slots) : first(slots == 0 ? 0 : slots + 1, none), lengths(slots == 0 ? 0 : slots + 1) {}
    std::vector<std::uint32_t> first;
    detail::number_set lengths;
  };
  struct group {
    std::uint32_t begin = none, next = none;  ///< first slot, the slot after the newest one
  };

  bool has_rest(std::uint32_t owner) const noexcept {
    const std::uint32_t next = owners_[owner].next;
    return next < slots() && is_free(next) && group_[next] == owner;
  }
  index& index_of(std::uint32_t owner) noexcept { return owner == none ? open_ : rests_; }

  void insert(std::uint32_t start, std::uint32_t n, std::uint32_t owner) noexcept {
    index& at = index_of(owner);
    length_[start] = length_[start + n - 1] = n;
    group_[start] = group_[start + n - 1] = owner;
    before_[start] = none, after_[start] = at.first[n];
    if (at.first[n] != none) before_[at.first[n]] = start;
    else at.lengths.insert(n);
    at.first[n] = start;
  }
  void remove(std::uint32_t start) noexcept {
    const std::uint32_t n = length_[start];
    index& at = index_of(group_[start]);
    if (after_[start] != none) before_[after_[start]] = before_[start];
    if (before_[start] != none) after_[before_[start]] = after_[start];
    else if ((at.first[n] = after_[start]) == none) at.lengths.erase(n);
    group_[start] = group_[start + n - 1] = none;
  }
  /// Makes [start, start + n), which is in no list, a run of everybody's.
  void open(std::uint32_t start, std::uint32_t n) noexcept {
    if (const std::uint32_t right = start + n; right < slots() && is_free(right) && group_[right] == none) {
      n += length_[right];
      remove(right);
    }
    if (start != 0 && is_free(start - 1) && group_[start - 1] == none) {
      const std::uint32_t more = length_[start - 1];
      start -= more, n += more;
      remove(start);
    }
    insert(start, n, none);
  }
  void take_first(std::uint32_t start) noexcept {
    const std::uint32_t n = length_[start], owner = group_[start];
    remove(start);
    length_[start] = 0;
    if (n > 1) insert(start + 1, n - 1, owner);
  }
  /// A run of at most `want` slots that belongs to `owner` from now on; answers its start. precondition: free() != 0.
  std::uint32_t place(std::uint32_t owner, std::uint32_t want) noexcept {
    const std::uint32_t next = owner == none ? none : owners_[owner].next;
    std::uint32_t start = none;
    if (next != 0 && next < slots() && !is_free(next - 1) && is_free(next) && group_[next] == none) {
      start = next;
    } else {
      std::uint32_t n = want <= slots() ? open_.lengths.at_or_after(want) : none;
      if (n == none) n = open_.lengths.last();
      if (n != none) start = open_.first[n];
    }
    if (start != none) {
      const std::uint32_t n = length_[start], kept = n < want ? n : want;
      remove(start);
      if (n > kept) insert(start + kept, n - kept, none);
      insert(start, kept, owner);
      return start;
    }
    const std::uint32_t n = rests_.lengths.last(), from = rests_.first[n], other = group_[from], half = (n + 1) / 2, taken = half < want ? half : want;
    remove(from);
    if (n > taken) insert(from, n - taken, other);
    insert(from + n - taken, taken, owner);
    return from + n - taken;
  }

  std::vector<std::uint32_t> length_;          ///< [slot] 0: taken; at both ends of a free run its length
  std::vector<std::uint32_t> group_;           ///< [slot] at both ends of an unused rest its owner, else `none`
  std::vector<std::uint32_t> before_, after_;  ///< [start of a run] neighbours in its list
  std::vector<group> owners_;
  std::uint32_t free_ = 0;
  index open_, rests_;
};

}  // namespace quire::inline v0::kv
