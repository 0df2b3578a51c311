// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "../axes.hpp"

namespace quire::inline v0::schedule::batching {

/// Stall-free: every running decode first, then chunks of prompts up to `tau` tokens. Decodes alone may pass tau, which
/// then leaves nothing for prompts. The time of a step, and so the time between two tokens, is bounded by tau.
/// from: Sarathi-Serve (arXiv:2403.02310), its optional ramp included; test: tests/schedule/batching/chunked.cpp
struct chunked {
  std::uint32_t tau = 512;
  std::uint32_t round_to = 1;  ///< tile of the matrix kernels: a chunk that doesn't end its prompt ends the step at one
  std::uint32_t max_chunk =
      0xffffffffu;  ///< of one prompt while there are other requests, so that none hogs the budget
  /// The ramp: a prompt in `stages` equal spans, whose chunks shrink from tau to `last_chunk`, as later ones read more
  /// rows. 0 or 1: none.
  std::uint32_t stages = 0;
  std::uint32_t last_chunk = 1;

  schedule::shape shape(const load& l) const noexcept {
    return {.tokens = std::max(tau / round_to * round_to, 1u), .per_prompt = l.alone() ? tau : max_chunk};
  }
  std::uint32_t chunk(const request& r, std::uint32_t room, std::uint32_t used) const noexcept {
    const std::uint32_t left = r.known_tokens() - r.so_far.computed;
    if (stages > 1) room = std::min(room, ramp(r));
    if (room == left) return room;  // the end of a prompt is not put off for a tile
    const std::uint32_t over = (used + room) % round_to;
    return over < room ? room - over : room;
  }
  status valid() const noexcept {
    if (tau == 0) return {errc::out_of_range, "chunked.tau", 0, 1, 0xffffffff};
    if (round_to == 0 || round_to > tau) return {errc::out_of_range, "chunked.round_to", round_to, 1, tau};
    if (max_chunk == 0) return {errc::out_of_range, "chunked.max_chunk", 0, 1, 0xffffffff};
    if (last_chunk == 0 || last_chunk > tau) return {errc::out_of_range, "chunked.last_chunk", last_chunk, 1, tau};
    return {};
  }

 private:
  std::uint32_t ramp(const request& r) const noexcept {
    const std::uint64_t span = std::uint64_t{r.so_far.computed} * stages / r.known_tokens();
    const std::uint64_t size = tau - (tau - last_chunk) * span / (stages - 1);
    return std::max(static_cast<std::uint32_t>(size), 1u);
  }
};
static_assert(Batching<chunked> && ChunkingBatching<chunked> && ValidatedAxis<chunked>);

}  // namespace quire::inline v0::schedule::batching
