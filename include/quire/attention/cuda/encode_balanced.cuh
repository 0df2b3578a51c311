// SPDX-License-Identifier: Apache-2.0
// How a block learns the balancer of a sequence's keys, and seals tiles through it: the numbers of cpu/append.hpp.
#pragma once

#include "../../core/rope.hpp"
#include "encode.cuh"
#include "operand_balanced.cuh"

namespace quire::inline v0::attention::cuda {

template <class Base>
struct tile_encoder<kv::balanced<Base>> {
  static constexpr bool known = tile_encoder<Base>::known;
  static constexpr std::uint32_t floats_beside(kv::tile_shape s) noexcept { return sealing_floats<Base>(s) - s.elements(); }

  __device__ static void encode(const kv::codec_context& at, kv::tile_shape s, shared_matrix x, std::byte* out, thread_place me) noexcept {
    if (const float* b = kv::balanced<Base>::balance_of(at)) {
      constexpr float most = 3.4e38f;  // finite rows stay finite
      for (std::uint32_t i = me.thread; i < s.elements(); i += block_threads) {
        const std::uint32_t r = i / s.columns;
        float& v = x(r, i % s.columns);
        v = fminf(fmaxf(v * b[r], -most), most);
      }
      __syncthreads();
    }
    tile_encoder<Base>::encode(at, s, x, out, me);
  }
};

/// Remembers the largest |q| of each channel over the query heads of a kv head, as far as the span's rows stand in the first tile. A thread for
/// each channel. `q`: row 0 of the step, [rows][q_heads·dim].
template <class Row>
__device__ void note_query_peak(const kv::head_state& state, const query_span& s, std::uint32_t head, std::uint32_t group, std::uint32_t dim, const Row* q, std::size_t ldq,
                                thread_place me) noexcept {
  for (std::uint32_t i = me.thread; i < dim; i += block_threads) {
    float most = state.query_peak[i];
    for (std::uint32_t r = 0; r < s.count && s.first + r < tile_tokens; ++r)
      for (std::uint32_t h = head * group; h < (head + 1) * group; ++h) {
        const float x = fabsf(widen(q[(s.row + r) * ldq + h * dim + i]));
        if (x > most && x < INFINITY) most = x;
      }
    state.query_peak[i] = most;
  }
}

/// Fixes the balancer from those queries and the first tile's exact keys; both channels that a rotation mixes get one b. Begins after a barrier;
/// sealing has one before it reads b.
template <class Raw>
__device__ void fix_balance(const kv::head_state& state, std::uint32_t dim, std::uint32_t turning, rope_style style, const std::byte* exact, thread_place me) noexcept {
  const kv::tile_shape s = kv::shape_of(kv::side::key, dim);
  const auto key_peak = [&](std::uint32_t i) {
    float most = 0;
    for (std::uint32_t t = 0; t < tile_tokens; ++t) most = fmaxf(most, fabsf(Raw::element(s, exact, i, t)));
    return most;
  };
  if (turning > dim) turning = 0;
  for (std::uint32_t i = me.thread; i < dim; i += block_threads) {
    const std::uint32_t half = turning / 2, j = i >= turning ? i : style == rope_style::interleaved ? i ^ 1u : i < half ? i + half : i - half;
    state.balance[i] = kv::channel_balance(fmaxf(state.query_peak[i], state.query_peak[j]), fmaxf(key_peak(i), key_peak(j)));
  }
}

}  // namespace quire::inline v0::attention::cuda
