// SPDX-License-Identifier: Apache-2.0
// What a head keeps of tokens it drops.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "codec.hpp"
#include "state.hpp"

namespace quire::inline v0::kv::remainder {

/// Nothing: a dropped token is gone.
struct none {
  static constexpr bool keeps = false;
};

/// One token with the mean of the dropped keys and values and a logit bias of log N: exactly what N equal tokens would add.
/// Tiles join the sums when they leave the window, so a sum is the same for any chunking. The mean of rotated keys cancels
/// in fast-turning channels, which lets log N dominate: `bias_cap` bounds it.
/// from: RazorAttention (arXiv:2407.15891), algorithm 1; test: tests/kv/remainder.cpp
struct mean_token {
  static constexpr bool keeps = true;
  float bias_cap = std::numeric_limits<float>::infinity();

  QUIRE_HD float bias(std::uint32_t tokens) const noexcept {
    const float n = std::log(static_cast<float>(tokens));
    return n < bias_cap ? n : bias_cap;
  }
  /// Adds every token of a sealed tile to the sums. `x` [head_dim × 64] scratch.
  template <CodecPair P>
  static void add_tile(const P& pair, const codec_context& key, const codec_context& value, std::uint32_t head_dim, const std::byte* tile, const head_state& to,
                       float* x) noexcept {
    pair.key.decode(key, shape_of(side::key, head_dim), tile, x);
    float sum[max_head_dim];
    for (std::uint32_t i = 0; i < head_dim; ++i) {
      sum[i] = 0;
      for (std::uint32_t t = 0; t < tile_tokens; ++t) sum[i] += x[i * tile_tokens + t];
    }
    join(pair.key, sum, head_dim, to.key_sum);
    pair.value.decode(value, shape_of(side::value, head_dim), tile + pair.value_offset(head_dim), x);
    for (std::uint32_t i = 0; i < head_dim; ++i) sum[i] = 0;
    for (std::uint32_t t = 0; t < tile_tokens; ++t)
      for (std::uint32_t i = 0; i < head_dim; ++i) sum[i] += x[t * head_dim + i];
    join(pair.value, sum, head_dim, to.value_sum);
  }
  /// Writes the means over `tokens` tokens as token 0 of a raw tile piece.
  template <CodecPair Raw>
  QUIRE_HD static void write(const Raw& raw, const head_state& from, std::uint32_t head_dim, std::uint32_t tokens, std::byte* piece) noexcept {
    float row[max_head_dim];
    const float scale = 1.0f / static_cast<float>(tokens);
    for (std::uint32_t i = 0; i < head_dim; ++i) row[i] = from.key_sum[i] * scale;
    raw.key.put(side::key, head_dim, 0, row, piece);
    for (std::uint32_t i = 0; i < head_dim; ++i) row[i] = from.value_sum[i] * scale;
    raw.value.put(side::value, head_dim, 0, row, piece + raw.value_offset(head_dim));
  }

 private:
  /// The sum goes back to the channels' own basis: rotating is linear.
  template <Codec C>
  static void join(const C& codec, float* sum, std::uint32_t head_dim, float* to) noexcept {
    if constexpr (RotatingCodec<C>) codec.rotate(sum, head_dim);
    for (std::uint32_t i = 0; i < head_dim; ++i) to[i] += sum[i];
  }
};

}  // namespace quire::inline v0::kv::remainder
