// SPDX-License-Identifier: Apache-2.0
// What heads keep of tokens they drop, on a device: sums grow by the tiles that a step's queries see no more, and for each tile that
// queries of the step stand in the mean token is written that they read. Comes after appending and before the fold.
#pragma once

#include "../../kv/remainder.hpp"
#include "queries.cuh"

namespace quire::inline v0::attention::cuda {

/// What one launch reads and writes; pointers are the device's, state blocks too (store_options::memory).
template <kv::Layout L>
struct settle_call {
  kv::store_view<L> view;
  std::uint32_t layer = 0;
  const query_span* spans = nullptr;
  std::uint32_t span_count = 0;
  std::byte* means = nullptr;               ///< [tiles that spans stand in][kv_heads][raw piece], finite: zeros once, this writes token 0 alone
  const std::uint32_t* mean_tiles = nullptr;   ///< [spans] first such tile of each
};

/// Element (r, c) of a sealed tile, in the basis it is kept in.
template <class Codec>
__device__ inline float element_of(kv::tile_shape s, const std::byte* tile, std::uint32_t r, std::uint32_t c) noexcept {
  if constexpr (kv::RotatingCodec<Codec>) {
    return element_of<typename Codec::base_codec>(s, tile, r, c);
  } else {
    static_assert(requires { Codec::element(s, tile, r, c); }, "quire::attention::cuda: dropped tiles of this codec can't be summed on a device");
    return Codec::element(s, tile, r, c);
  }
}

/// One block for each span and kv head, a thread for each channel; tokens are summed in their order, as kv::remainder::mean_token does.
template <kv::Layout L>
__global__ void __launch_bounds__(block_threads) settle_kernel(const __grid_constant__ settle_call<L> c) {
  using raw_key = typename L::raw_pair::key_codec;
  using raw_value = typename L::raw_pair::value_codec;
  const extents e = c.view.layout.extent();
  const std::uint32_t span = blockIdx.x / e.kv_heads, head = blockIdx.x % e.kv_heads, dim = e.head_dim;
  const thread_place me = thread_place::here();
  const query_span s = c.spans[span];
  if (s.count == 0 || c.view.layout.slot(c.layer, head).group != 1) return;
  auto* const x = reinterpret_cast<float*>(device::shared_memory());
  const kv::head_state sums = c.view.state(s.sequence, c.layer, head);
  const kv::tile_shape ks = kv::shape_of(kv::side::key, dim), vs = kv::shape_of(kv::side::value, dim);
  /// to[channel] += Σ over the tokens of a tile; of(channel, token)
  const auto add = [&]<class Codec>(Codec, float* to, auto&& of) {
    for (std::uint32_t i = me.thread; i < dim; i += block_threads) {
      x[i] = 0;
      for (std::uint32_t t = 0; t < tile_tokens; ++t) x[i] += of(i, t);
    }
    if constexpr (kv::RotatingCodec<Codec>) {  // back in the channels' own basis: rotating is linear
      __syncthreads();
      rotate_rows(x, 1, dim, me);
      __syncthreads();
    }
    for (std::uint32_t i = me.thread; i < dim; i += block_threads) to[i] += x[i];
  };
  const std::uint32_t summed = c.view.summed_tiles(s.sequence);
  if (summed == 0)  // whatever a step that was not committed left
    for (std::uint32_t i = me.thread; i < dim; i += block_threads) sums.key_sum[i] = sums.value_sum[i] = 0;
  const auto first = s.first / tile_tokens, newest = (s.first + s.count - 1) / tile_tokens, sinks = tiles_touched(c.view.layout.group_sees(1).sinks);
  const auto add_tiles = [&](std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t t = sinks + from; t < sinks + to; ++t) {
      const std::byte *keys = c.view.sealed(s.sequence, c.layer, head, t), *values = keys + c.view.layout.sealed().value_offset(dim);
      add(c.view.layout.sealed().key, sums.key_sum, [&](std::uint32_t i, std::uint32_t token) { return element_of<typename L::sealed_pair::key_codec>(ks, keys, i, token); });
      add(c.view.layout.sealed().value, sums.value_sum, [&](std::uint32_t i, std::uint32_t token) { return element_of<typename L::sealed_pair::value_codec>(vs, values, token, i); });
    }
  };
  add_tiles(summed, c.view.dropped_tiles(s.sequence, c.layer, head, first));  // a prompt that was read whole has ended
  for (std::uint32_t tile = first; tile <= newest; ++tile) {
    const std::uint32_t dropped = c.view.dropped_tiles(s.sequence, c.layer, head, tile);
    if (dropped != 0) {
      std::byte* const keys = c.means + mean_at(c.view.layout, c.mean_tiles[span], tile - first, head);
      std::byte* const values = keys + c.view.layout.raw().value_offset(dim);
      const float scale = 1.0f / static_cast<float>(dropped * tile_tokens);
      for (std::uint32_t i = me.thread; i < dim; i += block_threads) {
        reinterpret_cast<typename raw_key::number*>(keys)[raw_key::at(ks, i, 0)] = raw_key::narrow(sums.key_sum[i] * scale);
        reinterpret_cast<typename raw_value::number*>(values)[raw_value::at(vs, 0, i)] = raw_value::narrow(sums.value_sum[i] * scale);
      }
    }
    if ((tile + 1) * tile_tokens > s.first + s.count) break;
    add_tiles(dropped, c.view.dropped_tiles(s.sequence, c.layer, head, tile + 1));
  }
}

/// Brings the sums of a layer up to date with a step that was appended, and writes its mean tokens. Nothing for layouts that keep nothing.
/// cost: tiles that go are decoded once; fails: device. from: RazorAttention (arXiv:2407.15891); test: tests/attention/cuda/settle.cpp
template <kv::Layout L>
status settle(const settle_call<L>& c, device::stream on) noexcept {
  if constexpr (L::compensates) {
    const extents e = c.view.layout.extent();
    const device::range named("quire: settle");
    return device::launch(&settle_kernel<L>, {.blocks = c.span_count * e.kv_heads, .threads = block_threads, .shared_bytes = e.head_dim * sizeof(float)}, on, c);
  } else {
    return {};
  }
}

}  // namespace quire::inline v0::attention::cuda
