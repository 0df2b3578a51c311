// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "../../core/config.hpp"

namespace quire::inline v0::serve::simulate {

/// Values of which quantiles are asked. Sorted on first use.
class samples {
 public:
  void add(double x) { values_.push_back(x), sorted_ = false; }
  void reserve(std::size_t n) { values_.reserve(n); }
  std::size_t size() const noexcept { return values_.size(); }
  double mean() const noexcept {
    double sum = 0;
    for (const double x : values_) sum += x;
    return values_.empty() ? nan : sum / static_cast<double>(values_.size());
  }
  /// The smallest value that a share q of all does not exceed (nearest rank); NaN of nothing.
  double quantile(double q) {
    if (values_.empty()) return nan;
    if (!sorted_) std::sort(values_.begin(), values_.end()), sorted_ = true;
    const auto n = static_cast<double>(values_.size());
    return values_[static_cast<std::size_t>(std::clamp(std::ceil(q * n) - 1, 0.0, n - 1))];
  }
  double worst() { return quantile(1); }
  /// Mean of the largest tenth: what a reader remembers of the pauses.
  double worst_tenth() {
    if (values_.empty()) return nan;
    static_cast<void>(quantile(1));
    const std::size_t n = (values_.size() + 9) / 10;
    double sum = 0;
    for (std::size_t i = values_.size() - n; i < values_.size(); ++i) sum += values_[i];
    return sum / static_cast<double>(n);
  }

 private:
  static constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> values_;
  bool sorted_ = true;
};

/// Mean and spread of a stream, without keeping it. from: Welford 1962
class moments {
 public:
  void add(double x) noexcept {
    const double d = x - mean_;
    mean_ += d / static_cast<double>(++count_);
    squares_ += d * (x - mean_);
  }
  std::uint64_t count() const noexcept { return count_; }
  double mean() const noexcept { return mean_; }
  double deviation() const noexcept { return count_ == 0 ? 0 : std::sqrt(squares_ / static_cast<double>(count_)); }
  /// Deviation over mean: 0 when every step is as full as the next.
  double variation() const noexcept { return mean_ == 0 ? 0 : deviation() / mean_; }

 private:
  std::uint64_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

/// When things happened to one request. Seconds; negative: not yet.
struct lifeline {
  double arrived = -1, scheduled = -1, first_token = -1, last_token = -1, finished = -1;
  double longest_gap = 0;    ///< between two of its tokens
  double preempted_for = 0;  ///< without pages after it had some, summed
  std::uint32_t tokens = 0;
  std::uint32_t preemptions = 0;
  bool failed = false;

  double time_to_first() const noexcept { return first_token - arrived; }
};

/// What a service promises about one request.
struct service_level {
  double first_token = std::numeric_limits<double>::infinity();  ///< seconds after arrival
  double gap = std::numeric_limits<double>::infinity();          ///< seconds between any two tokens
  bool met_by(const lifeline& l) const noexcept {
    return l.finished >= 0 && l.time_to_first() <= first_token && l.longest_gap <= gap;
  }
};

/// What a run of the simulation measured. Seconds and tokens.
struct report {
  double makespan = 0;  ///< end of the last step
  double busy = 0;      ///< steps, without waiting for transfers
  double stalled = 0;   ///< the machine waited for transfers though requests were there
  std::uint64_t steps = 0, finished = 0, failed = 0;
  std::uint64_t prompt_tokens = 0;  ///< of requests that finished
  std::uint64_t output_tokens = 0;
  std::uint64_t computed_tokens = 0;    ///< of all steps
  std::uint64_t recomputed_tokens = 0;  ///< of these, computed before and lost
  std::uint64_t preempted = 0, yielded = 0;
  std::uint32_t most_tokens = 0;  ///< of a step
  std::uint32_t most_running = 0;
  samples first_token, gap, delay, latency;  ///< delay: arrival to first step
  moments step_tokens, running;
  std::vector<lifeline> lives;  ///< by job
  double jain = 1;              ///< of the tenants' service
  double service_gap = 0;       ///< largest difference between two waiting tenants, tokens

  double output_rate() const noexcept { return makespan > 0 ? static_cast<double>(output_tokens) / makespan : 0; }
  double request_rate() const noexcept { return makespan > 0 ? static_cast<double>(finished) / makespan : 0; }
  /// Requests a second that kept the level.
  double goodput(const service_level& level) const noexcept {
    const auto kept = std::count_if(lives.begin(), lives.end(), [&](const lifeline& l) { return level.met_by(l); });
    return makespan > 0 ? static_cast<double>(kept) / makespan : 0;
  }
};

}  // namespace quire::inline v0::serve::simulate
