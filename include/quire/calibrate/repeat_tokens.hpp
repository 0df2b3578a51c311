// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "../core/random.hpp"
#include "../core/status.hpp"

namespace quire::inline v0::calibrate {

/// A probe for heads that look back: one lead token, then `period` different random tokens, `repeats` times over.
/// Token 0 is the lead; token 1 + r · period + i is the i-th random token for every r.
struct repeat_probe {
  std::uint32_t period = 256;
  std::uint32_t repeats = 4;

  constexpr std::uint32_t tokens() const noexcept { return 1 + period * repeats; }
  /// Rows that can look back by one period or more: those of repeats 2 to `repeats`.
  constexpr std::uint32_t rows() const noexcept { return period * (repeats - 1); }
};

/// fails: out_of_range ("period", "repeats", "tokens of the probe")
[[nodiscard]] constexpr status check(const repeat_probe& p) noexcept {
  constexpr std::int64_t most = 1 << 20;
  if (p.period < 2 || p.period > most) return {errc::out_of_range, "period", p.period, 2, most};
  if (p.repeats < 2 || p.repeats > 64) return {errc::out_of_range, "repeats", p.repeats, 2, 64};
  if (std::int64_t{p.period} * p.repeats > most) return {errc::out_of_range, "tokens of the probe", std::int64_t{p.period} * p.repeats, 4, most};
  return {};
}

/// The probe's ids: drawn without replacement from [first, first + count), as a token that came twice in a period would blur
/// what a head looks back at. The same seed gives the same ids on every machine.
/// cost: O(count), allocates; fails: as `check`; out_of_range ("ids to draw from", "first id"). test: tests/calibrate/repeat_tokens.cpp
/// from: RazorAttention (arXiv:2407.15891), which draws with replacement
[[nodiscard]] inline status make_repeat_tokens(const repeat_probe& probe, std::int32_t lead, std::int32_t first, std::uint32_t count,
                                               std::uint64_t seed, std::vector<std::int32_t>& out) {
  if (const status s = check(probe); !s) return s;
  constexpr std::int64_t most = 0x7fffffff;
  if (count < probe.period) return {errc::out_of_range, "ids to draw from", count, probe.period, most};
  if (first < 0 || std::int64_t{first} + count - 1 > most) return {errc::out_of_range, "first id", first, 0, most - count + 1};
  std::vector<std::int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  splitmix64 random(seed);
  for (std::uint32_t i = 0; i < probe.period; ++i) {
    const std::uint64_t j = i + random.below(count - i);
    std::swap(ids[i], ids[j]);
  }
  std::vector<std::int32_t> made;
  made.reserve(probe.tokens());
  made.push_back(lead);
  for (std::uint32_t r = 0; r < probe.repeats; ++r) made.insert(made.end(), ids.begin(), ids.begin() + probe.period);
  out = std::move(made);
  return {};
}

}  // namespace quire::inline v0::calibrate
