// SPDX-License-Identifier: Apache-2.0
// The small operations between products of a llama-type model, one row at a time: a row's result never depends on the
// batch.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "../../core/simd.hpp"
#include "../../core/rope.hpp"

namespace quire::inline v0::linear::cpu::inline QUIRE_ISA {

namespace hn = hwy::HWY_NAMESPACE;

namespace kernel {

/// Calls f(tag, i) for whole vectors and then for single elements of [0, n).
template <class F>
HWY_INLINE void for_vectors(std::size_t n, F&& f) {
  const simd::f32_tag d;
  const hn::CappedTag<float, 1> one;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) f(d, i);
  for (; i < n; ++i) f(one, i);
}

}  // namespace kernel

/// out [n] = x / sqrt(mean(x²) + eps) · weight; out may be x. from: arXiv:1910.07467
inline void rms_norm(const float* x, const float* weight, std::size_t n, float eps, float* out) noexcept {
  const simd::f32_tag d;
  const std::size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  std::size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto square = [&](std::size_t k, auto& sum) {
      const auto v = hn::LoadU(d, x + i + k * lanes);
      sum = hn::MulAdd(v, v, sum);
    };
    square(0, a), square(1, b), square(2, c), square(3, e);
  }
  const hn::CappedTag<float, 1> one;
  auto rest = hn::Zero(one);
  for (; i < n; ++i) rest = hn::MulAdd(hn::Set(one, x[i]), hn::Set(one, x[i]), rest);
  const float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e)))) + hn::GetLane(rest);
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  kernel::for_vectors(n, [&](auto t, std::size_t k) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(t, x + k), hn::Set(t, scale)), hn::LoadU(t, weight + k)), t, out + k);
  });
}

/// out [n] = gate / (1 + e^−gate) · up; out may be gate or up.
inline void silu_mul(const float* gate, const float* up, std::size_t n, float* out) noexcept {
  kernel::for_vectors(n, [&](auto t, std::size_t k) {
    const auto g = hn::LoadU(t, gate + k);
    const auto below = hn::Add(hn::Set(t, 1.0f), simd::exp(t, hn::Neg(g)));
    hn::StoreU(hn::Mul(hn::Div(g, below), hn::LoadU(t, up + k)), t, out + k);
  });
}

/// out [n] = a + b; out may be either.
inline void add(const float* a, const float* b, std::size_t n, float* out) noexcept {
  kernel::for_vectors(
      n, [&](auto t, std::size_t k) { hn::StoreU(hn::Add(hn::LoadU(t, a + k), hn::LoadU(t, b + k)), t, out + k); });
}

/// Turns `heads` heads of head_dim elements each, in place, by one table row (see fill_rope): all heads of a token.
/// precondition: supports(r, head_dim).
inline void apply_rope(const rope& r, const float* row, float* x, std::uint32_t heads,
                       std::uint32_t head_dim) noexcept {
  QUIRE_ASSERT(supports(r, head_dim), "quire::linear::apply_rope: the rotation does not fit the head");
  const std::size_t pairs = r.dims / 2;
  const auto turn = [](auto t, auto& u, auto& v, const float* cos, const float* sin) {
    const auto c = hn::LoadU(t, cos), s = hn::LoadU(t, sin);
    const auto first = hn::MulSub(u, c, hn::Mul(v, s));
    v = hn::MulAdd(u, s, hn::Mul(v, c));
    u = first;
  };
  for (std::uint32_t h = 0; h < heads; ++h, x += head_dim) {
    if (r.style == rope_style::halves) {
      kernel::for_vectors(pairs, [&](auto t, std::size_t k) {
        auto u = hn::LoadU(t, x + k), v = hn::LoadU(t, x + pairs + k);
        turn(t, u, v, row + k, row + pairs + k);
        hn::StoreU(u, t, x + k);
        hn::StoreU(v, t, x + pairs + k);
      });
    } else {
      kernel::for_vectors(pairs, [&](auto t, std::size_t k) {
        if constexpr (hn::MaxLanes(decltype(t){}) == 1) {
          auto u = hn::Set(t, x[2 * k]), v = hn::Set(t, x[2 * k + 1]);
          turn(t, u, v, row + k, row + pairs + k);
          x[2 * k] = hn::GetLane(u), x[2 * k + 1] = hn::GetLane(v);
        } else {
          decltype(hn::Zero(t)) u, v;
          hn::LoadInterleaved2(t, x + 2 * k, u, v);
          turn(t, u, v, row + k, row + pairs + k);
          hn::StoreInterleaved2(u, v, t, x + 2 * k);
        }
      });
    }
  }
}

}  // namespace quire::inline v0::linear::cpu::inline QUIRE_ISA
