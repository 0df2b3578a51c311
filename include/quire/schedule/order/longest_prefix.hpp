// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "../axes.hpp"

namespace quire::inline v0::schedule::order {

/// The longest cached prefix first (request::hit_tokens, kept fresh by scheduler::hint), with ageing: a row that is
/// there already is worth `seconds_per_row` of waiting, so a request is passed only by hits of later arrivals for as
/// long as they are worth, and nobody starves. Equal hits are first come, first served.
/// from: SGLang's lpm (arXiv:2312.07104), the ageing is ours; test: tests/schedule/order/longest_prefix.cpp
struct longest_prefix {
  double seconds_per_row = 0.01;

  bool admit_before(const request& a, const request& b) const noexcept { return key(a) < key(b); }
  status valid() const noexcept {
    if (seconds_per_row >= 0 && std::isfinite(seconds_per_row)) return {};
    return {errc::out_of_range, "longest_prefix.seconds_per_row (negative or not finite)", 0};
  }

 private:
  double key(const request& r) const noexcept {
    return r.arrival - (r.known_tokens() - r.uncached()) * seconds_per_row;
  }
};
static_assert(Order<longest_prefix> && ValidatedAxis<longest_prefix>);

}  // namespace quire::inline v0::schedule::order
