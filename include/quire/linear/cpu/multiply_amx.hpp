// SPDX-License-Identifier: Apache-2.0
// Quantized products on matrix registers (core/amx.hpp): the same sums of 32 columns, exact as integers, scaled in the same order as in
// multiply.hpp, so results have the same bits. What is left to the vector units is scaling.
#pragma once

#include "../../core/amx.hpp"
#include "codes.hpp"

namespace quire::inline v0::linear::cpu::inline QUIRE_ISA::kernel {

/// A group of sixteen rows is a register. Products of `ahead` blocks are on their way while one before them is scaled.
namespace tiles {
inline constexpr std::uint32_t slice = 64, ahead = 2, turns = ahead + 1;   ///< slice: blocks whose codes are widened at a time
/// Registers 0 to 2: sums; 3 to 5: activations; 6 and 7: weights.
inline constexpr amx::configuration shapes = [] {
  amx::configuration c;
  for (std::uint32_t i = 0; i < turns; ++i) c.with(i, group_rows, 64).with(turns + i, group_rows, block_cols);
  return c.with(6, block_cols / 4, 64).with(7, block_cols / 4, 64);
}();

/// Codes of a block as bytes, [8][16 rows][4 columns]: q8_0 has them so, q4_1 is widened.
template <class Block>
HWY_INLINE const std::byte* codes_of(const std::byte* panel, std::size_t b, std::byte* room) noexcept {
  if constexpr (std::is_same_v<Block, q8_0_block>) {
    return panel + detail::q8_0_codes(b);
  } else {
    const Block w(panel, b, 0);
    unroll<8>([&](auto k) __attribute__((always_inline)) { hn::StoreU(w.code[k], simd::u32_of<simd::f32_tag>{}, reinterpret_cast<std::uint32_t*>(room + 64 * k)); });
    return room;
  }
}
}  // namespace tiles

/// Whether products of quantized weights take this way.
inline bool uses_tiles() noexcept {
  if constexpr (amx::compiled && lanes == panel_rows) return amx::allowed();
  else return false;
}

/// Where sums of a panel begin and go: before the first block they are zero, after the last one they are outputs, between slices they wait in `total`.
struct tile_outputs {
  float* total;                ///< [rows][16]
  float* y;                    ///< [rows][stride]
  std::size_t stride;
  std::uint32_t valid;         ///< outputs of the panel that exist
  store_mode mode;
};

/// What blocks [begin, end) of a panel add to `count` full groups of rows from `g` on. precondition: uses_tiles(), end − begin ≤ tiles::slice
template <class Block>
HWY_NOINLINE void multiply_tiles(const std::byte* panel, std::size_t begin, std::size_t end, const activations& x, std::uint32_t g, std::uint32_t count, tile_outputs to) noexcept {
  const simd::f32_tag d;
  constexpr std::size_t block_bytes = 40 * group_rows;
  alignas(64) std::byte room[std::is_same_v<Block, q8_0_block> ? 1 : tiles::slice * 512];
  alignas(64) std::int32_t sums[tiles::turns][group_rows * panel_rows];
  const std::byte* codes[tiles::slice];
  for (std::size_t b = begin; b < end; ++b) codes[b - begin] = tiles::codes_of<Block>(panel, b, room + (sizeof room == 1 ? 0 : (b - begin) * 512));
  amx::use(tiles::shapes);
  const bool first = begin == 0, last = end == x.cols / block_cols;
  for (std::uint32_t i = 0; i < count; ++i, to.total += group_rows * panel_rows, to.y += group_rows * to.stride) {
    const std::byte* const rows = x.group(g + i);
    f32_vec acc[group_rows];
    unroll<group_rows>([&](auto r) __attribute__((always_inline)) { acc[r] = first ? hn::Zero(d) : hn::LoadU(d, to.total + r * panel_rows); });
    const auto ask = [&](auto turn, std::size_t b) __attribute__((always_inline)) {
      constexpr std::uint32_t c = decltype(turn)::value, w = 6 + c % 2;
      if (b >= end) return;
      amx::load<w>(codes[b - begin], 64), amx::load<tiles::turns + c>(rows + b * block_bytes, block_cols);
      amx::zero<c>(), amx::multiply_s8u8<c, tiles::turns + c, w>();
      amx::store<c>(sums[c], 64);
    };
    const auto take = [&](auto turn, std::size_t b) __attribute__((always_inline)) {
      const typename Block::scaling w(panel, b, 0);
      const std::byte *scales = rows + b * block_bytes + 32 * group_rows, *all = scales + 4 * group_rows;
      unroll<group_rows>([&](auto r) __attribute__((always_inline)) {
        const auto dot = hn::ConvertTo(d, hn::Load(simd::i32_of<simd::f32_tag>{}, sums[decltype(turn)::value] + r * panel_rows));
        acc[r] = hn::MulAdd(hn::Set(d, load_as<float>(scales + 4 * r)), w.value(dot, hn::Set(d, load_as<float>(all + 4 * r))), acc[r]);
      });
    };
    unroll<tiles::ahead>([&](auto turn) __attribute__((always_inline)) { ask(turn, begin + turn); });
    for (std::size_t b = begin; b < end; b += tiles::turns)
      unroll<tiles::turns>([&](auto turn) __attribute__((always_inline)) {
        if (b + turn >= end) return;
        ask(std::integral_constant<std::size_t, (turn + tiles::ahead) % tiles::turns>{}, b + turn + tiles::ahead);
        take(turn, b + turn);
      });
    unroll<group_rows>([&](auto r) __attribute__((always_inline)) {
      if (last) put(acc[r], to.y + r * to.stride, to.valid, to.mode);
      else hn::StoreU(acc[r], d, to.total + r * panel_rows);
    });
  }
}

}  // namespace quire::inline v0::linear::cpu::inline QUIRE_ISA::kernel
