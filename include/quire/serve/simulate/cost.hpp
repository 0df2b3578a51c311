// SPDX-License-Identifier: Apache-2.0
// How long a step takes on a machine that is not there.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <span>

#include "../../core/config.hpp"

namespace quire::inline v0::serve::simulate {

/// What a step asks of a machine, summed over its sequences. A chunk is c prompt tokens behind r rows.
struct work {
  std::uint32_t prefill_tokens = 0;   ///< sum of c
  std::uint32_t decodes = 0;          ///< sequences that get one token
  std::uint32_t prefills = 0;         ///< chunks
  std::uint64_t decode_context = 0;   ///< rows the decodes read; a prefix that is folded once counts once
  std::uint64_t prefill_context = 0;  ///< sum of r
  double pairs = 0;                   ///< products of a query and a key in chunks: sum of c (r + c/2)

  constexpr std::uint32_t tokens() const noexcept { return prefill_tokens + decodes; }
  constexpr void decode(std::uint64_t rows) noexcept { ++decodes, decode_context += rows; }
  constexpr void prefill(std::uint32_t c, std::uint64_t r) noexcept {
    ++prefills, prefill_tokens += c, prefill_context += r;
    pairs += static_cast<double>(c) * (static_cast<double>(r) + static_cast<double>(c) / 2);
  }
};

/// Seconds of one step. A pure function of the work; never negative.
template <class C>
concept CostModel = requires(const C c, const work& w) {
  { c.seconds(w) }
  noexcept->std::same_as<double>;
};

/// A measured time of all linear operations of a model for a number of tokens.
struct knot {
  std::uint32_t tokens = 0;
  double seconds = 0;
};

/// Linear operations from a table, attention from the rows it reads and the pairs it computes. Between knots the table
/// is interpolated after rounding up to `round_to` tokens, so the jump of a matrix product at the edge of its tile, two
/// knots `round_to` apart, stays a jump. Past the last knot the last slope goes on.
/// from: Vidur (arXiv:2405.05465), Sarathi-Serve (arXiv:2403.02310); test: tests/serve/simulate/cost.cpp
struct profiled_cost {
  std::span<const knot> linear;  ///< by tokens, ascending; the table outlives the model
  std::uint32_t round_to = 8;
  double per_step = 0;      ///< launches, sampling, the scheduler itself
  double per_sequence = 0;  ///< sampling and bookkeeping of one decode
  double per_row = 0;       ///< a row of keys and values read by a decode: its bytes / bandwidth
  double per_pair = 0;      ///< a query and a key in a chunk: 4·heads·dim·layers flop / speed

  constexpr double seconds(const work& w) const noexcept {
    return per_step + linear_seconds(w.tokens()) + per_sequence * w.decodes +
           per_row * static_cast<double>(w.decode_context) + per_pair * w.pairs;
  }
  constexpr double linear_seconds(std::uint32_t tokens) const noexcept {
    if (linear.empty() || tokens == 0) return 0;
    const std::uint32_t step = std::max(round_to, 1u);
    const auto n = static_cast<std::uint32_t>((std::uint64_t{tokens} + step - 1) / step * step);
    if (linear.size() == 1 || n <= linear.front().tokens) return linear.front().seconds;
    std::size_t i = 1;
    while (i + 1 < linear.size() && linear[i].tokens < n) ++i;
    const knot &a = linear[i - 1], &b = linear[i];
    const double slope = (b.seconds - a.seconds) / (static_cast<double>(b.tokens) - static_cast<double>(a.tokens));
    return std::max(0.0, a.seconds + slope * (static_cast<double>(n) - static_cast<double>(a.tokens)));
  }
};
static_assert(CostModel<profiled_cost>);

/// A straight line in prefill tokens, decode tokens and the rows behind either, with other coefficients for large
/// steps. from: fits in the Niyama branch of the Sarathi-Serve repository; test: tests/serve/simulate/cost.cpp
struct fitted_cost {
  struct line {
    double base = 0, prefill = 0, decode = 0, decode_row = 0, prefill_row = 0;
  };
  line small{}, large{};
  std::uint32_t small_tokens = 0xffffffffu;  ///< steps of at most so many tokens are `small`

  constexpr double seconds(const work& w) const noexcept {
    const line& f = w.tokens() <= small_tokens ? small : large;
    return std::max(0.0, f.base + f.prefill * w.prefill_tokens + f.decode * w.decodes +
                             f.decode_row * static_cast<double>(w.decode_context) +
                             f.prefill_row * static_cast<double>(w.prefill_context));
  }
};
static_assert(CostModel<fitted_cost>);

/// Time of a step that does nothing but decode: what service levels are multiples of.
template <CostModel C>
constexpr double decode_seconds(const C& cost, std::uint32_t sequences, std::uint64_t rows_each) noexcept {
  return cost.seconds({.decodes = sequences, .decode_context = sequences * rows_each});
}

}  // namespace quire::inline v0::serve::simulate
