// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "../codec.hpp"

namespace quire::inline v0::kv {

/// Largest power of two that divides `n`: the block a channel rotation works on.
QUIRE_HD constexpr std::uint32_t rotation_block(std::uint32_t n) noexcept { return n & (~n + 1u); }

/// v ← H v with the orthonormal Walsh–Hadamard matrix on blocks of `rotation_block(dim)` channels; its own inverse.
QUIRE_HD inline void hadamard_rotate(float* v, std::uint32_t dim) noexcept {
  const std::uint32_t block = rotation_block(dim);
  const float norm = 1.0f / std::sqrt(static_cast<float>(block));
  for (float* b = v; b != v + dim; b += block) {
    for (std::uint32_t h = 1; h < block; h *= 2)
      for (std::uint32_t i = 0; i < block; i += 2 * h)
        for (std::uint32_t j = i; j < i + h; ++j) {
          const float x = b[j], y = b[j + h];
          b[j] = x + y;
          b[j + h] = x - y;
        }
    for (std::uint32_t i = 0; i < block; ++i) b[i] *= norm;
  }
}

/// Rotates the channels before `Base` seals them, so that outlier channels spread over all codes. Keys: the query is
/// rotated once per run; values: the output is rotated back once per piece. Tiles are never rotated back.
/// from: QuaRot (arXiv:2404.00456); test: tests/kv/codec/hadamard.cpp
template <Codec Base>
struct hadamard {
  static_assert(!requires { requires Base::balances; }, "quire::kv::hadamard: a balancer and a rotation exclude each other: rotated channels are no longer the ones b was computed for");
  using base_codec = Base;
  static constexpr bool rotates = true;
  [[no_unique_address]] Base base{};

  static constexpr const char* format() noexcept { return text.data(); }
  QUIRE_HD constexpr std::size_t tile_bytes(tile_shape s) const noexcept { return base.tile_bytes(s); }
  QUIRE_HD void rotate(float* v, std::uint32_t head_dim) const noexcept { hadamard_rotate(v, head_dim); }
  void encode(const codec_context& at, tile_shape s, const float* x, std::byte* out) const noexcept {
    float rotated[max_head_dim * tile_tokens], v[max_head_dim];
    const bool keys = at.which == side::key;
    const std::uint32_t dim = keys ? s.rows : s.columns;
    const std::uint32_t token_stride = keys ? 1 : s.columns, channel_stride = keys ? s.columns : 1;
    for (std::uint32_t t = 0; t < tile_tokens; ++t) {
      for (std::uint32_t i = 0; i < dim; ++i) v[i] = x[t * token_stride + i * channel_stride];
      rotate(v, dim);
      for (std::uint32_t i = 0; i < dim; ++i) rotated[t * token_stride + i * channel_stride] = v[i];
    }
    base.encode(at, s, rotated, out);
  }
  QUIRE_HD void decode(const codec_context& at, tile_shape s, const std::byte* tile, float* x) const noexcept {
    base.decode(at, s, tile, x);
  }

 private:
  static constexpr format_text text = format_text{}.add("hadamard.1+").add(Base::format());
};

}  // namespace quire::inline v0::kv
