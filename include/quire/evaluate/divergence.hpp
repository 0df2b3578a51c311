// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "../core/config.hpp"

namespace quire::inline v0::evaluate {

// How far one row of logits is from another, and from a token. Logits are f32 as models write them; every sum is double and
// runs from the first element to the last, so a row's measures never depend on the rows beside it.

/// log Σ exp(x). shape: x [vocabulary]. An empty row, or one of −inf alone, gives −inf; NaN anywhere gives NaN.
/// test: tests/evaluate/divergence.cpp
inline double log_sum_exp(std::span<const float> x) noexcept {
  float top = -std::numeric_limits<float>::infinity();
  for (const float v : x) top = v > top ? v : top;
  if (std::isinf(top)) {
    for (const float v : x) if (v != v) return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(top);
  }
  double sum = 0;
  for (const float v : x) sum += std::exp(static_cast<double>(v) - static_cast<double>(top));
  return static_cast<double>(top) + std::log(sum);
}

/// KL(p ‖ q) = Σ p·(log p − log q) in nats, for p = softmax(ref), q = softmax(x), whose log_sum_exp are given.
/// Never below 0; a token that p excludes (−inf) adds nothing, one that q alone excludes gives +inf; NaN stays NaN.
/// shape: ref, x [vocabulary], of equal size.
inline double divergence(std::span<const float> ref, double ref_norm, std::span<const float> x, double norm) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double log_p = static_cast<double>(ref[i]) - ref_norm, p = std::exp(log_p);
    if (p == 0) continue;  // also what underflows: p·log p is 0 there to every digit
    sum += p * (log_p - (static_cast<double>(x[i]) - norm));
  }
  return sum < 0 ? 0 : sum;
}
inline double divergence(std::span<const float> ref, std::span<const float> x) noexcept {
  return divergence(ref, log_sum_exp(ref), x, log_sum_exp(x));
}

/// −log softmax(x)[token], in nats. precondition: token < x.size().
inline double negative_log_likelihood(std::span<const float> x, double norm, std::size_t token) noexcept {
  return norm - static_cast<double>(x[token]);
}

/// The likeliest token, the first of equals, which is what greedy decoding takes; x.size() when there is none (empty, or all NaN).
inline std::size_t top1(std::span<const float> x) noexcept {
  std::size_t best = x.size();
  for (std::size_t i = 0; i < x.size(); ++i)
    if (best == x.size() ? x[i] == x[i] : x[i] > x[best]) best = i;
  return best;
}

/// What a row says of the token that came next, and how it differs from the reference's row.
struct row_score {
  double nll = 0;      ///< of the token, nats
  double kl = 0;       ///< KL(reference ‖ row), nats
  bool agrees = true;  ///< both would decode the same token
};

/// shape: ref, x [vocabulary]. A row compared with itself has KL 0 exactly and agrees.
inline row_score score_row(std::span<const float> ref, double ref_norm, std::span<const float> x, std::size_t token) noexcept {
  const double norm = log_sum_exp(x);
  const bool same = ref.data() == x.data();
  return {negative_log_likelihood(x, norm, token), same ? 0.0 : divergence(ref, ref_norm, x, norm), same || top1(ref) == top1(x)};
}

}  // namespace quire::inline v0::evaluate
