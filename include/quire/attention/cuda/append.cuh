// SPDX-License-Identifier: Apache-2.0
// Taking a step's keys and values into the cache: rotary embedding, exact rows into raw tiles, full tiles sealed from them. One
// block for each span and kv head goes through the tiles in order, as cpu/append.hpp does.
#pragma once

#include "../../core/rope.hpp"
#include "encode_balanced.cuh"
#include "encode_gear.cuh"

namespace quire::inline v0::attention::cuda {

/// Rotary embedding of rows on their way in: row of position p at table + p·dims, as core/rope.hpp fills it. No table: rows are
/// rotated already.
struct rotation {
  const float* table = nullptr;
  std::uint32_t dims = 0;
  rope_style style = rope_style::interleaved;

  /// Channel i of a row x after rotation.
  template <class Row>
  __device__ float turned(const Row* x, std::uint32_t i, std::uint32_t position) const noexcept {
    if (table == nullptr || i >= dims) return widen(x[i]);
    const std::uint32_t half = dims / 2, pair = style == rope_style::interleaved ? i / 2 : i % half;
    const bool first = style == rope_style::interleaved ? i % 2 == 0 : i < half;
    const std::uint32_t other = style == rope_style::interleaved ? i ^ 1u : first ? i + half : i - half;
    const float* row = table + std::size_t{position} * dims;
    const float a = widen(x[i]), b = widen(x[other]);
    return first ? a * row[pair] - b * row[half + pair] : a * row[pair] + b * row[half + pair];
  }
};

/// What one launch reads and writes; pointers are the device's. k and v [rows][kv_heads·dim]; tokens are reserved.
template <kv::Layout L, class Row>
struct append_call {
  kv::store_view<L> view;
  std::uint32_t layer = 0;
  const query_span* spans = nullptr;
  std::uint32_t span_count = 0;
  const Row *k = nullptr, *v = nullptr;
  std::size_t ldkv = 0;                    ///< elements between rows
  rotation rotary{};                       ///< of the keys
  const Row* q = nullptr;                  ///< [rows][kv_heads·group·dim], rotated already: where keys are balanced, which queries of a first tile decide
  std::size_t ldq = 0;
  std::uint32_t group = 1;
  std::byte* staging = nullptr;            ///< as in layer_call
  const std::uint32_t* staged = nullptr;
  std::uint32_t* not_finite = nullptr;     ///< set to 1 where a row holds NaN or infinity, unless null; such a row is stored as zeros
};

template <kv::Layout L, class Row>
class appender {
 public:
  __device__ appender(const append_call<L, Row>& c, std::uint32_t span, std::uint32_t head) noexcept
      : c_(c), span_(span), head_(head), dim_(c.view.layout.extent().head_dim), me_(thread_place::here()) {}

  /// Of shared memory, for sealing.
  static constexpr std::size_t shared_bytes(std::uint32_t head_dim) noexcept {
    const std::uint32_t keys = sealing_floats<typename L::sealed_pair::key_codec>(kv::shape_of(kv::side::key, head_dim));
    const std::uint32_t values = sealing_floats<typename L::sealed_pair::value_codec>(kv::shape_of(kv::side::value, head_dim));
    return std::size_t{keys > values ? keys : values} * sizeof(float);
  }
  /// `x`: shared memory.
  __device__ void run(float* x) const noexcept {
    const query_span& s = c_.spans[span_];
    if (s.count == 0) return;
    const auto raw = c_.view.layout.raw();
    if constexpr (kv::balances<typename L::sealed_pair>) note_query_peak(c_.view.state(s.sequence, c_.layer, head_), s, head_, c_.group, dim_, c_.q, c_.ldq, me_);
    const std::uint32_t begin = s.first / tile_tokens, end = (s.first + s.count - 1) / tile_tokens;
    if (end > begin && s.first % tile_tokens != 0) {  // earlier rows of the first tile move with it
      const auto* from = reinterpret_cast<const uint4*>(c_.view.tail(s.sequence, c_.layer, head_));
      auto* to = reinterpret_cast<uint4*>(exact(s, begin));
      for (std::uint32_t i = me_.thread; i < raw.piece_bytes(dim_) / 16; i += block_threads) to[i] = from[i];
      __syncthreads();
    }
    for (std::uint32_t tile = begin; tile <= end; ++tile) {
      std::byte* const at = exact(s, tile);
      const std::uint32_t full = (tile + 1) * tile_tokens, from = s.first > tile * tile_tokens ? s.first : tile * tile_tokens, to = s.first + s.count < full ? s.first + s.count : full;
      for (std::uint32_t p = from + me_.warp; p < to; p += block_warps) put(s, p, at);
      __syncthreads();
      if (to != full) continue;
      if constexpr (kv::balances<typename L::sealed_pair>)
        if (tile == 0) fix_balance<typename L::raw_pair::key_codec>(c_.view.state(s.sequence, c_.layer, head_), dim_, c_.rotary.dims, c_.rotary.style, at, me_);
      const auto sealed = c_.view.layout.sealed();
      std::byte* const out = c_.view.sealed(s.sequence, c_.layer, head_, tile);
      const kv::codec_context key = c_.view.context(s.sequence, c_.layer, head_, tile, kv::side::key), value = c_.view.context(s.sequence, c_.layer, head_, tile, kv::side::value);
      seal_tile<typename L::raw_pair::key_codec, typename L::sealed_pair::key_codec>(key, dim_, at, out, x, me_);
      seal_tile<typename L::raw_pair::value_codec, typename L::sealed_pair::value_codec>(value, dim_, at + raw.value_offset(dim_), out + sealed.value_offset(dim_), x, me_);
    }
  }

 private:
  __device__ std::byte* exact(const query_span& s, std::uint32_t tile) const noexcept {
    if (tile == (s.first + s.count - 1) / tile_tokens) return c_.view.tail(s.sequence, c_.layer, head_);
    const std::size_t index = std::size_t{c_.staged[span_] + tile - s.first / tile_tokens} * c_.view.layout.extent().kv_heads + head_;
    return c_.staging + index * c_.view.layout.raw().piece_bytes(dim_);
  }
  /// One row of keys and values, a warp together.
  __device__ void put(const query_span& s, std::uint32_t position, std::byte* at) const noexcept {
    using key_codec = typename L::raw_pair::key_codec;
    using value_codec = typename L::raw_pair::value_codec;
    const std::size_t row = (s.row + position - s.first) * c_.ldkv + head_ * dim_;
    const Row *k = c_.k + row, *v = c_.v + row;
    bool finite = true;
    for (std::uint32_t i = me_.lane; i < dim_; i += warp_threads) finite = finite && fabsf(widen(k[i])) < INFINITY && fabsf(widen(v[i])) < INFINITY;
    finite = __all_sync(~0u, finite);
    if (!finite && me_.lane == 0 && c_.not_finite != nullptr) atomicOr(c_.not_finite, 1u);
    auto* keys = reinterpret_cast<typename key_codec::number*>(at);
    auto* values = reinterpret_cast<typename value_codec::number*>(at + c_.view.layout.raw().value_offset(dim_));
    const kv::tile_shape ks = kv::shape_of(kv::side::key, dim_), vs = kv::shape_of(kv::side::value, dim_);
    for (std::uint32_t i = me_.lane; i < dim_; i += warp_threads) {
      keys[key_codec::at(ks, i, position % tile_tokens)] = key_codec::narrow(finite ? c_.rotary.turned(k, i, position) : 0.0f);
      values[value_codec::at(vs, position % tile_tokens, i)] = value_codec::narrow(finite ? widen(v[i]) : 0.0f);
    }
  }

  const append_call<L, Row>& c_;
  std::uint32_t span_, head_, dim_;
  thread_place me_;
};

template <kv::Layout L, class Row>
__global__ void __launch_bounds__(block_threads) append_kernel(const __grid_constant__ append_call<L, Row> c) {
  const std::uint32_t heads = c.view.layout.extent().kv_heads;
  appender<L, Row>(c, blockIdx.x / heads, blockIdx.x % heads).run(reinterpret_cast<float*>(device::shared_memory()));
}

/// Appends the rows of all spans for one layer. `staged` may be null where no span goes on from one tile into another.
/// fails: device.
template <kv::Layout L, class Row>
status append(const append_call<L, Row>& c, device::stream on) noexcept {
  const extents e = c.view.layout.extent();
  const device::range named("quire: append");
  return device::launch(&append_kernel<L, Row>, {.blocks = c.span_count * e.kv_heads, .threads = block_threads, .shared_bytes = appender<L, Row>::shared_bytes(e.head_dim)}, on, c);
}

/// What rotates query rows in place: [rows][heads·dim].
template <class Row>
struct rotate_call {
  const query_span* spans = nullptr;
  std::uint32_t span_count = 0, heads = 0, dim = 0;
  Row* x = nullptr;
  std::size_t ld = 0;
  rotation rotary{};
};

template <class Row>
__global__ void __launch_bounds__(block_threads) rotate_kernel(const __grid_constant__ rotate_call<Row> c) {
  const thread_place me = thread_place::here();
  const query_span s = c.spans[blockIdx.x / c.heads];
  const std::uint32_t head = blockIdx.x % c.heads;
  for (std::uint32_t r = me.warp; r < s.count; r += block_warps) {
    Row* x = c.x + (s.row + r) * c.ld + head * c.dim;
    for (std::uint32_t i = me.lane; i < c.rotary.dims / 2; i += warp_threads) {  // both of a pair are one lane's
      const bool interleaved = c.rotary.style == rope_style::interleaved;
      const std::uint32_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + c.rotary.dims / 2;
      const float left = c.rotary.turned(x, a, s.first + r), right = c.rotary.turned(x, b, s.first + r);
      x[a] = narrow<Row>(left), x[b] = narrow<Row>(right);
    }
  }
}

/// Rotary embedding of query rows in place. fails: device.
template <class Row>
status rotate(const rotate_call<Row>& c, device::stream on) noexcept {
  if (c.rotary.table == nullptr) return {};
  const device::range named("quire: rotate");
  return device::launch(&rotate_kernel<Row>, {.blocks = c.span_count * c.heads, .threads = block_threads}, on, c);
}

}  // namespace quire::inline v0::attention::cuda
