// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <random>
#include <vector>

#include "quire/attention/problem.hpp"

namespace fixture {

/// Rows of q, k and v [tokens][heads·dim] of one sequence and layer. Keys have outlier channels, as real ones do.
struct token_rows {
  std::uint32_t tokens;
  std::size_t q_width, kv_width;
  std::vector<float> q, k, v;
  token_rows(std::uint32_t n, const quire::attention::problem& p, unsigned seed)
      : tokens(n), q_width(std::size_t{p.q_heads} * p.dim_k), kv_width(std::size_t{p.kv_heads} * p.dim_k), q(n * q_width), k(n * kv_width), v(n * kv_width) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& x : q) x = 2 * normal(random);
    for (float& x : v) x = normal(random);
    for (std::size_t i = 0; i < k.size(); ++i) k[i] = normal(random) + (i % 16 == 3 ? 4.0f : 0.0f);
  }
};

}  // namespace fixture
