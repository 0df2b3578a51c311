// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../../core/config.hpp"

namespace quire::inline v0::serve::simulate {

/// What a trial at one rate showed. Seconds.
struct trial_result {
  double p99_gap = 0;
  double median_delay = 0;
};

struct capacity_options {
  double gap_limit = 0.1;    ///< P99 of the time between tokens
  double delay_limit = 2;    ///< median of the time from arrival to the first step
  double start = 1;          ///< requests a second; the search begins between 0 and twice this
  double resolution = 0.01;  ///< rates are multiples of this
  double precision = 0.025;  ///< stop when the bracket is smaller than this share of its lower end
  std::uint32_t most_trials = 20;
};

struct capacity_result {
  double per_second = 0;                                     ///< the largest rate that held; 0 when none did
  double refused = std::numeric_limits<double>::infinity();  ///< the smallest that did not
  trial_result at{};
  std::uint32_t trials = 0;
};

/// The largest rate at which both limits hold, by bisection. While nothing has failed and delays are far below the
/// limit the bracket grows instead, never past a rate that is known to fail. `trial(rate)` gives a trial_result;
/// `told(result, rate, held)` is called after each.
/// from: the capacity search of the Sarathi-Serve artefact; test: tests/serve/simulate/capacity.cpp
template <class Trial, class Told>
capacity_result find_capacity(const capacity_options& o, Trial&& trial, Told&& told) {
  capacity_result r;
  const auto rounded = [&](double rate) { return std::max(1.0, std::round(rate / o.resolution)) * o.resolution; };
  double rate = rounded(o.start), upper = rounded(2 * o.start);
  while (r.trials < o.most_trials) {
    const trial_result t = trial(rate);
    const bool held = t.p99_gap <= o.gap_limit && t.median_delay <= o.delay_limit;
    ++r.trials;
    if (held && rate > r.per_second) r.per_second = rate, r.at = t;
    if (!held) r.refused = std::min(r.refused, rate), upper = r.refused;
    told(r, rate, held);
    if (held && rate >= upper - o.resolution / 2) {
      if (std::isfinite(r.refused)) break;
      upper = 2 * upper;
    }
    if (held && !std::isfinite(r.refused)) {
      if (t.median_delay < o.delay_limit / 8) upper = std::max(upper, 4 * rate);
      else if (t.median_delay < o.delay_limit / 4) upper = std::max(upper, 2 * rate);
    }
    const double lower = r.per_second;
    if (std::isfinite(r.refused) && upper - lower <= std::max(o.precision * lower, o.resolution)) break;
    const double next = rounded((lower + upper) / 2);
    if (next <= lower || next >= r.refused) break;
    rate = next;
  }
  return r;
}

}  // namespace quire::inline v0::serve::simulate
