// SPDX-License-Identifier: Apache-2.0
// A few directions of a matrix: R ≈ P·Q, by block power iteration. What codecs that repair a residual share.
#pragma once

#include <bit>
#include <cmath>

#include "../../core/random.hpp"
#include "../codec.hpp"

namespace quire::inline v0::kv {

/// Bits that depend on x and on nothing else: a start for what wants random numbers.
QUIRE_HD constexpr std::uint64_t mix(std::uint64_t x) noexcept { return splitmix64(x)(); }
QUIRE_HD constexpr std::uint64_t place_seed(const codec_context& at) noexcept {
  return mix(mix(mix(mix(at.seed ^ at.layer) ^ at.head) ^ at.tile) ^ static_cast<std::uint64_t>(at.which));
}

/// What a fit starts with, rounds of its iteration, and how it scales a residual: by the power of two that brings the largest magnitude (as
/// bits) below 1.
inline constexpr int low_rank_rounds = 3;
QUIRE_HD constexpr float low_rank_start(std::uint64_t seed, std::uint32_t i) noexcept { return static_cast<float>(static_cast<std::int32_t>(mix(seed + i) >> 40)) * 0x1p-23f - 1.0f; }
QUIRE_HD constexpr float low_rank_scale(std::uint32_t largest) noexcept {
  const std::uint32_t exponent = largest >> 23;
  return largest == 0 ? 1.0f : std::bit_cast<float>((exponent > 252 ? 1u : 253u - exponent) << 23);
}
/// What a row is multiplied by to have length 1, from its squared length before and after others were taken out of it. 0: nothing is left.
QUIRE_HD inline float low_rank_norm(float before, float left) noexcept { return left > 1e-10f * before && left > 1e-30f ? 1.0f / std::sqrt(left) : 0.0f; }

/// Orthonormal rows from `count` rows of `n`, one after the other, each swept twice. A row that holds nothing new becomes zeros.
inline void orthonormalize(float* v, std::uint32_t count, std::uint32_t n) noexcept {
  const auto dot = [n](const float* a, const float* b) {
    float part[8] = {};
    for (std::uint32_t i = 0; i < n; i += 8)
      for (std::uint32_t k = 0; k < 8; ++k) part[k] += a[i + k] * b[i + k];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
  };
  for (std::uint32_t k = 0; k < count; ++k) {
    float* row = v + k * n;
    const float before = dot(row, row);
    for (int sweep = 0; sweep < 2; ++sweep)
      for (std::uint32_t j = 0; j < k; ++j) {
        const float along = dot(row, v + j * n);
        for (std::uint32_t i = 0; i < n; ++i) row[i] -= along * v[j * n + i];
      }
    const float scale = low_rank_norm(before, dot(row, row));
    for (std::uint32_t i = 0; i < n; ++i) row[i] *= scale;
  }
}

/// Fits P [rank][rows] and Q [rank][columns] so that Pᵀ·Q is R [rows][columns] projected on `rank` directions: P is orthonormal (or has
/// zero rows where R has fewer directions) and Q = P·R. R is scaled in place by a power of two to lie within ±1; the
/// function returns that scale, by which Q is to be divided. shape: rows and columns multiples of 8, finite; cost:
/// 4·rounds·rank·rows·columns operations; fails: never, zeros give zeros. from: GEAR (arXiv:2403.05527); test: tests/kv/codec/low_rank.cpp
inline float fit_low_rank(float* residual, tile_shape s, std::uint32_t rank, std::uint64_t seed, float* p, float* q) noexcept {
  std::uint32_t largest = 0;
  for (std::uint32_t i = 0; i < s.elements(); ++i) {
    const std::uint32_t a = std::bit_cast<std::uint32_t>(residual[i]) & 0x7fffffffu;
    largest = a > largest ? a : largest;
  }
  const float scale = low_rank_scale(largest);
  for (std::uint32_t i = 0; i < s.elements(); ++i) residual[i] *= scale;
  for (std::uint32_t i = 0; i < rank * s.columns; ++i) q[i] = low_rank_start(seed, i);
  for (int round = 0; round < low_rank_rounds; ++round) {
    orthonormalize(q, rank, s.columns);
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t k = 0; k < rank; ++k) {
        float part[8] = {};
        const float *row = residual + r * s.columns, *with = q + k * s.columns;
        for (std::uint32_t c = 0; c < s.columns; c += 8)
          for (std::uint32_t l = 0; l < 8; ++l) part[l] += row[c + l] * with[c + l];
        p[k * s.rows + r] = ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
      }
    orthonormalize(p, rank, s.rows);
    for (std::uint32_t i = 0; i < rank * s.columns; ++i) q[i] = 0;
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t k = 0; k < rank; ++k) {
        const float weight = p[k * s.rows + r];
        const float* row = residual + r * s.columns;
        float* to = q + k * s.columns;
        for (std::uint32_t c = 0; c < s.columns; ++c) to[c] += weight * row[c];
      }
  }
  return scale;
}

}  // namespace quire::inline v0::kv
