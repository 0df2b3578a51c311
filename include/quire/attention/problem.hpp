// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "../core/extents.hpp"
#include "../core/rope.hpp"
#include "../core/status.hpp"
#include "../kv/run.hpp"

namespace quire::inline v0::attention {

/// One attention operation: what a back end must know besides the cache and the queries.
/// logit = softcap(scale · q·k) + slope·(key position − query position) + run bias; a sink logit joins the denominator only.
struct problem {
  std::uint32_t q_heads = 1, kv_heads = 1;   ///< q_heads is a multiple of kv_heads; query head h reads kv head h / group()
  std::uint32_t dim_k = 64, dim_v = 64;      ///< channels, multiples of 8
  float scale = 0;                           ///< 0: 1/√dim_k
  float softcap = 0;                         ///< 0: none; else logit ← cap·tanh(logit / cap)
  std::uint32_t window = kv::visibility::everything;  ///< model's own sliding window, tokens
  const float* alibi = nullptr;              ///< [q_heads] slopes, or null
  const float* sink_logits = nullptr;        ///< [q_heads], or null
  rope rotary{};                             ///< for runs with a rotation offset

  QUIRE_HD constexpr std::uint32_t group() const noexcept { return q_heads / kv_heads; }
  QUIRE_HD float scale_or_default() const noexcept { return scale != 0 ? scale : 1.0f / std::sqrt(static_cast<float>(dim_k)); }
};

/// Whether rows at different positions may read a shared prefix together: nothing in a logit depends on where the query stands.
constexpr bool shares_prefixes(const problem& p) noexcept { return p.window == kv::visibility::everything && p.alibi == nullptr; }

/// Whether the CPU and reference back ends serve `p`.
constexpr status supports(const problem& p) noexcept {
  if (p.kv_heads == 0) return {errc::unsupported_shape, "kv_heads", p.kv_heads, 1, 1 << 16};
  if (p.q_heads == 0 || p.q_heads % p.kv_heads != 0 || p.group() > 64)
    return {errc::unsupported_shape, "q_heads (a multiple of kv_heads)", p.q_heads, p.kv_heads, std::int64_t{64} * p.kv_heads};
  if (p.dim_k % 8 != 0 || p.dim_k < 8 || p.dim_k > max_head_dim)
    return {errc::unsupported_shape, "head_dim (a multiple of 8)", p.dim_k, 8, max_head_dim};
  if (p.dim_v != p.dim_k) return {errc::unsupported_shape, "dim_v (equal to dim_k in today's layouts)", p.dim_v, p.dim_k, p.dim_k};
  return {};
}

}  // namespace quire::inline v0::attention
