// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "link.hpp"

namespace quire::inline v0::tier {

struct virtual_link_options {
  double launch_seconds = 5e-6;                       ///< of the issuing thread, for every copy of either direction
  double bytes_per_second[lanes] = {25e9, 25e9};      ///< out, in
  std::uint32_t copies = 1024;                        ///< started and not landed, of one direction
};

/// A link in simulated time that moves no bytes. One thread issues all copies, one after another; a direction carries one copy at
/// a time and both directions work at once. A copy lands at max(issued, direction free) + bytes / bandwidth, so n equal copies
/// cost max(n·launch + bytes / B, launch + n·bytes / B). Landings are exact to the caller's `now`.
/// cost: constant; no allocation after construction. throws (constructor): std::bad_alloc.
/// from: FastSwitch (arXiv:2411.18424); test: tests/tier/virtual_link.cpp
class virtual_link {
 public:
  explicit virtual_link(const virtual_link_options& options = {}) : options_(options) {
    for (auto& way : ways_) way.moving.resize(options.copies == 0 ? 1 : options.copies);
  }
  bool start(std::uint32_t id, const copy& c, double now) noexcept {
    direction& way = ways_[static_cast<std::uint32_t>(c.way)];
    if (way.begin + way.moving.size() == way.end) return false;
    const double seconds = static_cast<double>(c.bytes) / options_.bytes_per_second[static_cast<std::uint32_t>(c.way)];
    issuing_ = std::max(issuing_, now) + options_.launch_seconds;
    way.until = std::max(issuing_, way.until) + seconds;
    way.busy += seconds;
    way.moving[way.end++ % way.moving.size()] = {way.until, id};
    return true;
  }
  std::optional<landing> poll(double now) noexcept {
    direction& way = ways_[0].next() <= ways_[1].next() ? ways_[0] : ways_[1];
    if (way.next() > now) return std::nullopt;
    return landing{way.moving[way.begin++ % way.moving.size()].id, {}};
  }
  double wait(double now) noexcept { return std::max(now, next()); }

  /// When the next copy lands; infinity when none is under way.
  double next() const noexcept { return std::min(ways_[0].next(), ways_[1].next()); }
  /// Seconds in which a direction moved bytes, copies under way counted in full.
  double busy_seconds(lane way) const noexcept { return ways_[static_cast<std::uint32_t>(way)].busy; }

 private:
  struct flight {
    double lands = 0;
    std::uint32_t id = 0;
  };
  struct direction {
    std::vector<flight> moving;  ///< ring: copies of one direction land in order
    std::uint64_t begin = 0, end = 0;
    double until = 0, busy = 0;
    double next() const noexcept { return begin == end ? std::numeric_limits<double>::infinity() : moving[begin % moving.size()].lands; }
  };
  virtual_link_options options_;
  direction ways_[lanes];
  double issuing_ = 0;
};
static_assert(Link<virtual_link>);

}  // namespace quire::inline v0::tier
