// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../core/number.hpp"
#include "../codec.hpp"

namespace quire::inline v0::kv {

/// Which elements share a scale and a minimum: a row of X (per-channel keys, per-token values) or a column of X
/// (per-token keys, per-channel values).
enum class group : std::uint8_t { row, column };

/// Unsigned affine codes, x ≈ minimum + scale·code, one f16 scale and f16 minimum for every `Size` neighbours in a row or
/// column of X (0: the whole of it; a last group may be shorter).
/// Bytes: codes as [rows/n][columns][4], where n = 4, 8, 16 rows fill the 32-bit lane of an 8-bit dot product: byte k holds
/// rows 4p + k in its bit plane p of 8, 4 or 2 bits. 3 bits are such a 2-bit array, then a 1-bit array (n = 32) of the highest
/// bits. Rows are padded with code 0 to whole lanes. Then scales, then minima, each [group along][row or column].
/// cost: Bits + 32/group elements bits an element, see `bits_per_element`; fails: never (inputs are finite).
/// from: KIVI (arXiv:2402.02750) for the choice of groups, MiKV (arXiv:2402.18096) for half a head; test: tests/kv/codec/integer.cpp
template <int Bits, group Group, std::uint32_t Size = 0>
struct integer {
  static_assert(Bits == 2 || Bits == 3 || Bits == 4 || Bits == 8, "quire::kv::integer: Bits must be 2, 3, 4 or 8");
  static_assert(Size % 32 == 0, "quire::kv::integer: Size must be a multiple of 32, or 0 for whole rows or columns");
  static constexpr int bits = Bits;
  static constexpr group grouping = Group;
  static constexpr std::uint32_t size = Size;
  static constexpr int levels = (1 << Bits) - 1;
  static constexpr int plane_bits = Bits == 3 ? 2 : Bits;                 ///< bits of a code in the first array
  static constexpr std::uint32_t rows_per_lane = 4 * (8 / plane_bits);
  static constexpr std::uint32_t high_rows = 32;                          ///< rows a lane of the 1-bit array

  static constexpr const char* format() noexcept { return text.data(); }

  /// Groups along a row or column, how many rows or columns have them, and the place of an element's group.
  QUIRE_HD static constexpr std::uint32_t along(tile_shape s) noexcept {
    return Size == 0 ? 1 : ceil_div(Group == group::row ? s.columns : s.rows, Size == 0 ? 1 : Size);
  }
  QUIRE_HD static constexpr std::uint32_t across(tile_shape s) noexcept { return Group == group::row ? s.rows : s.columns; }
  QUIRE_HD static constexpr std::uint32_t groups(tile_shape s) noexcept { return along(s) * across(s); }
  QUIRE_HD static constexpr std::uint32_t group_of(tile_shape s, std::uint32_t row, std::uint32_t column) noexcept {
    const std::uint32_t line = Group == group::row ? row : column, place = Group == group::row ? column : row;
    return Size == 0 ? line : place / (Size == 0 ? 1 : Size) * across(s) + line;
  }

  /// Parts of a tile.
  QUIRE_HD static constexpr std::size_t plane_bytes(tile_shape s) noexcept { return std::size_t{ceil_div(s.rows, rows_per_lane)} * s.columns * 4; }
  QUIRE_HD static constexpr std::size_t code_bytes(tile_shape s) noexcept {
    return plane_bytes(s) + (Bits == 3 ? std::size_t{ceil_div(s.rows, high_rows)} * s.columns * 4 : 0);
  }
  QUIRE_HD constexpr std::size_t tile_bytes(tile_shape s) const noexcept { return code_bytes(s) + std::size_t{groups(s)} * 4; }
  QUIRE_HD static const f16* scales(tile_shape s, const std::byte* tile) noexcept {
    return reinterpret_cast<const f16*>(tile + code_bytes(s));
  }
  QUIRE_HD static const f16* minima(tile_shape s, const std::byte* tile) noexcept { return scales(s, tile) + groups(s); }

  /// Scale and minimum of a group that spans [lo, hi], as they are stored, and the code of one of its elements.
  struct fitted {
    f16 scale, minimum;
    float inverse;
  };
  QUIRE_HD static constexpr fitted fit(float lo, float hi) noexcept {
    constexpr float most = 65504.0f;  // of f16: rows beyond it saturate, and stay finite
    const f16 minimum = f16::from(lo < -most ? -most : lo > most ? most : lo);
    const float range = (hi - minimum.to_float()) / levels;
    const f16 scale = f16::from(range > most ? most : range < -most ? -most : range);  // below 0 where the minimum saturated
    const float step = scale.to_float();
    return {scale, minimum, step > 0 ? 1.0f / step : 0.0f};
  }
  QUIRE_HD static constexpr std::uint32_t code(float x, float minimum, float inverse) noexcept {
    const float v = (x - minimum) * inverse + 0.5f;
    return static_cast<std::uint32_t>(static_cast<int>(v < 0 ? 0.0f : v > levels ? static_cast<float>(levels) : v));
  }

  QUIRE_HD void encode(const codec_context&, tile_shape s, const float* x, std::byte* out) const noexcept {
    auto* scale = reinterpret_cast<f16*>(out + code_bytes(s));
    f16* minimum = scale + groups(s);
    float inverse[limit], low[limit];
    for (std::uint32_t g = 0; g < groups(s); ++g) {
      const std::uint32_t line = g % across(s), begin = g / across(s) * Size, end = Size == 0 ? length(s) : least(begin + Size, length(s));
      const float* first = Group == group::row ? x + line * s.columns : x + line;
      const std::uint32_t stride = Group == group::row ? 1 : s.columns;
      float lo = first[begin * stride], hi = lo;
      for (std::uint32_t i = begin + 1; i < end; ++i) {
        const float v = first[i * stride];
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
      }
      const fitted f = fit(lo, hi);
      scale[g] = f.scale, minimum[g] = f.minimum, inverse[g] = f.inverse, low[g] = f.minimum.to_float();
    }
    auto* code = reinterpret_cast<std::uint8_t*>(out);
    std::uint8_t q[rows_per_lane][longest];
    for (std::uint32_t r0 = 0; r0 < s.rows; r0 += rows_per_lane, code += 4 * s.columns) {
      for (std::uint32_t k = 0; k < rows_per_lane; ++k) code_row(s, x, r0 + k, inverse, low, q[k]);
      for (std::uint32_t c = 0; c < s.columns; ++c)
        for (std::uint32_t k = 0; k < 4; ++k) {
          std::uint32_t byte = 0;
          for (std::uint32_t p = 0; p < rows_per_lane / 4; ++p) byte |= (q[4 * p + k][c] & plane_mask) << plane_bits * p;
          code[c * 4 + k] = static_cast<std::uint8_t>(byte);
        }
      if constexpr (Bits == 3) {
        auto* high = reinterpret_cast<std::uint8_t*>(out) + plane_bytes(s) + std::size_t{r0 / high_rows} * s.columns * 4;
        const std::uint32_t shift = r0 % high_rows / 4;
        for (std::uint32_t c = 0; c < s.columns; ++c)
          for (std::uint32_t k = 0; k < 4; ++k) {
            std::uint32_t byte = shift == 0 ? 0 : high[c * 4 + k];
            for (std::uint32_t p = 0; p < 4; ++p) byte |= (q[4 * p + k][c] >> 2u & 1u) << (shift + p);
            high[c * 4 + k] = static_cast<std::uint8_t>(byte);
          }
      }
    }
  }
  QUIRE_HD void decode(const codec_context&, tile_shape s, const std::byte* tile, float* x) const noexcept {
    affine of[limit];
    for (std::uint32_t g = 0; g < groups(s); ++g) of[g] = {scales(s, tile)[g].to_float(), minima(s, tile)[g].to_float()};
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c) x[r * s.columns + c] = of[group_of(s, r, c)].decode(code_of(s, tile, r, c));
  }
  /// Element (r, c) of a tile.
  QUIRE_HD static float element(tile_shape s, const std::byte* tile, std::uint32_t r, std::uint32_t c) noexcept {
    const std::uint32_t g = group_of(s, r, c);
    return affine{scales(s, tile)[g].to_float(), minima(s, tile)[g].to_float()}.decode(code_of(s, tile, r, c));
  }

 private:
  static constexpr std::uint32_t longest = max_head_dim > tile_tokens ? max_head_dim : tile_tokens;
  static constexpr std::uint32_t limit = Size == 0 ? longest : max_head_dim * tile_tokens / 32;  // groups of a tile
  static constexpr std::uint32_t plane_mask = (1u << plane_bits) - 1u;
  static constexpr format_text text = [] {
    format_text t;
    t.add("int").add(static_cast<std::uint32_t>(Bits)).add(Group == group::row ? "-row" : "-column");
    if (Size != 0) t.add(Size);
    return t.add(".1");
  }();
  QUIRE_HD static constexpr std::uint32_t length(tile_shape s) noexcept { return Group == group::row ? s.columns : s.rows; }
  QUIRE_HD static constexpr std::uint32_t least(std::uint32_t a, std::uint32_t b) noexcept { return a < b ? a : b; }

  QUIRE_HD static std::uint32_t code_of(tile_shape s, const std::byte* tile, std::uint32_t r, std::uint32_t c) noexcept {
    const auto* code = reinterpret_cast<const std::uint8_t*>(tile);
    const std::uint32_t byte = code[(r / rows_per_lane * s.columns + c) * 4 + r % 4], low = byte >> (r % rows_per_lane / 4 * plane_bits) & plane_mask;
    if constexpr (Bits != 3) return low;
    else return low | (code[plane_bytes(s) + (r / high_rows * s.columns + c) * 4 + r % 4] >> (r % high_rows / 4) & 1u) << 2;
  }

  /// Codes of row `r`, zeros past the last row; column blocks that share groups keep the inner loop plain.
  QUIRE_HD static void code_row(tile_shape s, const float* x, std::uint32_t r, const float* inverse, const float* low, std::uint8_t* q) noexcept {
    if (r >= s.rows) {
      for (std::uint32_t c = 0; c < s.columns; ++c) q[c] = 0;
      return;
    }
    const std::uint32_t width = Group == group::row && Size != 0 ? Size : s.columns;
    for (std::uint32_t c0 = 0; c0 < s.columns; c0 += width) {
      const std::uint32_t end = least(c0 + width, s.columns), g = group_of(s, r, c0);
      for (std::uint32_t c = c0; c < end; ++c) {
        const std::uint32_t at = Group == group::row ? g : g + c;
        q[c] = static_cast<std::uint8_t>(code(x[r * s.columns + c], low[at], inverse[at]));
      }
    }
  }
};
static_assert(Codec<integer<4, group::row>> && Codec<integer<8, group::column>> && Codec<integer<2, group::row, 32>> && Codec<integer<3, group::column, 32>>);

}  // namespace quire::inline v0::kv
