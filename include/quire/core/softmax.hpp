// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "config.hpp"

namespace quire::inline v0 {

/// Partial softmax of some tokens for one query row: `m` the largest logit, `l` = Σ exp(logit − m). The output row
/// o [dim] = Σ exp(logit − m)·v stands beside it. The identity is (−inf, 0, 0): no token, or every token masked.
/// from: online softmax (arXiv:1805.02867); test: tests/core/softmax.cpp
struct softmax_state {
  float m = -std::numeric_limits<float>::infinity();
  float l = 0;
};

/// Weights that bring two states to a common maximum.
struct merge_weights {
  softmax_state state;
  float left, right;
};

/// Associative and commutative up to rounding; merging with the identity is exact, never NaN.
QUIRE_HD inline merge_weights merge(const softmax_state& a, const softmax_state& b) noexcept {
  const float m = a.m > b.m ? a.m : b.m;
  if (!(m > -std::numeric_limits<float>::infinity())) return {{}, 0.0f, 0.0f};
  const float wa = std::exp(a.m - m), wb = std::exp(b.m - m);
  return {{m, a.l * wa + b.l * wb}, wa, wb};
}

/// a ← a ⊕ b for whole rows: o_a [dim] becomes o_a·left + o_b·right.
QUIRE_HD inline void merge_into(softmax_state& a, float* oa, const softmax_state& b, const float* ob, std::uint32_t dim) noexcept {
  const merge_weights w = merge(a, b);
  a = w.state;
  for (std::uint32_t i = 0; i < dim; ++i) oa[i] = oa[i] * w.left + ob[i] * w.right;
}

/// Factor that turns o into the attention output; a fully masked row gives zeros.
QUIRE_HD inline float normalizer(const softmax_state& s) noexcept { return s.l > 0 ? 1.0f / s.l : 0.0f; }

}  // namespace quire::inline v0
