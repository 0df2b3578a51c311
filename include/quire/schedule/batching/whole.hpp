// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../axes.hpp"

namespace quire::inline v0::schedule::batching {

/// Iteration-level batching of whole prompts beside decodes. Room for the prompt and all new tokens is reserved at
/// admission, so nothing is ever preempted for want of memory. A prompt longer than `max_tokens` is computed in pieces
/// as large as a step leaves. from: Orca (OSDI 2022), which knows no such limit; test:
/// tests/schedule/batching/whole.cpp
struct whole {
  std::uint32_t max_tokens = schedule::shape::unlimited;

  schedule::shape shape(const load&) const noexcept {
    return {.tokens = max_tokens, .whole = true, .reserve_all = true};
  }
  status valid() const noexcept {
    if (max_tokens == 0) return {errc::out_of_range, "whole.max_tokens", 0, 1, 0xffffffff};
    return {};
  }
};
static_assert(Batching<whole> && ValidatedAxis<whole>);

}  // namespace quire::inline v0::schedule::batching
