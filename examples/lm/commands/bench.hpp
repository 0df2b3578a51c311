// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "common.hpp"

namespace quire_lm {

/// Appends deterministic tokens to a sequence, in the backend's largest steps; `salt` makes sequences differ.
void fill(backend& b, std::uint32_t sequence, std::uint32_t tokens, std::uint32_t salt);

/// One decode step for each of `steps`, one token for each sequence. Returns seconds.
double decode(backend& b, std::span<const std::uint32_t> sequences, std::uint32_t steps);

}  // namespace quire_lm
