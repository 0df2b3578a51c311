// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../id_table.hpp"

namespace quire::inline v0::schedule::prefix {

/// How many tokens a request will generate, guessed from what its task generated before: the mean of what finished, and
/// max_new_tokens, which is all that is known at first, before. A task is whatever the caller groups by (an endpoint,
/// a prompt template). Tasks beyond the capacity keep the first guess.
/// cost: O(1), no allocation after construction. test: tests/schedule/prefix/decode_estimate.cpp
class decode_estimate {
 public:
  explicit decode_estimate(std::uint32_t most_tasks) : index_(most_tasks), most_(most_tasks) {
    seen_.reserve(most_tasks);
  }

  /// Expected tokens, from 1 to max_new_tokens.
  double operator()(std::uint64_t task, std::uint32_t max_new_tokens) const noexcept {
    const std::uint32_t i = index_.find(task);
    const auto most = static_cast<double>(max_new_tokens);
    return i == id_table::none ? most : std::min(seen_[i].mean, most);
  }
  /// A request of a task has generated `tokens` and ended by itself or at its limit.
  void observe(std::uint64_t task, std::uint32_t tokens) {
    std::uint32_t i = index_.find(task);
    if (i == id_table::none) {
      if (seen_.size() == most_) return;
      i = static_cast<std::uint32_t>(seen_.size());
      index_.insert(task, i);
      seen_.push_back({});
    }
    history& h = seen_[i];
    ++h.count;
    h.mean += (static_cast<double>(tokens) - h.mean) / static_cast<double>(h.count);
  }

 private:
  struct history {
    double mean = 0;
    std::uint64_t count = 0;
  };
  id_table index_;
  std::vector<history> seen_;
  std::uint32_t most_;
};

}  // namespace quire::inline v0::schedule::prefix
