// SPDX-License-Identifier: Apache-2.0
// One product of one codec against double precision, for every number of rows and every head size.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "catch.hpp"
#include "quire/attention/cpu/product_integer.hpp"

namespace product_check {

using namespace quire;

/// `bound(s, a, x, at)`: the error allowed for the rows of `a` [rows] against column `at` of the decoded tile x.
/// `round`: what the kernel does to a coefficient first, as documented.
template <class Codec, class Round, class Bound>
void check(Round&& round, Bound&& bound) {
  using multiplier = attention::cpu::multiplier<Codec>;
  const Codec codec;
  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  for (kv::side which : {kv::side::key, kv::side::value})
    for (std::uint32_t dim = 8; dim <= 256; dim += 8) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      const kv::codec_context at{.which = which};
      constexpr std::uint32_t most = 19, counts[] = {19, 17, 16, 9, 8, 7, 6, 5, 4, 3, 2, 1};
      const std::uint32_t lda = s.rows + 3, ldy = s.columns + 5;
      std::vector<float> x(s.elements()), decoded(s.elements()), a(most * lda), start(most * ldy), first;
      for (float& v : x) v = 0.3f + normal(random);
      for (float& v : a) v = normal(random);
      for (float& v : start) v = normal(random);
      for (std::uint32_t k = 0; k < s.rows; ++k) a[4 * lda + k] = 0;  // a row of zeros, as fully masked weights are
      std::vector<std::byte> tile(codec.tile_bytes(s) + 64), prepared(most * multiplier::prepared_bytes(s)), scratch(multiplier::scratch_bytes(s) + 1);
      codec.encode(at, s, x.data(), tile.data());
      codec.decode(at, s, tile.data(), decoded.data());
      for (const std::uint32_t n : counts) {
        auto y = start;
        multiplier::prepare(codec, at, s, multiplier::tile_free ? nullptr : tile.data(), a.data(), lda, n, prepared.data());
        multiplier::multiply(codec, at, s, tile.data(), prepared.data(), n, y.data(), ldy, scratch.data());
        if (n == most) {
          first = y;
          for (std::uint32_t r = 0; r < n; ++r)
            for (std::uint32_t c = 0; c < s.columns; ++c) {
              double want = start[r * ldy + c], size = std::fabs(want);
              for (std::uint32_t k = 0; k < s.rows; ++k) {
                const double term = static_cast<double>(round(a[r * lda + k])) * decoded[k * s.columns + c];
                want += term, size += std::fabs(term);
              }
              const double allowed = bound(s, tile.data(), &a[r * lda], c) + size * 0x1p-18;
              if (!(std::fabs(want - y[r * ldy + c]) <= allowed))
                FAIL("head_dim " << dim << " row " << r << " column " << c << ": " << y[r * ldy + c] << " instead of " << want << ", allowed " << allowed);
            }
        }
        for (std::uint32_t r = 0; r < most; ++r) {
          if (r < n && std::memcmp(&y[r * ldy], &first[r * ldy], s.columns * 4) != 0) FAIL("head_dim " << dim << ": row " << r << " changes with n = " << n);
          if (r >= n && std::memcmp(&y[r * ldy], &start[r * ldy], s.columns * 4) != 0) FAIL("head_dim " << dim << ": row " << r << " written past n = " << n);
          if (std::memcmp(&y[r * ldy + s.columns], &start[r * ldy + s.columns], 20) != 0) FAIL("head_dim " << dim << ": columns written past the end");
        }
      }
    }
  SUCCEED();
}

inline constexpr auto exact = [](float v) { return v; };
inline constexpr auto to_bf16 = [](float v) { return bf16::from(v).to_float(); };
inline constexpr auto nothing = [](kv::tile_shape, const std::byte*, const float*, std::uint32_t) { return 0.0; };

/// Fixed-point coefficients: each is off by at most 2⁻⁸/127 of the largest that shares its unit (of a·scale for row groups;
/// of the rows of one group for column groups), times its code.
template <class Codec>
double fixed_point(kv::tile_shape s, const std::byte* tile, const float* a, std::uint32_t column) {
  constexpr bool by_row = Codec::grouping == kv::group::row;
  const std::uint32_t length = by_row || Codec::size == 0 ? s.rows : Codec::size;
  double error = 0;
  for (std::uint32_t begin = 0; begin < s.rows; begin += length) {
    const std::uint32_t end = std::min(begin + length, s.rows);
    double largest = 0;
    for (std::uint32_t k = begin; k < end; ++k)
      largest = std::max(largest, std::fabs(static_cast<double>(a[k]) * (by_row ? Codec::scales(s, tile)[Codec::group_of(s, k, column)].to_float() : 1.0f)));
    const double scale = by_row ? 1.0 : Codec::scales(s, tile)[Codec::group_of(s, begin, column)].to_float();
    error += largest * 0x1p-8 / 127 * 1.001 * (end - begin) * Codec::levels * scale;
  }
  return error;
}

}  // namespace product_check
