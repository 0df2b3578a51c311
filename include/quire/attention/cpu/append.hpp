// SPDX-License-Identifier: Apache-2.0
// Taking a step's keys and values into the cache: exact rows into raw tiles, full tiles sealed from them. A step that spans
// several tiles keeps the exact rows of all but the newest in staging, because its own queries read them (causal_seal).
#pragma once

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "../../core/executor.hpp"
#include "../../core/simd.hpp"
#include "../plan.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// Staging tiles (per kv head) a step needs: the tiles each span touches, but for its newest.
inline std::uint32_t staging_tiles(std::span<const query_span> spans) noexcept {
  std::uint32_t tiles = 0;
  for (const query_span& s : spans)
    if (s.count != 0) tiles += (s.first + s.count - 1) / tile_tokens - s.first / tile_tokens;
  return tiles;
}

/// Where the exact rows of a tile that a span touches lie during a step.
template <kv::Layout L>
struct raw_tiles {
  const kv::store_view<L>& view;
  std::byte* staging = nullptr;   ///< [tiles][kv_heads][piece]
  std::uint32_t first = 0;        ///< first staging tile of the span

  std::byte* at(const query_span& s, std::uint32_t layer, std::uint32_t head, std::uint32_t tile) const noexcept {
    if (tile == (s.first + s.count - 1) / tile_tokens) return view.tail(s.sequence, layer, head);
    const extents e = view.layout.extent();
    const std::size_t index = std::size_t{first + tile - s.first / tile_tokens} * e.kv_heads + head;
    return staging + index * view.layout.raw().piece_bytes(e.head_dim);
  }
};

/// Whether every element of a row is finite.
inline bool all_finite(const float* row, std::uint32_t n) noexcept {
  std::uint32_t worst = 0;
  for (std::uint32_t i = 0; i < n; ++i) worst = std::max(worst, std::bit_cast<std::uint32_t>(row[i]) & 0x7fffffffu);
  return worst < 0x7f800000u;
}

/// Seals a full tile: exact rows → f32 → codec. A codec equal to the raw one copies bytes. `x` [head_dim × 64].
template <class Raw, class Codec>
void seal(const Raw& raw, const Codec& codec, const kv::codec_context& at, std::uint32_t head_dim, const std::byte* from, std::byte* to, float* x) noexcept {
  const kv::tile_shape s = kv::shape_of(at.which, head_dim);
  if constexpr (std::is_same_v<Raw, Codec>) {
    std::memcpy(to, from, raw.tile_bytes(s));
  } else {
    raw.decode(at, s, from, x);
    codec.encode(at, s, x, to);
  }
}

/// Remembers the largest |q| of each channel over the query heads of a kv head, as far as the span's rows stand in the first
/// tile: what a balancer is made from. `q`: row 0 of the span.
inline void note_query_peak(const kv::head_state& state, const problem& p, const query_span& s, std::uint32_t head, const float* q, std::size_t ldq) noexcept {
  for (std::uint32_t r = 0; r < s.count && s.first + r < tile_tokens; ++r)
    for (std::uint32_t i = 0; i < p.group() * p.dim_k; ++i) {
      const float x = std::fabs(q[r * ldq + head * p.group() * p.dim_k + i]);
      float& most = state.query_peak[i % p.dim_k];
      if (x > most && x < std::numeric_limits<float>::infinity()) most = x;
    }
}
/// Fixes the balancer from those queries and the first tile's exact keys. Both channels that a rotation mixes get one b: a key
/// turns from one into the other as positions grow, and what the first tile shows of each alone says nothing about later
/// tokens. `x` [head_dim × 64].
template <class Raw>
void fix_balance(const Raw& raw, const kv::codec_context& at, const kv::head_state& state, const rope& rotary, std::uint32_t head_dim, const std::byte* exact,
                 float* x) noexcept {
  raw.decode(at, kv::shape_of(kv::side::key, head_dim), exact, x);
  const auto key_peak = [&](std::uint32_t i) {
    float most = 0;
    for (std::uint32_t t = 0; t < tile_tokens; ++t) most = std::max(most, std::fabs(x[i * tile_tokens + t]));
    return most;
  };
  const std::uint32_t turning = rotary.dims <= head_dim ? rotary.dims : 0, half = turning / 2;
  for (std::uint32_t i = 0; i < head_dim; ++i) {
    const std::uint32_t j = i >= turning ? i : rotary.style == rope_style::interleaved ? i ^ 1u : i < half ? i + half : i - half;
    state.balance[i] = kv::channel_balance(std::max(state.query_peak[i], state.query_peak[j]), std::max(key_peak(i), key_peak(j)));
  }
}

/// Appends the rows of one span for one kv head and seals the tiles it fills. k, v: row i of the span at i·ld.
/// Returns false when a row held NaN or infinity; such a row is stored as zeros and nothing spreads. A step that goes on
/// from a partial tile into the next and is not committed afterwards leaves the tail at the newer tile: close the sequence.
template <kv::Layout L>
bool append(const raw_tiles<L>& raws, const query_span& s, std::uint32_t layer, std::uint32_t head, const float* k, const float* v, std::size_t ld,
            float* x, const rope& rotary = {}) noexcept {
  const kv::store_view<L>& view = raws.view;
  const auto raw = view.layout.raw();
  const auto sealed = view.layout.sealed();
  const std::uint32_t dim = view.layout.extent().head_dim;
  const std::size_t value_offset = raw.value_offset(dim);
  const std::uint32_t begin = s.first / tile_tokens, end = (s.first + s.count - 1) / tile_tokens;
  bool finite = true;
  if (end > begin && s.first % tile_tokens != 0)  // earlier rows of the first tile move with it
    std::memcpy(raws.at(s, layer, head, begin), view.tail(s.sequence, layer, head), raw.piece_bytes(dim));
  for (std::uint32_t tile = begin; tile <= end; ++tile) {
    std::byte* exact = raws.at(s, layer, head, tile);
    const std::uint32_t from = std::max(s.first, tile * tile_tokens), to = std::min(s.first + s.count, (tile + 1) * tile_tokens);
    for (std::uint32_t p = from; p < to; ++p) {
      const float *key = k + (p - s.first) * ld, *value = v + (p - s.first) * ld;
      if (!all_finite(key, dim) || !all_finite(value, dim)) {
        finite = false;
        std::fill_n(x, dim, 0.0f);
        key = value = x;
      }
      raw.key.put(kv::side::key, dim, p % tile_tokens, key, exact);
      raw.value.put(kv::side::value, dim, p % tile_tokens, value, exact + value_offset);
    }
    if (to != (tile + 1) * tile_tokens) continue;
    if constexpr (kv::balances<typename L::sealed_pair>)
      if (tile == 0) fix_balance(raw.key, view.context(s.sequence, layer, head, 0, kv::side::key), view.state(s.sequence, layer, head), rotary, dim, exact, x);
    std::byte* out = view.sealed(s.sequence, layer, head, tile);
    seal(raw.key, sealed.key, view.context(s.sequence, layer, head, tile, kv::side::key), dim, exact, out, x);
    seal(raw.value, sealed.value, view.context(s.sequence, layer, head, tile, kv::side::value), dim, exact + value_offset, out + sealed.value_offset(dim), x);
  }
  return finite;
}

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
