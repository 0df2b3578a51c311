// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "../../schedule/axes.hpp"
#include "random.hpp"

namespace quire::inline v0::serve::simulate {

/// Priorities that change while requests run, as no public trace records them: every 1/frequency steps each tenant
/// draws anew, uniformly (`independent`), or stays in its class, high or low, with probability `stay` (`markov`), so
/// that who was served lately tends to go on. Ties inside a class are broken by a draw.
/// from: the evaluation of FastSwitch (arXiv:2411.18424), which names both patterns; the generator is ours.
/// test: tests/serve/simulate/priorities.cpp
class priority_pattern {
 public:
  enum class kind : std::uint8_t { independent, markov };
  struct options {
    kind pattern = kind::independent;
    double frequency = 0.04;  ///< updates per step, (0, 1]
    double stay = 0.8;
    std::uint64_t seed = 0;
  };

  priority_pattern(std::uint32_t tenants, options o) : o_(o), random_(o.seed), rank_(tenants), high_(tenants) {
    for (std::uint32_t t = 0; t < tenants; ++t) high_[t] = random_.unit() < 0.5, rank_[t] = draw(t);
  }
  /// Once per step. Returns whether priorities changed.
  bool stepped() noexcept {
    due_ += o_.frequency;
    if (due_ < 1) return false;
    due_ -= 1;
    ++version_;
    for (std::uint32_t t = 0; t < rank_.size(); ++t) {
      if (o_.pattern == kind::markov && random_.unit() >= o_.stay) high_[t] = !high_[t];
      rank_[t] = draw(t);
    }
    return true;
  }
  /// Larger is more urgent. unit: none; markov's high class is above 0, its low class below.
  std::int32_t of(std::uint32_t tenant) const noexcept { return rank_[tenant]; }
  std::uint64_t version() const noexcept { return version_; }

 private:
  std::int32_t draw(std::uint32_t t) noexcept {
    const auto x = static_cast<std::int32_t>(random_.below(1u << 20)) + 1;
    if (o_.pattern == kind::independent) return x;
    return high_[t] ? x : -x;
  }

  options o_;
  draws random_;
  std::vector<std::int32_t> rank_;
  std::vector<bool> high_;
  double due_ = 0;
  std::uint64_t version_ = 1;
};

/// The most urgent tenant first, then who came first; a running request gives way to a waiting one that is more urgent.
/// The pattern outlives the scheduler. test: tests/serve/simulate/priorities.cpp
struct drawn_order {
  const priority_pattern* pattern = nullptr;

  bool admit_before(const schedule::request& a, const schedule::request& b) const noexcept {
    const std::int32_t x = pattern->of(a.tenant), y = pattern->of(b.tenant);
    return x != y ? x > y : a.arrival < b.arrival;
  }
  bool yields(const schedule::request& running, const schedule::request& waiting) const noexcept {
    return pattern->of(waiting.tenant) > pattern->of(running.tenant);
  }
  std::uint64_t version() const noexcept { return pattern == nullptr ? 0 : pattern->version(); }
};
static_assert(schedule::Order<drawn_order> && schedule::YieldingOrder<drawn_order> &&
              schedule::VersionedOrder<drawn_order>);

/// The least urgent tenant loses its pages first, the newest request among equals.
struct drawn_victim {
  const priority_pattern* pattern = nullptr;

  bool evict_before(const schedule::request& a, const schedule::request& b) const noexcept {
    const std::int32_t x = pattern->of(a.tenant), y = pattern->of(b.tenant);
    return x != y ? x < y : a.arrival > b.arrival;
  }
};
static_assert(schedule::Victim<drawn_victim>);

}  // namespace quire::inline v0::serve::simulate
