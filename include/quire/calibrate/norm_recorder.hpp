// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../core/config.hpp"

namespace quire::inline v0::calibrate {

/// Sees each raw gradient once, before the optimizer changes anything (calibrate/optimizer.hpp).
template <class O, class T>
concept GradientObserver = requires(O o, std::span<const T> gradient) { o.observe(gradient); };

/// No observation wanted; compiles away.
struct no_observer {
  template <class T>
  void observe(std::span<const T>) const noexcept {}
};
static_assert(GradientObserver<no_observer, float>);

/// Keeps the l1 and l2 norms of the gradients of a run of any length in fixed room: sample i is step i · stride. When the
/// room is full every second sample goes and the stride doubles, so between half and all of the room is in use.
/// unit: norms of the whole gradient, summed in double; cost: O(1) a step on average, besides the norms; memory: 16 bytes a
/// sample, allocated by the constructor only. One thread at a time.
/// test: tests/calibrate/norm_recorder.cpp
class norm_recorder {
 public:
  /// Room for `capacity` samples, at least 2 and rounded up to an even number.
  explicit norm_recorder(std::uint32_t capacity = 10000) : capacity_(capacity < 2 ? 2 : capacity + capacity % 2) {
    l1_.reserve(capacity_);
    l2_.reserve(capacity_);
  }

  template <std::floating_point T>
  void observe(std::span<const T> gradient) noexcept {
    if (!due()) return static_cast<void>(++steps_);
    double l1 = 0, squares = 0;
    for (const T g : gradient) {
      const auto x = static_cast<double>(g);
      l1 += std::fabs(x);
      squares += x * x;
    }
    record(l1, std::sqrt(squares));
  }
  void record(double l1, double l2) noexcept {
    if (due()) {
      if (l1_.size() == capacity_) thin();
      if (due()) {
        l1_.push_back(l1);
        l2_.push_back(l2);
      }
    }
    ++steps_;
  }
  void clear() noexcept {
    l1_.clear();
    l2_.clear();
    stride_ = 1;
    steps_ = 0;
  }

  std::span<const double> l1() const noexcept { return l1_; }
  std::span<const double> l2() const noexcept { return l2_; }
  std::uint64_t stride() const noexcept { return stride_; }
  std::uint64_t steps() const noexcept { return steps_; }
  std::uint32_t capacity() const noexcept { return capacity_; }

 private:
  bool due() const noexcept { return (steps_ & (stride_ - 1)) == 0; }  // the stride is a power of two
  void thin() noexcept {
    for (std::uint32_t i = 0; i < capacity_ / 2; ++i) l1_[i] = l1_[2 * std::size_t{i}], l2_[i] = l2_[2 * std::size_t{i}];
    l1_.resize(capacity_ / 2);
    l2_.resize(capacity_ / 2);
    stride_ *= 2;
  }

  std::uint32_t capacity_;
  std::uint64_t stride_ = 1, steps_ = 0;
  std::vector<double> l1_, l2_;
};
static_assert(GradientObserver<norm_recorder, float> && GradientObserver<norm_recorder, double>);

}  // namespace quire::inline v0::calibrate
