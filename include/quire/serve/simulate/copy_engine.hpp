// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "../../core/config.hpp"

namespace quire::inline v0::serve::simulate {

/// One direction of a link between two memories, driven by one thread: each copy is launched, then its bytes pass,
/// one after the other. A job of n copies takes n·launch + bytes / bandwidth from when the engine is free. Seconds.
/// cost: arithmetic only. test: tests/serve/simulate/copy_engine.cpp
class copy_engine {
 public:
  struct options {
    double bytes_per_second = 25e9;  ///< above 0; PCIe 4.0 x16 gives about this
    double launch = 5e-6;            ///< of one copy
  };
  explicit constexpr copy_engine(options o) noexcept : o_(o) {}

  /// Hand in copies at `now`; answers when the last byte has arrived.
  constexpr double copy(double now, std::uint64_t bytes, std::uint64_t copies) noexcept {
    const double seconds = static_cast<double>(copies) * o_.launch + static_cast<double>(bytes) / o_.bytes_per_second;
    busy_ += seconds;
    return free_at_ = std::max(now, free_at_) + seconds;
  }
  constexpr double free_at() const noexcept { return free_at_; }
  constexpr double busy() const noexcept { return busy_; }  ///< summed over all jobs

 private:
  options o_;
  double free_at_ = 0, busy_ = 0;
};

}  // namespace quire::inline v0::serve::simulate
