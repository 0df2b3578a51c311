// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../axes.hpp"

namespace quire::inline v0::schedule::batching {

/// Whole prompts first, up to `max_batched` tokens; a step that holds prompts holds no decodes, which stall meanwhile.
/// A prompt longer than `max_batched` is computed in pieces of it. from: vLLM before chunked prefill
/// (arXiv:2309.06180), which refuses such prompts; test: tests/schedule/batching/prefill_first.cpp
struct prefill_first {
  std::uint32_t max_batched = 4096;

  schedule::shape shape(const load&) const noexcept {
    return {.tokens = max_batched, .prompts_first = true, .mixed = false, .whole = true};
  }
  status valid() const noexcept {
    if (max_batched == 0) return {errc::out_of_range, "prefill_first.max_batched", 0, 1, 0xffffffff};
    return {};
  }
};
static_assert(Batching<prefill_first> && ValidatedAxis<prefill_first>);

}  // namespace quire::inline v0::schedule::batching
