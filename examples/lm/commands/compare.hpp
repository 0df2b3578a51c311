// SPDX-License-Identifier: Apache-2.0
// What the two forms of `compare` share: its own texts, and a cache's size and speed at a depth.
#pragma once

#include "common.hpp"

namespace quire_lm {

/// The texts of examples/data, in order of their names. fails: bad_input when there are none.
std::string own_texts();

/// A cache filled to `depth` tokens, then decoded from.
struct footprint {
  std::size_t bytes = 0, formula = 0;  ///< of one sequence at that depth: held, and by formula
  double prefill = 0, decode = 0;      ///< tokens a second
};
constexpr std::uint32_t footprint_steps = 32;  ///< decoded at the depth
footprint measure_footprint(backend& b, std::uint32_t depth);

/// `compare --suite kv`: quality, size and speed of each cache on the same prompts, into a report that is written after each cache.
int compare_suite(const compare_options& o);

}  // namespace quire_lm
