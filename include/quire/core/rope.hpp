// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "config.hpp"
#include "deal.hpp"
#include "status.hpp"

namespace quire::inline v0 {

/// Which elements of a head turn together: (2i, 2i+1), as GGUF llama models are converted, or (i, i + dims/2), as NeoX
/// has it.
enum class rope_style : std::uint8_t { interleaved, halves };

/// Rotary position embedding of the first `dims` elements of a head: pair i turns by
/// position · frequency_scale · base^(−2i/dims) / factors[i]. from: RoFormer (arXiv:2104.09864)
struct rope {
  rope_style style = rope_style::interleaved;
  std::uint32_t dims = 64;         ///< even, ≤ the head's width; the rest stays as it is
  double base = 10000.0;           ///< > 0
  double frequency_scale = 1.0;    ///< 1 / s for positions interpolated s times
  const float* factors = nullptr;  ///< [dims/2] divisors, or null
};

/// fails: out_of_range (dims odd, zero or above head_dim); base or frequency_scale not positive and finite.
[[nodiscard]] inline status supports(const rope& r, std::uint32_t head_dim) noexcept {
  if (r.dims == 0 || r.dims > head_dim || r.dims % 2 != 0)
    return {errc::out_of_range, "dims of the rope (even)", r.dims, 2, head_dim};
  if (!(r.base > 0) || !std::isfinite(r.base)) return {errc::out_of_range, "base of the rope (positive)"};
  if (!(r.frequency_scale > 0) || !std::isfinite(r.frequency_scale))
    return {errc::out_of_range, "frequency_scale of the rope (positive)"};
  return {};
}

/// Row of one position: cos [dims/2], then sin [dims/2]. Rows of other positions follow it. Angles are computed in
/// double. cost: about 50 ns per pair and position; fill once per context. table [positions.size()][dims].
inline void fill_rope(const rope& r, range positions, float* table) noexcept {
  const std::uint32_t pairs = r.dims / 2;
  for (std::uint32_t i = 0; i < pairs; ++i) {
    double step = r.frequency_scale * std::pow(r.base, -2.0 * i / r.dims);
    if (r.factors) step /= static_cast<double>(r.factors[i]);
    for (std::uint64_t p = positions.begin; p < positions.end; ++p) {
      const double angle = static_cast<double>(p) * step;
      float* row = table + (p - positions.begin) * r.dims;
      row[i] = static_cast<float>(std::cos(angle));
      row[pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace quire::inline v0
