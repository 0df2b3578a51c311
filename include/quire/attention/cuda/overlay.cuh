// SPDX-License-Identifier: Apache-2.0
// What overlays learn from a wave of a step, on a device: attention received by open and overlay tokens, and, where a tile is full, which of
// them stay exact. Comes after the fold, wave by wave: a span lies in one tile.
#pragma once

#include "../../kv/retain/importance.hpp"
#include "block.cuh"

namespace quire::inline v0::attention::cuda {

/// What one launch reads and writes; pointers are the device's, state blocks and overlays too (store_options::memory).
template <kv::Layout L>
struct overlay_call {
  kv::store_view<L> view;
  problem shape;
  std::uint32_t layer = 0;
  const query_span* spans = nullptr;
  std::uint32_t span_count = 0;
  score_rows scores{};               ///< as the fold of these spans left them
};

/// Shared memory of a block.
struct choice_memory {
  std::uint32_t counts[256];         ///< of candidates by eight bits of their rank
  std::uint32_t digit, left;
  std::uint32_t gone_count, stays[2];
  std::uint32_t gone[tile_tokens], place[tile_tokens], position[tile_tokens];   ///< overlay tokens that go: as found, then in order, and where they stood
  std::uint32_t from[tile_tokens];   ///< tokens of the full tile that stay exact, in order
};

/// One (span, kv head) of a wave. A block works together.
template <kv::Layout L>
class overlay_settler {
 public:
  __device__ overlay_settler(const overlay_call<L>& c, std::uint32_t span, std::uint32_t head, choice_memory& m) noexcept
      : c_(c), s_(c.spans[span]), span_(span), head_(head), tile_(s_.first / tile_tokens), dim_(c.view.layout.extent().head_dim), m_(m), me_(thread_place::here()) {}

  __device__ void run() const noexcept {
    if (s_.count == 0 || c_.view.layout.slot(c_.layer, head_).group != 0) return;
    const kv::head_state state = c_.view.state(s_.sequence, c_.layer, head_);
    collect(state);
    if ((s_.first + s_.count) % tile_tokens != 0) return;
    __syncthreads();
    choose(state);
  }

 private:
  /// scores += what rows of the span gave each token, row by row as cpu/settle.hpp adds them. A warp for each tile, two tokens a lane.
  __device__ void collect(const kv::head_state& state) const noexcept {
    const std::uint32_t group = c_.shape.group(), tiles = 1 + c_.view.layout.overlay_tiles(tile_ * tile_tokens);
    for (std::uint32_t i = me_.warp; i < tiles; i += block_warps) {
      float* const scores = (i == 0 ? state.tail_scores : c_.view.overlay(s_.sequence, c_.layer, head_, i - 1).scores) + 2 * me_.lane;
      float first = scores[0], second = scores[1];
      for (std::uint32_t r = 0; r < s_.count * group; ++r) {
        const std::size_t row = std::size_t{c_.scores.first[span_] + r / group} * c_.shape.q_heads + head_ * group + r % group, cell = row * c_.scores.tiles + i;
        const softmax_state sums = c_.scores.states[row];
        const float scale = sums.l > 0 ? device::exp2((c_.scores.tops[cell] - sums.m) * device::log2_e) / sums.l : 0.0f;
        const std::uint32_t w = reinterpret_cast<const std::uint32_t*>(c_.scores.weights)[cell * (tile_tokens / 2) + me_.lane];
        first = fmaf(device::widen_f16(static_cast<std::uint16_t>(w)), scale, first), second = fmaf(device::widen_f16(static_cast<std::uint16_t>(w >> 16)), scale, second);
      }
      scores[0] = first, scores[1] = second;
    }
  }

  /// Candidates are the overlay's tokens, then those of the full tile.
  struct candidates {
    std::uint32_t held, keep, protect, tokens;
  };
  /// Where candidate i stands in the order of kv::retain::importance, worst first: protected ones, then scores, then newer ones. All differ.
  __device__ std::uint64_t rank(const kv::head_state& state, const candidates& all, std::uint32_t i) const noexcept {
    float score = 0;
    std::uint32_t position = 0;
    if (i < all.held) {
      const kv::overlay_tile o = c_.view.overlay(s_.sequence, c_.layer, head_, i / tile_tokens);
      score = o.scores[i % tile_tokens], position = o.positions[i % tile_tokens];
    } else {
      score = state.tail_scores[i - all.held], position = tile_ * tile_tokens + i - all.held;
    }
    if (c_.view.layout.policy().per_row) score /= static_cast<float>(all.tokens - position);
    const std::uint32_t bits = __float_as_uint(score), order = position >= all.protect ? ~0u : bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
    return std::uint64_t{order} << 32 | position;
  }
  /// The `n`-th lowest rank of all, n >= 1, in all threads: eight bits at a time. Ends at a barrier.
  __device__ std::uint64_t lowest(const kv::head_state& state, const candidates& all, std::uint32_t n) const noexcept {
    std::uint64_t found = 0;
    for (std::uint32_t shift = 64; shift != 0;) {
      const std::uint32_t above = shift;
      shift -= 8;
      for (std::uint32_t i = me_.thread; i < 256; i += block_threads) m_.counts[i] = 0;
      __syncthreads();
      for (std::uint32_t i = me_.thread; i < all.held + tile_tokens; i += block_threads) {
        const std::uint64_t r = rank(state, all, i);
        if (above == 64 || (r ^ found) >> above == 0) atomicAdd(m_.counts + (r >> shift & 255u), 1u);
      }
      __syncthreads();
      if (me_.warp == 0) {  // eight counts a lane
        std::uint32_t own = 0;
        for (std::uint32_t k = 0; k < 8; ++k) own += m_.counts[me_.lane * 8 + k];
        std::uint32_t before = own;
        for (std::uint32_t d = 1; d < warp_threads; d *= 2) {
          const std::uint32_t x = __shfl_up_sync(~0u, before, d);
          if (me_.lane >= d) before += x;
        }
        before -= own;
        if (before < n && n <= before + own) {
          std::uint32_t k = 0;
          for (; before + m_.counts[me_.lane * 8 + k] < n; ++k) before += m_.counts[me_.lane * 8 + k];
          m_.digit = me_.lane * 8 + k, m_.left = n - before;
        }
      }
      __syncthreads();
      found |= std::uint64_t{m_.digit} << shift, n = m_.left;
    }
    return found;
  }

  /// Moves what comes and goes, as cpu/settle.hpp pairs them: those that stay of the full tile, in order, take the places of those that go, in order.
  __device__ void choose(const kv::head_state& state) const noexcept {
    const auto& policy = c_.view.layout.policy();
    candidates all{.held = policy.budget(tile_ * tile_tokens), .keep = 0, .protect = 0, .tokens = (tile_ + 1) * tile_tokens};
    const std::uint32_t budget = policy.budget(all.tokens), count = all.held + tile_tokens;
    all.keep = budget < count ? budget : count;
    all.protect = all.tokens - policy.newest(all.keep);
    const std::uint64_t last = all.keep < count ? lowest(state, all, count - all.keep) : 0;   // the best that goes
    const auto goes = [&](std::uint32_t i) { return all.keep < count && rank(state, all, i) <= last; };
    if (me_.thread == 0) m_.gone_count = 0;
    __syncthreads();
    for (std::uint32_t i = me_.thread; i < all.held; i += block_threads)
      if (goes(i)) m_.gone[atomicAdd(&m_.gone_count, 1u)] = i;
    if (me_.thread < tile_tokens) {
      const std::uint32_t stays = __ballot_sync(~0u, !goes(all.held + me_.thread));
      if (me_.lane == 0) m_.stays[me_.warp] = stays;
    }
    __syncthreads();
    const std::uint64_t stays = std::uint64_t{m_.stays[1]} << 32 | m_.stays[0];
    if (me_.thread < m_.gone_count) {
      const std::uint32_t mine = m_.gone[me_.thread];
      std::uint32_t at = 0;
      for (std::uint32_t i = 0; i < m_.gone_count; ++i) at += m_.gone[i] < mine;
      m_.place[at] = mine, m_.position[at] = c_.view.overlay(s_.sequence, c_.layer, head_, mine / tile_tokens).positions[mine % tile_tokens];
    }
    if (me_.thread < tile_tokens && (stays >> me_.thread & 1u) != 0) m_.from[__popcll(stays & ((std::uint64_t{1} << me_.thread) - 1))] = me_.thread;
    __syncthreads();
    for (std::uint32_t i = me_.warp; i < static_cast<std::uint32_t>(__popcll(stays)); i += block_warps)
      take(state, m_.from[i], i < m_.gone_count ? m_.place[i] : all.held + i - m_.gone_count);
    if (state.live != nullptr) {
      auto* const words = reinterpret_cast<std::uint32_t*>(state.live);
      if (me_.thread < 2) words[2 * tile_ + me_.thread] = ~m_.stays[me_.thread];
      if (me_.thread < m_.gone_count) atomicOr(words + m_.position[me_.thread] / 32, 1u << m_.position[me_.thread] % 32);
    }
    __syncthreads();
    if (me_.thread < tile_tokens) state.tail_scores[me_.thread] = 0;
  }
  /// Token j of the full tile becomes overlay token `to`. A warp together.
  __device__ void take(const kv::head_state& state, std::uint32_t j, std::uint32_t to) const noexcept {
    const kv::overlay_tile o = c_.view.overlay(s_.sequence, c_.layer, head_, to / tile_tokens);
    const std::byte* const exact = c_.view.tail(s_.sequence, c_.layer, head_);
    const std::size_t values = c_.view.layout.raw().value_offset(dim_);
    const std::uint32_t k = to % tile_tokens;
    copy_row<typename L::raw_pair::key_codec>(kv::side::key, exact, j, o.piece, k), copy_row<typename L::raw_pair::value_codec>(kv::side::value, exact + values, j, o.piece + values, k);
    if (me_.lane == 0) o.positions[k] = tile_ * tile_tokens + j, o.scores[k] = state.tail_scores[j];
  }
  template <class Raw>
  __device__ void copy_row(kv::side which, const std::byte* from, std::uint32_t j, std::byte* to, std::uint32_t k) const noexcept {
    const kv::tile_shape s = kv::shape_of(which, dim_);
    const bool key = which == kv::side::key;
    for (std::uint32_t i = me_.lane; i < dim_; i += warp_threads)
      reinterpret_cast<typename Raw::number*>(to)[key ? Raw::at(s, i, k) : Raw::at(s, k, i)] = reinterpret_cast<const typename Raw::number*>(from)[key ? Raw::at(s, i, j) : Raw::at(s, j, i)];
  }

  const overlay_call<L>& c_;
  const query_span s_;
  std::uint32_t span_, head_, tile_, dim_;
  choice_memory& m_;
  thread_place me_;
};

template <kv::Layout L>
__global__ void __launch_bounds__(block_threads, 8) overlay_kernel(const __grid_constant__ overlay_call<L> c) {
  const std::uint32_t heads = c.view.layout.extent().kv_heads;
  overlay_settler<L>(c, blockIdx.x / heads, blockIdx.x % heads, *reinterpret_cast<choice_memory*>(device::shared_memory())).run();
}

/// Adds what the exact tokens of a folded wave received to their scores, and chooses anew where a span fills its tile. Choices are the CPU's, given
/// the same scores; nothing for layouts without overlays.
/// cost: the kept weights are read once; a choice goes eight times over its candidates. fails: device. from: MiKV (arXiv:2402.18096), H2O
/// (arXiv:2306.14048); test: tests/attention/cuda/overlay.cpp
template <kv::Layout L>
status settle_overlay(const overlay_call<L>& c, device::stream on) noexcept {
  if constexpr (L::overlays) {
    const device::range named("quire: settle overlays");
    return device::launch(&overlay_kernel<L>, {.blocks = c.span_count * c.view.layout.extent().kv_heads, .threads = block_threads, .shared_bytes = sizeof(choice_memory)}, on, c);
  } else {
    return {};
  }
}

}  // namespace quire::inline v0::attention::cuda
