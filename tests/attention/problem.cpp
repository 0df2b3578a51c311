// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/problem.hpp"

#include <string>

#include "catch.hpp"

using namespace quire;
using attention::problem;

TEST_CASE("served shapes are served") {
  for (std::uint32_t dim = 8; dim <= 256; dim += 8)
    for (std::uint32_t group : {1u, 2u, 7u, 64u})
      for (std::uint32_t kv : {1u, 3u, 8u}) CHECK(attention::supports({.q_heads = kv * group, .kv_heads = kv, .dim_k = dim, .dim_v = dim}));
}

TEST_CASE("other shapes are refused by name") {
  const auto refused = [](const problem& p, const char* what, std::int64_t value) {
    const status s = attention::supports(p);
    INFO(describe(s));
    CHECK(s.code == errc::unsupported_shape);
    CHECK(std::string(s.what).find(what) == 0);
    CHECK(s.value == value);
  };
  refused({.kv_heads = 0}, "kv_heads", 0);
  refused({.q_heads = 0, .kv_heads = 1}, "q_heads", 0);
  refused({.q_heads = 7, .kv_heads = 3}, "q_heads", 7);
  refused({.q_heads = 65, .kv_heads = 1}, "q_heads", 65);
  refused({.q_heads = 1, .kv_heads = 2}, "q_heads", 1);
  refused({.dim_k = 12, .dim_v = 12}, "head_dim", 12);
  refused({.dim_k = 0, .dim_v = 0}, "head_dim", 0);
  refused({.dim_k = 264, .dim_v = 264}, "head_dim", 264);
  refused({.dim_k = 64, .dim_v = 128}, "dim_v", 128);
}

TEST_CASE("scale defaults to one over the root of the head size") {
  CHECK(problem{.dim_k = 64}.scale_or_default() == 0.125f);
  CHECK(problem{.dim_k = 64, .scale = 0.5f}.scale_or_default() == 0.5f);
  CHECK(problem{.q_heads = 12, .kv_heads = 4}.group() == 3);
}
