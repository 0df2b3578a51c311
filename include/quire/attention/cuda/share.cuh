// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fold.cuh"
#include "merge.cuh"

namespace quire::inline v0::attention::cuda {

/// One worker's part of the line. Whole items are written at once. Parts of shared ones go to scratch, and whoever brings the
/// last part of an item merges all of them from left to right along the tree; a prefix counts as one part of each member, brought
/// when the prefix itself is complete. So no block waits for another, any grid is right, and neither its size nor the order of
/// arrival changes a bit. `Narrow` folds the rows of one span, `Wide` those of all members of a prefix (void: plans have none).
/// Not `Merging`: parts stay in scratch for a second pass.
template <class Narrow, class Wide, class Call, bool Merging = true>
class share : public merger<Narrow, Wide, Call> {
  using base = merger<Narrow, Wide, Call>;
  using base::c_, base::worker_, base::me_, base::scratch_, base::part, base::parts_of, base::live_of, base::begin_of, base::collect, base::finish, base::complete_prefix;

 public:
  using base::prefixes;
  using typename base::widest;
  __device__ share(const Call& call, std::byte* memory, std::uint32_t worker) noexcept : base(call, memory, worker), copies_(this->template memory<Narrow>().turns, me_.thread) {}

  /// No barrier stands between items: of what the next one writes before its first, rows in the ring were read last by the same thread
  /// (write_rows and load_queries deal them alike), and the head a barrier ago.
  __device__ void run() noexcept {
    const range items = items_of(c_.plan, worker_);
    copies_.prepare();
    for (auto i = static_cast<std::uint32_t>(items.begin); i < items.end; ++i) {
      const range here = pieces_of(c_.plan, worker_, i);
      if constexpr (prefixes) {
        if (i < c_.plan.prefix_items) fold_prefix(i, here);
        else fold_rows(i, here);
      } else {
        fold_rows(i, here);
      }
    }
  }

 private:
  __device__ void fold_rows(std::uint32_t number, range here) noexcept {
    auto& m = this->template memory<Narrow>();
    const plan_item& item = c_.plan.items[number];
    const query_span& span = c_.plan.spans[item.span];
    const item_rows_of row_of{c_.plan.spans, nullptr, span.row + item.first - span.first};
    const auto stack = [&](std::uint32_t k) { return part(number, item, worker_, k); };
    typename Narrow::registers r;
    subtree_walk walk(begin_of(item, static_cast<std::uint32_t>(here.begin)), live_of(item));
    if (me_.thread == 0) describe_head(m.head, item, span);
    fold_pieces<Narrow>(item, here, row_of, walk, stack, r);
    const states<Narrow> s(me_);
    if (parts_of(item) == 1) {
      walk.finish([&](std::uint32_t k) { s.join(stack(k), r); });
    } else {
      s.keep(r, stack(walk.filled() - 1));
      if (!Merging || !bring_part(m, number, item)) return;
      collect(number, r);
    }
    write_rows<Narrow>(m, c_, item, row_of, r, me_);
  }

  /// The same for a prefix: its last part completes it for every member.
  __device__ void fold_prefix(std::uint32_t number, range here) noexcept {
    auto& m = this->template memory<widest>();
    const plan_item& item = c_.plan.items[number];
    const plan_member* members = c_.plan.members + item.link;
    const auto stack = [&](std::uint32_t k) { return item.workers == 1 ? scratch_.prefix(number, k) : part(number, item, worker_, k); };
    typename widest::registers r;
    subtree_walk walk(begin_of(item, static_cast<std::uint32_t>(here.begin)), item.pieces);
    if (me_.thread == 0) c_.view.describe_head(m.head, c_.plan.spans[item.span].sequence, c_.layer, item.head, item.pieces.end * piece_tiles, nullptr, 0);
    fold_pieces<widest>(item, here, item_rows_of{c_.plan.spans, members, 0}, walk, stack, r);
    const states<widest> s(me_);
    s.keep(r, stack(walk.filled() - 1));
    if constexpr (Merging) {
      if (item.workers != 1) {
        if (!bring_part(m, number, item)) return;
        complete_prefix(number);
      }
      tell_members(m, item, members);
    }
  }

  /// A prefix is a part of each member; those it was the last one of are finished here.
  template <class Memory>
  __device__ void tell_members(Memory& m, const plan_item& item, const plan_member* members) noexcept {
    if (me_.thread < 2) m.last[me_.thread] = 0;
    __syncthreads();
    if (me_.thread < item.count) {
      const std::uint32_t member = members[me_.thread].item, last = parts_of(c_.plan.items[member]) - 1;
      if (device::arrive(c_.arrivals + member, last) == last) atomicOr(m.last + me_.thread / 32, 1u << me_.thread % 32);
    }
    __syncthreads();
    const std::uint32_t last[2] = {m.last[0], m.last[1]};
    for (std::uint32_t i = 0; i < item.count; ++i)
      if ((i < 32 ? last[0] >> i : last[1] >> (i - 32)) & 1u) finish(members[i].item);
  }

  /// Whether this block brought the last part of an item: what others kept is complete then.
  template <class Memory>
  __device__ bool bring_part(Memory& m, std::uint32_t number, const plan_item& item) noexcept {
    __syncthreads();
    if (me_.thread == 0) {
      const std::uint32_t last = parts_of(item) - 1;
      m.last[0] = device::arrive(c_.arrivals + number, last) == last;
    }
    __syncthreads();
    return m.last[0] != 0;
  }

  /// What the rows of an item read: sealed tiles before theirs, and theirs exactly.
  __device__ void describe_head(kv::head_view& to, const plan_item& item, const query_span& span) const noexcept {
    const std::uint32_t tile = item.first / tile_tokens, newest = (span.first + span.count - 1) / tile_tokens;
    const extents e = c_.view.layout.extent();
    const std::byte* exact = c_.view.tail(span.sequence, c_.layer, item.head);
    if (tile != newest) {
      const std::size_t staged = c_.staged[item.span] + tile - span.first / tile_tokens;
      exact = c_.staging + (staged * e.kv_heads + item.head) * c_.view.layout.raw().piece_bytes(e.head_dim);
    }
    const std::uint32_t end = span.first + span.count, full = (tile + 1) * tile_tokens;
    const std::byte* mean = nullptr;
    if constexpr (Narrow::layout::compensates) mean = c_.means + mean_at(c_.view.layout, c_.mean_tiles[item.span], tile - span.first / tile_tokens, item.head);
    c_.view.describe_head(to, span.sequence, c_.layer, item.head, tile, exact, (end < full ? end : full) - tile * tile_tokens, mean);
  }

  /// Folds ordinals `here` of an item; the newest state stays in `r`, those before it stand on the stack.
  template <class Block, class Stack>
  __device__ void fold_pieces(const plan_item& item, range here, item_rows_of row_of, subtree_walk& walk, const Stack& stack, typename Block::registers& r) noexcept {
    auto& m = this->template memory<Block>();
    take_queries<Block>(m, c_, item, row_of, me_);
    copies_.release();
    __syncthreads();
    const states<Block> s(me_);
    const auto merge = [&](std::uint32_t k) { s.join(stack(k), r); };
    const row_positions positions(item, c_.shape.group());
    const auto from = static_cast<std::uint32_t>(here.begin), to = static_cast<std::uint32_t>(here.end);
    tile_queue<Block> queue(m, copies_, c_.shape, item, from, to, me_.thread);
    std::uint32_t entry = 0, owed = Block::ring_tiles - 1;
    for (std::uint32_t ordinal = from; ordinal < to; ++ordinal) {
      const std::uint32_t piece = item.pieces.piece(ordinal);
      walk.skip_to(piece, merge);
      if (walk.filled() != 0) s.keep(r, stack(walk.filled() - 1));
      fold_piece<Block>(queue, entry, owed, item, positions, r);
      walk.push({0, piece}, merge);
    }
  }

  /// `entry`: of the next tile's description. `owed`: tiles to ask for before the first one is folded (in this loop, so that the code
  /// of asking stands once).
  template <class Block>
  __device__ void fold_piece(tile_queue<Block>& queue, std::uint32_t& entry, std::uint32_t& owed, const plan_item& item, const row_positions& positions,
                             typename Block::registers& r) noexcept {
    auto& m = this->template memory<Block>();
    r.clear();
    bool last = false;
    while (!last) {
      if (owed == 0) {
        copies_.wait(entry);
        copies_.release();
        __syncthreads();
      }
      const staged_tile& tile = m.tiles[entry];
      queue.ask(owed == 0 ? tile.begin : 0);  // into places of tiles that were folded before this one
      if (owed != 0) {
        --owed;
        continue;
      }
      const std::byte* staged = m.place(tile.begin);
      if (tile.form == 0 || (Block::one_form && tile.form == 1)) {
        fold_tile<Block, typename Block::raw_pair>(m, staged, tile, c_.shape, item, positions, r, me_, scores_for<Block>(c_, item));
        if constexpr (Block::rotated_values)
          if (tile.turns) turn_over<Block>(m, r, me_);
      } else if (tile.form == 1) {
        if constexpr (!Block::one_form) fold_tile<Block, typename Block::sealed_pair>(m, staged, tile, c_.shape, item, positions, r, me_, scores_for<Block>(c_, item));
      }
      last = tile.last;
      entry = entry + 1 == Block::ring_tiles ? 0 : entry + 1;
    }
    gather_sums<Block>(m, r, me_);
  }

  typename Narrow::copies copies_;   ///< of both kinds of items: their rings are alike
  static_assert(std::is_same_v<typename Narrow::copies, typename widest::copies> && sizeof(Narrow::memory::ring) == sizeof(widest::memory::ring));
};

}  // namespace quire::inline v0::attention::cuda
