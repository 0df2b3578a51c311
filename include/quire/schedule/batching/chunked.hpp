// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "../../core/extents.hpp"
#include "../axes.hpp"

namespace quire::inline v0::schedule::batching {

/// Stall-free: every running decode first, then chunks of prompts up to `tau` tokens. Decodes alone may pass tau, which
/// then leaves nothing for prompts. The time of a step, and so the time between two tokens, is bounded by tau; evenly so
/// where `even_depth` says what attention costs on the machine at hand, as late chunks then shrink.
/// from: Sarathi-Serve (arXiv:2403.02310), its optional ramp included; counting by cost and `end_at` are ours;
/// test: tests/schedule/batching/chunked.cpp
struct chunked {
  std::uint32_t tau = 512;
  std::uint32_t round_to = 1;  ///< tile of the matrix kernels: a chunk that doesn't end its prompt ends the step at one
  std::uint32_t max_chunk =
      0xffffffffu;  ///< of one prompt while there are other requests, so that none hogs the budget
  /// The ramp: a prompt in `stages` equal spans, whose chunks shrink from tau to `last_chunk`, as later ones read more
  /// rows. 0 or 1: none.
  std::uint32_t stages = 0;
  std::uint32_t last_chunk = 1;
  /// Position at which a row's attention costs as much as all else of it: a row at position d takes 1 + d / even_depth of
  /// tau. Measured, e.g. by `quire-lm schedule stalls`. 0: every row takes 1.
  std::uint32_t even_depth = 0;
  /// Tile of the cache: a chunk is cut, by a third of it at most, so that it or its successors end at a multiple of
  /// this position. Rows on both sides of one read every tile before it twice.
  std::uint32_t end_at = 1;

  schedule::shape shape(const load& l) const noexcept {
    return {.tokens = std::max(tau / round_to * round_to, 1u), .per_prompt = l.alone() ? tau : max_chunk};
  }
  std::uint32_t chunk(const request& r, std::uint32_t room, std::uint32_t used) const noexcept {
    const std::uint32_t left = r.known_tokens() - r.so_far.computed;
    if (stages > 1) room = std::min(room, ramp(r));
    if (room == left) return room;  // the end of a prompt is not put off for a tile
    const std::uint32_t over = (used + room) % round_to;
    return inside_tiles(r.so_far.computed, over < room ? room - over : room);
  }
  std::uint64_t cost(std::uint32_t begin, std::uint32_t count) const noexcept {
    if (even_depth == 0) return count;
    const std::uint64_t n = count;
    return n + (n * begin + n * (n - 1) / 2) / even_depth;
  }
  status valid() const noexcept {
    if (tau == 0) return {errc::out_of_range, "chunked.tau", 0, 1, 0xffffffff};
    if (round_to == 0 || round_to > tau) return {errc::out_of_range, "chunked.round_to", round_to, 1, tau};
    if (max_chunk == 0) return {errc::out_of_range, "chunked.max_chunk", 0, 1, 0xffffffff};
    if (last_chunk == 0 || last_chunk > tau) return {errc::out_of_range, "chunked.last_chunk", last_chunk, 1, tau};
    if (end_at == 0 || end_at > 65536) return {errc::out_of_range, "chunked.end_at", end_at, 1, 65536};
    return {};
  }

 private:
  /// `n` rows from `begin` on, or up to a third less: to the last end of a tile among them, or an equal part of the
  /// way to the next one.
  std::uint32_t inside_tiles(std::uint32_t begin, std::uint32_t n) const noexcept {
    const std::uint32_t left = end_at - begin % end_at;
    const std::uint32_t cut = n < left ? ceil_div(left, ceil_div(left, n)) : n - (n - left) % end_at;
    return n - cut <= n / 3 ? cut : n;
  }
  std::uint32_t ramp(const request& r) const noexcept {
    const std::uint64_t span = std::uint64_t{r.so_far.computed} * stages / r.known_tokens();
    const std::uint64_t size = tau - (tau - last_chunk) * span / (stages - 1);
    return std::max(static_cast<std::uint32_t>(size), 1u);
  }
};
static_assert(Batching<chunked> && ChunkingBatching<chunked> && CostingBatching<chunked> && ValidatedAxis<chunked>);

}  // namespace quire::inline v0::schedule::batching
