// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../core/device.cuh"
#include "../../core/softmax.hpp"
#include "../plan_view.hpp"

namespace quire::inline v0::attention::cuda {

/// What a fold keeps for a layout with overlays: weights of open and overlay tokens, and what they are shares of (overlay.cuh). Every cell is
/// written by the one block that folds its tile, and every state by the one that finishes its row: no atomics, any number of blocks.
/// Weights are half floats, as the CPU's are. Rows are those of the step's spans, one after another.
struct score_rows {
  std::uint16_t* weights = nullptr;        ///< [rows][q_heads][tiles][tile_tokens] exp(logit − top), f16: the open tile's, then the overlay's
  float* tops = nullptr;                   ///< [rows][q_heads][tiles]
  softmax_state* states = nullptr;         ///< [rows][q_heads] (m, l) of the whole row, a sink logit left out
  const std::uint32_t* first = nullptr;    ///< [spans] rows of the spans before
  std::uint32_t tiles = 1;                 ///< of a row: the open one, and as many as any overlay has

  static constexpr std::size_t bytes(std::size_t rows, std::uint32_t q_heads, std::uint32_t tiles) noexcept {
    return rows * q_heads * (tiles * (tile_tokens * sizeof(std::uint16_t) + sizeof(float)) + sizeof(softmax_state));
  }
  /// The same arrays in `memory`, aligned to 16.
  static score_rows in(std::byte* memory, std::size_t rows, std::uint32_t q_heads, std::uint32_t tiles) noexcept {
    score_rows s{.tiles = tiles};
    s.weights = reinterpret_cast<std::uint16_t*>(memory);
    s.states = reinterpret_cast<softmax_state*>(memory + rows * q_heads * tiles * tile_tokens * sizeof(std::uint16_t));
    s.tops = reinterpret_cast<float*>(s.states + rows * q_heads);
    return s;
  }
};

/// Which exact tile a staged one is: 0 the open one, 1 + i overlay tile i.
inline constexpr std::uint32_t not_exact = ~std::uint32_t{0};

/// A fold that nobody learns from.
struct no_scores {
  static constexpr bool active = false;
  template <class Tile>
  __device__ static std::uint32_t position(const Tile& t, std::uint32_t token) noexcept {
    return static_cast<std::uint32_t>(t.position) + token;
  }
};

/// The cells of an item's rows.
template <class Call>
struct score_keeper {
  static constexpr bool active = true;
  const Call& c;
  const work_item& item;
  std::size_t begin;   ///< of row 0 among all [rows][q_heads]

  __device__ score_keeper(const Call& call, const work_item& of) noexcept
      : c(call), item(of), begin(std::size_t{call.scores.first[of.span] + of.first - call.plan.spans[of.span].first} * call.shape.q_heads + of.head * call.shape.group()) {}
  __device__ std::size_t cell(std::uint32_t r) const noexcept { return begin + r / c.shape.group() * c.shape.q_heads + r % c.shape.group(); }
  __device__ bool has(std::uint32_t r) const noexcept { return r < item.count * c.shape.group(); }
  /// Weights of two neighbouring tokens of a tile, the first one even.
  __device__ void keep(std::uint32_t r, std::uint32_t tile, std::uint32_t token, float first, float second) const noexcept {
    *reinterpret_cast<std::uint32_t*>(c.scores.weights + (cell(r) * c.scores.tiles + tile) * tile_tokens + token) = device::pack_f16(first, second);
  }
  __device__ void keep_top(std::uint32_t r, std::uint32_t tile, float top) const noexcept { c.scores.tops[cell(r) * c.scores.tiles + tile] = top; }
  __device__ void keep_sums(std::uint32_t r, float m, float l) const noexcept { c.scores.states[cell(r)] = {m, l}; }

  /// Where a token of a tile stood: overlays hold tokens of anywhere.
  template <class Tile>
  __device__ std::uint32_t position(const Tile& t, std::uint32_t token) const noexcept {
    if (t.exact == not_exact || t.exact == 0) return no_scores::position(t, token);
    return c.view.overlay(c.plan.spans[item.span].sequence, c.layer, item.head, t.exact - 1).positions[token];
  }
};

/// What a fold of `Block` keeps.
template <class Block, class Call>
using scores_of = std::conditional_t<Block::layout::overlays, score_keeper<Call>, no_scores>;
template <class Block, class Call>
__device__ inline scores_of<Block, Call> scores_for(const Call& c, const work_item& item) noexcept {
  if constexpr (Block::layout::overlays) return scores_of<Block, Call>(c, item);
  else return {};
}

}  // namespace quire::inline v0::attention::cuda
