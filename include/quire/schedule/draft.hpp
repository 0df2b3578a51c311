// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "slot.hpp"
#include "step.hpp"

namespace quire::inline v0::schedule::detail {

/// The step that is being put together, then the one that is out.
class draft {
 public:
  explicit draft(std::uint32_t seats) {
    entries_.reserve(seats);
    owners_.reserve(seats);
  }
  void begin() noexcept {
    entries_.clear();
    owners_.clear();
    tokens_ = prompts_ = 0;
    cost_ = 0;
    ++number_;
  }
  void add(std::uint32_t s, slot& x, std::uint32_t count, std::uint64_t cost) {
    const bool decode = x.decoding();
    entries_.push_back(
        {x.r.id, x.r.so_far.computed, count, decode ? phase::decode : phase::prefill, count == x.left()});
    owners_.push_back({s, x.ticket, cost});
    x.planned_in = number_;
    tokens_ += count;
    cost_ += cost;
    prompts_ += !decode;
  }
  void drop(std::uint32_t s, slot& x) {
    if (x.planned_in != number_) return;
    const auto at = std::find_if(owners_.begin(), owners_.end(), [s](const planned& p) { return p.slot == s; });
    const auto entry = entries_.begin() + (at - owners_.begin());
    tokens_ -= entry->count;
    cost_ -= at->cost;
    prompts_ -= entry->phase == phase::prefill;
    owners_.erase(at);
    entries_.erase(entry);
    x.planned_in = 0;
  }

  bool empty() const noexcept { return entries_.empty(); }
  std::uint32_t tokens() const noexcept { return tokens_; }
  std::uint64_t cost() const noexcept { return cost_; }        ///< of all entries; at least their tokens
  std::uint32_t prompts() const noexcept { return prompts_; }  ///< entries with prompt tokens
  std::uint64_t number() const noexcept { return number_; }
  const std::vector<entry>& entries() const noexcept { return entries_; }
  const std::vector<planned>& owners() const noexcept { return owners_; }

 private:
  std::vector<entry> entries_;
  std::vector<planned> owners_;
  std::uint64_t number_ = 0;
  std::uint64_t cost_ = 0;
  std::uint32_t tokens_ = 0, prompts_ = 0;
};

}  // namespace quire::inline v0::schedule::detail
