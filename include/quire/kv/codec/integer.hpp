// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../core/number.hpp"
#include "../codec.hpp"

namespace quire::inline v0::kv {

/// Which elements share a scale and a minimum: a row of X (per-channel keys, per-token values) or a column of X
/// (per-token keys, per-channel values).
enum class group : std::uint8_t { row, column };

/// Unsigned affine codes, x ≈ minimum + scale·code, one f16 scale and f16 minimum per row or column of X.
/// Bytes: codes as [rows/4][columns][4] (8 bit) or [rows/8][columns][4] with rows 8i..8i+3 in the low and 8i+4..8i+7 in the
/// high nibbles (4 bit): four neighbouring rows fill the 32-bit lane of an 8-bit dot product; then scales, then minima.
/// shape: rows a multiple of 8; cost: Bits + 32/group elements bits an element; fails: never (inputs are finite).
/// from: KIVI (arXiv:2402.02750) for the choice of groups; test: tests/kv/codec/integer.cpp
template <int Bits, group Group>
struct integer {
  static_assert(Bits == 4 || Bits == 8, "quire::kv::integer: Bits must be 4 or 8");
  static constexpr int bits = Bits;
  static constexpr group grouping = Group;
  static constexpr int levels = (1 << Bits) - 1;
  static constexpr std::uint32_t rows_per_lane = Bits == 8 ? 4 : 8;

  static constexpr const char* format() noexcept {
    if constexpr (Bits == 8) return Group == group::row ? "int8-row.1" : "int8-column.1";
    return Group == group::row ? "int4-row.1" : "int4-column.1";
  }
  QUIRE_HD static constexpr std::uint32_t groups(tile_shape s) noexcept { return Group == group::row ? s.rows : s.columns; }
  QUIRE_HD static constexpr std::size_t code_bytes(tile_shape s) noexcept { return std::size_t{s.elements()} * Bits / 8; }
  QUIRE_HD constexpr std::size_t tile_bytes(tile_shape s) const noexcept { return code_bytes(s) + std::size_t{groups(s)} * 4; }

  /// Parts of a tile.
  QUIRE_HD static const f16* scales(tile_shape s, const std::byte* tile) noexcept {
    return reinterpret_cast<const f16*>(tile + code_bytes(s));
  }
  QUIRE_HD static const f16* minima(tile_shape s, const std::byte* tile) noexcept { return scales(s, tile) + groups(s); }

  QUIRE_HD void encode(const codec_context&, tile_shape s, const float* x, std::byte* out) const noexcept {
    auto* scale = reinterpret_cast<f16*>(out + code_bytes(s));
    f16* minimum = scale + groups(s);
    for (std::uint32_t g = 0; g < groups(s); ++g) {
      const float* first = Group == group::row ? x + g * s.columns : x + g;
      const std::uint32_t stride = Group == group::row ? 1 : s.columns, n = s.elements() / groups(s);
      float lo = first[0], hi = first[0];
      for (std::uint32_t i = 1; i < n; ++i) {
        const float v = first[i * stride];
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
      }
      constexpr float most = 65504.0f;  // of f16: rows beyond it saturate, and stay finite
      minimum[g] = f16::from(lo < -most ? -most : lo > most ? most : lo);
      const float step = (hi - minimum[g].to_float()) / levels;
      scale[g] = f16::from(step > most ? most : step);
    }
    float inverse[limit], low[limit];
    for (std::uint32_t g = 0; g < groups(s); ++g) {
      const float step = scale[g].to_float();
      inverse[g] = step > 0 ? 1.0f / step : 0.0f;
      low[g] = minimum[g].to_float();
    }
    auto* code = reinterpret_cast<std::uint8_t*>(out);
    std::uint8_t q[8][limit];
    for (std::uint32_t r0 = 0; r0 < s.rows; r0 += rows_per_lane, code += 4 * s.columns) {
      for (std::uint32_t k = 0; k < rows_per_lane; ++k)
        for (std::uint32_t c = 0; c < s.columns; ++c) {
          const std::uint32_t g = Group == group::row ? r0 + k : c;
          const float v = (x[(r0 + k) * s.columns + c] - low[g]) * inverse[g] + 0.5f;
          q[k][c] = static_cast<std::uint8_t>(static_cast<int>(v < 0 ? 0.0f : v > levels ? static_cast<float>(levels) : v));
        }
      for (std::uint32_t c = 0; c < s.columns; ++c)
        for (std::uint32_t k = 0; k < 4; ++k)
          code[c * 4 + k] = static_cast<std::uint8_t>(Bits == 8 ? q[k][c] : q[k][c] | q[k + 4][c] << 4);
    }
  }
  QUIRE_HD void decode(const codec_context&, tile_shape s, const std::byte* tile, float* x) const noexcept {
    const f16 *scale = scales(s, tile), *minimum = minima(s, tile);
    const auto* code = reinterpret_cast<const std::uint8_t*>(tile);
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) {
        const std::uint32_t byte = code[(r / rows_per_lane * s.columns + c) * 4 + r % 4];
        const std::uint32_t g = Group == group::row ? r : c;
        const std::uint32_t q = Bits == 8 ? byte : r % 8 < 4 ? byte & 15u : byte >> 4;
        x[r * s.columns + c] = affine{scale[g].to_float(), minimum[g].to_float()}.decode(q);
      }
  }

 private:
  static constexpr std::uint32_t limit = max_head_dim > tile_tokens ? max_head_dim : tile_tokens;
};
static_assert(Codec<integer<4, group::row>> && Codec<integer<8, group::column>>);

}  // namespace quire::inline v0::kv
