// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../axes.hpp"

namespace quire::inline v0::schedule::batching {

/// Chunks that are not mixed with decodes: a step of chunks, a step of decodes, by turns while there are both. It shows
/// what mixing is worth. from: the ablation of Sarathi-Serve (arXiv:2403.02310); test:
/// tests/schedule/batching/chunked_apart.cpp
struct chunked_apart {
  std::uint32_t tau = 512;

  schedule::shape shape(const load& l) const noexcept {
    return {.tokens = tau, .prompts_first = !l.prompts_last, .mixed = false};
  }
  status valid() const noexcept {
    if (tau == 0) return {errc::out_of_range, "chunked_apart.tau", 0, 1, 0xffffffff};
    return {};
  }
};
static_assert(Batching<chunked_apart> && ValidatedAxis<chunked_apart>);

}  // namespace quire::inline v0::schedule::batching
