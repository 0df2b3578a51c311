// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "../codec.hpp"
#include "../state.hpp"

namespace quire::inline v0::kv {

/// Shares the range between query and key, channel by channel: `Base` seals k ⊙ b, a kernel divides the query by b, so an outlier
/// channel of keys no longer owns its token's grid. `codec_context::params` points at b, head_dim floats of this (layer, head),
/// positive, the same for every tile of it; null, or zeros where none was learned yet, means ones. `decode` gives the channels' own basis. Value tiles are Base's own.
/// cost: none an element; fails: never. from: MiKV (arXiv:2402.18096), `balance` computes its b; test: tests/kv/codec/balanced.cpp
template <Codec Base>
struct balanced {
  static_assert(!RotatingCodec<Base>, "quire::kv::balanced: a balancer and a rotation exclude each other: rotated channels are no longer the ones b was computed for");
  using base_codec = Base;
  static constexpr bool balances = true;
  [[no_unique_address]] Base base{};

  static constexpr const char* format() noexcept { return text.data(); }
  QUIRE_HD constexpr std::size_t tile_bytes(tile_shape s) const noexcept { return base.tile_bytes(s); }
  /// b of a key tile, or null for ones.
  QUIRE_HD static const float* balance_of(const codec_context& at) noexcept {
    const auto* b = reinterpret_cast<const float*>(at.params);
    return at.which == side::key && b != nullptr && b[0] != 0 ? b : nullptr;
  }

  void encode(const codec_context& at, tile_shape s, const float* x, std::byte* out) const noexcept {
    const float* b = balance_of(at);
    if (b == nullptr) return base.encode(at, s, x, out);
    float scaled[max_head_dim * tile_tokens];
    constexpr float most = 3.4e38f;  // finite rows stay finite
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) {
        const float v = x[r * s.columns + c] * b[r];
        scaled[r * s.columns + c] = v > most ? most : v < -most ? -most : v;
      }
    base.encode(at, s, scaled, out);
  }
  QUIRE_HD void decode(const codec_context& at, tile_shape s, const std::byte* tile, float* x) const noexcept {
    base.decode(at, s, tile, x);
    if (const float* b = balance_of(at))
      for (std::uint32_t r = 0; r < s.rows; ++r)
        for (std::uint32_t c = 0; c < s.columns; ++c) x[r * s.columns + c] /= b[r];
  }

 private:
  static constexpr format_text text = format_text{}.add("balanced.1+").add(Base::format());
};

/// b_c = √(max|q_c| / max|k_c|) within [1e-2, 1e2]; 1 where a channel of either is all zeros. q and k are the rows [n][dim] that
/// the balancer learns from, at strides ldq and ldk; with grouped heads q holds the rows of all query heads of the group.
inline void balance(const float* q, std::size_t q_rows, std::size_t ldq, const float* k, std::size_t k_rows, std::size_t ldk, std::uint32_t dim, float* b) noexcept {
  for (std::uint32_t c = 0; c < dim; ++c) {
    float most_q = 0, most_k = 0;
    for (std::size_t r = 0; r < q_rows; ++r) most_q = std::fmax(most_q, std::fabs(q[r * ldq + c]));
    for (std::size_t r = 0; r < k_rows; ++r) most_k = std::fmax(most_k, std::fabs(k[r * ldk + c]));
    b[c] = channel_balance(most_q, most_k);
  }
}

}  // namespace quire::inline v0::kv
