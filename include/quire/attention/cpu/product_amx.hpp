// SPDX-License-Identifier: Apache-2.0
// Products of the fold on matrix registers (core/amx.hpp): a tile's words, [rows / per word][columns], are the right operand as they lie
// (or as bytes that a codec widened them to), sixteen rows of coefficients are the left one.
#pragma once

#include <algorithm>
#include <array>

#include "../../core/amx.hpp"
#include "../../core/simd.hpp"
#include "../../kv/codec.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

namespace hn = hwy::HWY_NAMESPACE;

/// Pairs of bf16. However few rows of coefficients there are, or a row's bits would depend on their number; shapes that do not divide are left
/// to the vector units. `fetch(line)` asks for the next tile's.
struct bf16_registers {
  static constexpr std::uint32_t columns = amx::most_bytes / 4, steps = amx::most_rows * 2;   ///< of X, in one register

  static bool take(kv::tile_shape s) noexcept {
    if constexpr (amx::compiled) return s.rows % steps == 0 && s.columns % columns == 0 && amx::allowed();
    else return false;
  }
  /// y += a · X for n rows of a, `stride` bytes apart. precondition: take(s)
  template <class Fetch>
  static void multiply(kv::tile_shape s, const std::byte* tile, const std::byte* a, std::size_t stride, std::uint32_t n, float* y, std::size_t ldy, const Fetch& fetch) noexcept {
    start(n);
    for (std::uint32_t r = 0; r < n; r += amx::most_rows) block(s, tile, a + r * stride, stride, n - r, y + r * ldy, ldy, fetch, r == 0);
  }
  /// The same in blocks of sixteen rows; the last one has what is left of n. `asks`: of the first.
  static void start(std::uint32_t n) noexcept { amx::use(shapes[n % amx::most_rows]); }
  template <class Fetch>
  static void block(kv::tile_shape s, const std::byte* tile, const std::byte* a, std::size_t stride, std::uint32_t left, float* y, std::size_t ldy, const Fetch& fetch,
                    bool asks) noexcept {
    if (left >= amx::most_rows) rows<0>(s, tile, a, stride, y, ldy, fetch, asks);
    else rows<1>(s, tile, a, stride, y, ldy, fetch, asks);
  }

 private:
  /// [rows of the last block, 0: none]. Registers 0, 1: sums of sixteen rows, 2, 3: of the last block; 4, 5: coefficients of both; 6, 7: the tile's.
  static constexpr auto shapes = [] {
    std::array<amx::configuration, amx::most_rows> all;
    for (std::uint32_t last = 0; last < amx::most_rows; ++last)
      for (std::uint32_t r = 0; r < 8; ++r) all[last].with(r, r == 2 || r == 3 || r == 5 ? std::max(last, 1u) : amx::most_rows, amx::most_bytes);
    return all;
  }();

  /// A block of rows: Last 0: sixteen, 1: what is left. The first one asks.
  template <std::uint32_t Last, class Fetch>
  static void rows(kv::tile_shape s, const std::byte* tile, const std::byte* a, std::size_t stride, float* y, std::size_t ldy, const Fetch& fetch, bool asks) noexcept {
    const std::size_t line = std::size_t{s.columns} * 4, to = ldy * 4;
    for (std::uint32_t c = 0; c < s.columns; c += 2 * columns) {
      const bool two = c + columns < s.columns;
      amx::load<2 * Last>(y + c, to);
      if (two) amx::load<2 * Last + 1>(y + c + columns, to);
      const std::byte* from = tile + std::size_t{c} * 4;
      for (std::uint32_t k = 0; k < s.rows; k += steps, from += amx::most_rows * line) {
        for (std::uint32_t i = 0; i < amx::most_rows && asks; ++i) {
          fetch(from + i * line);
          if (two) fetch(from + i * line + amx::most_bytes);
        }
        amx::load<4 + Last>(a + std::size_t{k} * 2, stride);
        amx::load<6>(from, line), amx::multiply_bf16<2 * Last, 4 + Last, 6>();
        if (two) amx::load<7>(from + amx::most_bytes, line), amx::multiply_bf16<2 * Last + 1, 4 + Last, 7>();
      }
      amx::store<2 * Last>(y + c, to);
      if (two) amx::store<2 * Last + 1>(y + c + columns, to);
    }
  }
};

/// Codes of 8 bits, [rows / 4][columns][4], times coefficients of 8 bits and a remainder of 7: sums are exact, so blocks of sixteen rows may
/// take this way and what is left another.
struct code_registers {
  static constexpr std::uint32_t columns = amx::most_bytes / 4, rows = amx::most_rows;

  /// `group`: rows of X that are summed before they are scaled.
  static bool take(kv::tile_shape s, std::uint32_t group, std::uint32_t n) noexcept {
    if constexpr (amx::compiled) return n >= rows && group % 32 == 0 && s.rows % group == 0 && s.columns % columns == 0 && amx::allowed();
    else return false;
  }
  /// done(j, c, sums) gets what rows [j·group, (j + 1)·group) of X give sixteen rows of coefficients in columns [c, c + 16):
  /// 128·(high part) + low part, sums [16][16]. High parts of the coefficients for column c begin at high_of(c), low ones s.rows later; rows are `stride` bytes apart.
  template <class HighOf, class Done>
  static void multiply(kv::tile_shape s, std::uint32_t group, const std::byte* codes, HighOf&& high_of, std::size_t stride, Done&& done) noexcept {
    const bool wide = group % 64 == 0;
    const std::uint32_t step = wide ? 64 : 32;
    amx::use(shapes[wide]);
    const std::size_t line = std::size_t{s.columns} * 4;
    alignas(64) std::int32_t sums[2][2][rows * columns];   // [turn][part]
    std::uint32_t turn = 0, last_j = 0, last_c = 0;
    const auto finish = [&](std::uint32_t which) __attribute__((always_inline)) {
      const simd::i32_of<simd::f32_tag> d;
      for (std::uint32_t i = 0; i < rows * columns; i += static_cast<std::uint32_t>(hn::Lanes(d)))
        hn::Store(hn::Add(hn::ShiftLeft<7>(hn::Load(d, sums[which][0] + i)), hn::Load(d, sums[which][1] + i)), d, sums[which][0] + i);
      done(last_j, last_c, sums[which][0]);
    };
    for (std::uint32_t j = 0; j < s.rows / group; ++j)
      for (std::uint32_t c = 0; c < s.columns; c += columns) {
        const std::byte* const high = high_of(c);
        amx::zero<0>(), amx::zero<1>();
        for (std::uint32_t k = j * group; k < (j + 1) * group; k += step) {
          amx::load<4>(codes + k / 4 * line + std::size_t{c} * 4, line);
          amx::load<2>(high + k, stride), amx::multiply_s8u8<0, 2, 4>();
          amx::load<3>(high + s.rows + k, stride), amx::multiply_s8u8<1, 3, 4>();
        }
        amx::store<0>(sums[turn][0], amx::most_bytes), amx::store<1>(sums[turn][1], amx::most_bytes);
        if (j != 0 || c != 0) finish(1 - turn);  // while these are on their way
        last_j = j, last_c = c, turn = 1 - turn;
      }
    finish(1 - turn);
  }

 private:
  /// [32 or 64 rows of X a step]. Registers 0, 1: sums of both parts, 2, 3: coefficients, 4: the tile's.
  static constexpr auto shapes = [] {
    std::array<amx::configuration, 2> both;
    for (const std::uint32_t wide : {0u, 1u}) {
      for (std::uint32_t r = 0; r < 4; ++r) both[wide].with(r, rows, r < 2 || wide ? 64 : 32);
      both[wide].with(4, wide ? 16 : 8, 64);
    }
    return both;
  }();
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
