// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fold.cuh"
#include "states.cuh"

namespace quire::inline v0::attention::cuda {

/// One worker's part of the line: whole items are written, parts of shared ones go to scratch, and whoever finishes an item last
/// merges its parts from left to right along the tree. So no block waits for another, any grid is right, and neither its size
/// nor the order of arrival changes a bit.
template <class Block, class Call>
class share {
 public:
  __device__ share(const Call& call, typename Block::memory& memory, std::uint32_t worker) noexcept
      : c_(call), m_(memory), worker_(worker), me_(thread_place::here()), states_(c_.plan, c_.scratch, me_) {}

  __device__ void run() noexcept {
    const range items = items_of(c_.plan, worker_);
    for (std::uint64_t i = items.begin; i < items.end; ++i) {
      const auto item = static_cast<std::uint32_t>(i);
      fold(item, pieces_of(c_.plan, worker_, item));
    }
  }

 private:
  using registers = typename Block::registers;

  __device__ void fold(std::uint32_t number, range here) noexcept {
    const plan_item& item = c_.plan.items[number];
    const query_span& span = c_.plan.spans[item.span];
    const auto from = static_cast<std::uint32_t>(here.begin), to = static_cast<std::uint32_t>(here.end);
    __syncthreads();  // the item before is done with shared memory
    if (me_.thread == 0) describe_head(item, span);
    take_queries<Block>(m_, c_, item, span, me_);
    __syncthreads();

    const std::uint32_t part = split_slot(c_.plan, worker_, number);
    const row_positions<Block> positions(item, c_.shape.group(), me_);
    subtree_walk walk(from == 0 ? 0 : item.pieces.piece(from), item.pieces);
    registers r;
    const auto merge = [&](std::uint32_t k) { states_.join(states_.at(worker_, part, k), r); };
    tile_queue<Block> queue(m_, c_.view, c_.shape, item, from, to, me_.thread);
    for (std::uint32_t i = 0; i + 1 < Block::stages; ++i) queue.ask();
    std::uint32_t stage = 0;
    for (std::uint32_t ordinal = from; ordinal < to; ++ordinal) {
      const std::uint32_t piece = item.pieces.piece(ordinal);
      walk.skip_to(piece, merge);
      if (walk.filled() != 0) states_.keep(r, states_.at(worker_, part, walk.filled() - 1));
      fold_piece(queue, stage, item, positions, r);
      walk.push({0, piece}, merge);
    }
    if (item.workers == 1) {
      walk.finish(merge);
      write_rows<Block>(m_, c_, item, span, r, me_);
      return;
    }
    states_.keep(r, states_.at(worker_, part, walk.filled() - 1));
    __syncthreads();
    if (me_.thread == 0) m_.joins = device::arrive(c_.arrivals + number, item.workers - 1) == item.workers - 1;
    __syncthreads();
    if (m_.joins != 0) join(number, item, span, r);
  }

  /// What the rows of an item read: sealed tiles before theirs, and theirs exactly.
  __device__ void describe_head(const plan_item& item, const query_span& span) noexcept {
    const std::uint32_t tile = item.first / tile_tokens, newest = (span.first + span.count - 1) / tile_tokens;
    const extents e = c_.view.layout.extent();
    const std::byte* exact = c_.view.tail(span.sequence, c_.layer, item.head);
    if (tile != newest) {
      const std::size_t staged = c_.staged[item.span] + tile - span.first / tile_tokens;
      exact = c_.staging + (staged * e.kv_heads + item.head) * c_.view.layout.raw().piece_bytes(e.head_dim);
    }
    const std::uint32_t end = span.first + span.count, full = (tile + 1) * tile_tokens;
    c_.view.describe_head(m_.head, span.sequence, c_.layer, item.head, tile, exact, (end < full ? end : full) - tile * tile_tokens);
  }

  __device__ void fold_piece(tile_queue<Block>& queue, std::uint32_t& stage, const plan_item& item, const row_positions<Block>& positions, registers& r) noexcept {
    r.clear();
    bool last = false, exact = false;
    while (!last) {
      device::copy_wait<static_cast<int>(Block::stages) - 2>();
      __syncthreads();
      queue.ask();  // into the stage that was folded before this one
      const staged_tile tile = m_.tiles[stage];
      const std::byte* staged = m_.stages[stage];
      if (tile.form == 0 || (Block::one_form && tile.form == 1)) {
        fold_tile<Block, typename Block::raw_pair>(m_, staged, tile, c_.shape, item, positions, r, me_);
        exact = true;
      } else if (tile.form == 1) {
        if constexpr (Block::rotated_values)
          if (exact) turn_over<Block>(m_, r, me_);
        exact = false;
        if constexpr (!Block::one_form) fold_tile<Block, typename Block::sealed_pair>(m_, staged, tile, c_.shape, item, positions, r, me_);
      }
      last = tile.last;
      stage = stage + 1 == Block::stages ? 0 : stage + 1;
    }
    if constexpr (Block::rotated_values)
      if (exact) turn_over<Block>(m_, r, me_);
    gather_sums<Block>(m_, r, me_);
  }

  /// Merges all parts of an item. Others' parts are complete: this block arrived last.
  __device__ void join(std::uint32_t number, const plan_item& item, const query_span& span, registers& r) noexcept {
    const auto stack = [&](std::uint32_t k) { return states_.at(worker_, split_items, k); };
    const auto merge = [&](std::uint32_t k) { states_.join(stack(k), r); };
    subtree_walk walk(0, item.pieces);
    for (std::uint32_t w = item.first_worker; w < item.first_worker + item.workers; ++w) {
      const range theirs = pieces_of(c_.plan, w, number);
      const std::uint32_t begin = theirs.begin == 0 ? 0 : item.pieces.piece(static_cast<std::uint32_t>(theirs.begin));
      const std::uint32_t end = item.pieces.piece(static_cast<std::uint32_t>(theirs.end) - 1) + 1, part = split_slot(c_.plan, w, number);
      std::uint32_t k = 0;
      subtree_walk::for_each_node(begin, end, item.pieces, [&](tree_node n) {
        walk.skip_to(static_cast<std::uint32_t>(n.pieces().begin), merge);
        if (walk.filled() != 0) {
          states_.keep(r, stack(walk.filled() - 1));
          __syncthreads();
        }
        states_.load(r, states_.at(w, part, k++));
        walk.push(n, merge);
      });
    }
    walk.finish(merge);
    write_rows<Block>(m_, c_, item, span, r, me_);
  }

  const Call& c_;
  typename Block::memory& m_;
  std::uint32_t worker_;
  thread_place me_;
  states<Block> states_;
};

}  // namespace quire::inline v0::attention::cuda
