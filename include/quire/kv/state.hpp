// SPDX-License-Identifier: Apache-2.0
// Everything mutable of a (sequence, layout) that is not a tile: running means, importance of open tokens, live masks,
// balancers. One flat block of bytes, so that fork copies it and swap, export and migration move it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "../core/extents.hpp"

namespace quire::inline v0::kv {

/// The block as its owner sees it; `version` names what `state_plan` puts where.
struct state_block {
  std::uint32_t version = 0;
  std::uint32_t bytes = 0;
  std::uint64_t steps = 0;       ///< commits seen
  std::byte* data = nullptr;     ///< [bytes], owned by the store
};

/// What a sequence is besides its bytes; layouts have at most two groups.
struct sequence_mark {
  std::uint32_t length = 0, raw_tile = 0;
  std::uint32_t kept_from[2] = {0, 0};
  std::uint64_t steps = 0;
  std::uint32_t whole_until = 0, reserved = 0;
};

/// What the heads of one group keep.
struct state_needs {
  bool balance = false;      ///< channel balancer of the keys
  bool mean = false;         ///< sums of dropped keys and values
  bool importance = false;   ///< attention received by open tokens
  std::uint32_t masks = 0;   ///< tiles with a live mask
  friend bool operator==(const state_needs&, const state_needs&) = default;
};

/// The balancer of one channel, b = √(max|q| / max|k|): keys are sealed times b and queries read them divided by b, so that
/// both use the same range. Bounded, because a silent channel would ask for any b. from: MiKV (arXiv:2402.18096)
QUIRE_HD inline float channel_balance(float query_peak, float key_peak) noexcept {
  if (!(query_peak > 0) || !(key_peak > 0)) return 1.0f;
  const float b = std::sqrt(query_peak / key_peak);
  return b < 1e-2f ? 1e-2f : b > 1e2f ? 1e2f : b;
}

/// One head's part of the block; null where its group keeps no such thing.
struct head_state {
  float* balance = nullptr;        ///< [head_dim] b of kv/codec/balanced.hpp; zeros until the first tile is sealed
  float* query_peak = nullptr;     ///< [head_dim] largest |q| of the first tile's queries
  float* key_sum = nullptr;        ///< [head_dim] over dropped tokens
  float* value_sum = nullptr;      ///< [head_dim]
  float* tail_scores = nullptr;    ///< [tile_tokens] attention received by tokens of the open tile
  std::uint64_t* live = nullptr;   ///< [masks] tokens of sealed tiles that no overlay holds
};

/// Where each head's part lies: heads of group 0, then of group 1, equal records within a group. The block of an empty sequence is zeros.
struct state_plan {
  static constexpr std::uint32_t version = 1, groups = 2;
  std::uint32_t head_dim = 0;
  std::uint32_t heads[groups] = {};
  state_needs needs[groups] = {};

  /// Chosen, not indexed: kernels would keep a plan in local memory to index it.
  QUIRE_HD constexpr const state_needs& needs_of(std::uint32_t g) const noexcept { return g == 0 ? needs[0] : needs[1]; }
  QUIRE_HD constexpr std::uint32_t record_bytes(std::uint32_t g) const noexcept {
    const state_needs& n = needs_of(g);
    return (n.balance ? 8 * head_dim : 0) + (n.mean ? 8 * head_dim : 0) + (n.importance ? 4 * tile_tokens : 0) + 8 * n.masks;
  }
  QUIRE_HD constexpr std::uint32_t bytes() const noexcept { return heads[0] * record_bytes(0) + heads[1] * record_bytes(1); }

  QUIRE_HD head_state at(std::byte* block, std::uint32_t group, std::uint32_t index) const noexcept {
    head_state s;
    if (group >= groups || record_bytes(group) == 0) return s;
    std::byte* here = block + (group == 0 ? 0 : heads[0] * record_bytes(0)) + std::size_t{index} * record_bytes(group);
    const auto floats = [&](bool wanted, std::uint32_t n) -> float* {
      if (!wanted) return nullptr;
      auto* x = reinterpret_cast<float*>(here);
      here += n * sizeof(float);
      return x;
    };
    const state_needs& n = needs_of(group);
    s.balance = floats(n.balance, head_dim), s.query_peak = floats(n.balance, head_dim);
    s.key_sum = floats(n.mean, head_dim), s.value_sum = floats(n.mean, head_dim);
    s.tail_scores = floats(n.importance, tile_tokens);
    if (n.masks != 0) s.live = reinterpret_cast<std::uint64_t*>(here);
    return s;
  }
};

}  // namespace quire::inline v0::kv
