// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../core/config.hpp"

namespace quire::inline v0::kv {

/// Counted since construction. unit: tokens, or tiles where it says so.
struct prefix_counters {
  std::uint64_t opened = 0;            ///< sequences
  std::uint64_t asked = 0, hit = 0;    ///< tokens of their prompts, and those of them that were already kept
  std::uint64_t inserted = 0;          ///< tiles
  std::uint64_t merged = 0;            ///< tiles computed twice, of which one copy was given back
  std::uint64_t evicted = 0;           ///< tiles
};

}  // namespace quire::inline v0::kv
