// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "../../core/config.hpp"

namespace quire::inline v0::serve::simulate {

/// When batches of equal copies land on a link with one issuing thread and a direction each way: what
/// tier::virtual_link answers copy by copy, for a whole batch at once and without keeping its copies. Launches of later
/// copies overlap the bytes of earlier ones, so n copies of s seconds take max(n·launch + s, launch + n·s) on an idle
/// link. Seconds. cost: arithmetic only. test: tests/serve/simulate/copy_engine.cpp
class copy_engine {
 public:
  struct options {
    double bytes_per_second = 25e9;  ///< of each direction, above 0; PCIe 4.0 x16 gives about this
    double launch = 5e-6;            ///< of one copy
  };
  enum class way : std::uint8_t { out, in };

  explicit constexpr copy_engine(options o) noexcept : o_(o) {}

  /// Hand in copies at `now`; answers when the last byte has arrived.
  constexpr double copy(way w, double now, std::uint64_t bytes, std::uint64_t copies) noexcept {
    double& until = until_[static_cast<std::uint32_t>(w)];
    if (copies == 0) return std::max(now, until);
    const double all = static_cast<double>(bytes) / o_.bytes_per_second, one = all / static_cast<double>(copies);
    const double begin = std::max(issuing_, now);
    issuing_ = begin + static_cast<double>(copies) * o_.launch;
    busy_ += all;
    return until = std::max({until + all, begin + o_.launch + all, issuing_ + one});
  }
  /// When all that was handed in has landed.
  constexpr double idle_at() const noexcept { return std::max(until_[0], until_[1]); }
  constexpr double busy() const noexcept { return busy_; }  ///< seconds in which bytes moved, both ways summed

 private:
  options o_;
  double until_[2]{}, issuing_ = 0, busy_ = 0;
};

}  // namespace quire::inline v0::serve::simulate
