// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../axes.hpp"
#include "../id_table.hpp"

namespace quire::inline v0::schedule::order {

/// A planned order in which the members of a group (request::group) stand together. A group takes the rank of its first
/// member to arrive, or the place of the last group that started if that is later: what arrives afterwards can't cut
/// into a group that has started. Inside a group by rank, then arrival. A group is a group until its last member left:
/// cancelling or preempting members, even the first, changes no place. A request without a group is a group of one.
/// from: BatchLLM (arXiv:2412.03594); test: tests/schedule/order/prefix_grouped.cpp
class prefix_grouped {
 public:
  bool admit_before(const request& a, const request& b) const noexcept {
    if (a.so_far.mark != b.so_far.mark) {
      const family &x = families_[a.so_far.mark], &y = families_[b.so_far.mark];
      return x.place != y.place ? x.place < y.place : x.number < y.number;
    }
    return a.rank != b.rank ? a.rank < b.rank : a.arrival < b.arrival;
  }
  void prepare(std::uint32_t requests) {
    families_.resize(requests);
    free_.resize(requests);
    for (std::uint32_t i = 0; i < requests; ++i) free_[i] = requests - 1 - i;
    by_group_ = id_table(requests);
  }
  std::uint64_t arrived(const request& r) noexcept {
    std::uint32_t f = r.group == 0 ? id_table::none : by_group_.find(r.group);
    if (f == id_table::none) {
      f = free_.back();
      free_.pop_back();
      families_[f] = {std::max(r.rank, started_), ++arrivals_, 0};
      if (r.group != 0) by_group_.insert(r.group, f);
    }
    ++families_[f].members;
    return f;
  }
  void admitted(const request& r) noexcept { started_ = std::max(started_, families_[r.so_far.mark].place); }
  void preempted(const request&) noexcept {}
  void left(const request& r) noexcept {
    const auto f = static_cast<std::uint32_t>(r.so_far.mark);
    if (--families_[f].members != 0) return;
    if (r.group != 0) by_group_.erase(r.group);
    free_.push_back(f);
  }

 private:
  struct family {
    std::uint64_t place = 0, number = 0;
    std::uint32_t members = 0;
  };
  std::vector<family> families_;
  std::vector<std::uint32_t> free_;
  id_table by_group_{0};
  std::uint64_t started_ = 0, arrivals_ = 0;
};
static_assert(Order<prefix_grouped> && PreparedOrder<prefix_grouped> && ArrivalOrder<prefix_grouped> &&
              WatchingOrder<prefix_grouped>);

}  // namespace quire::inline v0::schedule::order
