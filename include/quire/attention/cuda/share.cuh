// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fold.cuh"
#include "states.cuh"

namespace quire::inline v0::attention::cuda {

/// One worker's part of the line. Whole items are written at once. Parts of shared ones go to scratch, and whoever brings the
/// last part of an item merges all of them from left to right along the tree; a prefix counts as one part of each member, brought
/// when the prefix itself is complete. So no block waits for another, any grid is right, and neither its size nor the order of
/// arrival changes a bit. `Narrow` folds the rows of one span, `Wide` those of all members of a prefix (void: plans have none).
template <class Narrow, class Wide, class Call>
class share {
 public:
  __device__ share(const Call& call, std::byte* memory, std::uint32_t worker) noexcept
      : c_(call), memory_(memory), worker_(worker), me_(thread_place::here()), scratch_{c_.scratch, c_.plan, state_bytes} {}

  static constexpr bool prefixes = !std::is_void_v<Wide>;
  using widest = std::conditional_t<prefixes, Wide, Narrow>;
  static constexpr std::size_t state_bytes = Narrow::state_bytes > widest::state_bytes ? Narrow::state_bytes : widest::state_bytes;
  static constexpr std::size_t shared_bytes =
      sizeof(typename Narrow::memory) > sizeof(typename widest::memory) ? sizeof(typename Narrow::memory) : sizeof(typename widest::memory);

  __device__ void run() noexcept {
    const range items = items_of(c_.plan, worker_);
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
  template <class Block>
  __device__ typename Block::memory& memory() const noexcept { return *reinterpret_cast<typename Block::memory*>(memory_); }

  __device__ static live_pieces live_of(const plan_item& item) noexcept {
    return prefixes && item.prefix != 0 ? live_pieces{0, 0, item.pieces.end} : item.pieces;
  }
  /// Where the walk over a worker's ordinals from `from` on begins: what nobody folds before the first belongs to it.
  __device__ static std::uint32_t begin_of(const plan_item& item, std::uint32_t from) noexcept {
    return from == 0 && (!prefixes || item.prefix == 0) ? 0 : item.pieces.piece(from);
  }
  /// State k of what a worker folded of an item.
  __device__ std::byte* part(std::uint32_t number, const plan_item& item, std::uint32_t worker, std::uint32_t k) const noexcept {
    if (prefixes && number >= c_.plan.prefix_items && item.prefix != 0 && item.workers == 1) return scratch_.member(c_.plan.items[item.link].link + item.ordinal, k);
    return scratch_.part(worker, split_slot(c_.plan, worker, number), k);
  }
  __device__ static std::uint32_t parts_of(const plan_item& item) noexcept { return item.workers + (prefixes && item.prefix != 0); }

  __device__ void fold_rows(std::uint32_t number, range here) noexcept {
    auto& m = memory<Narrow>();
    const plan_item& item = c_.plan.items[number];
    const query_span& span = c_.plan.spans[item.span];
    const item_rows_of row_of{c_.plan.spans, nullptr, span.row + item.first - span.first};
    const auto stack = [&](std::uint32_t k) { return part(number, item, worker_, k); };
    typename Narrow::registers r;
    subtree_walk walk(begin_of(item, static_cast<std::uint32_t>(here.begin)), live_of(item));
    __syncthreads();  // the item before is done with shared memory
    if (me_.thread == 0) describe_head(m.head, item, span);
    fold_pieces<Narrow>(item, here, row_of, walk, stack, r);
    const states<Narrow> s(me_);
    if (parts_of(item) == 1) {
      walk.finish([&](std::uint32_t k) { s.join(stack(k), r); });
      write_rows<Narrow>(m, c_, item, row_of, r, me_);
      return;
    }
    s.keep(r, stack(walk.filled() - 1));
    if (bring_part(m, number, item)) finish(number);
  }

  /// The same for a prefix: its last part completes it for every member.
  __device__ void fold_prefix(std::uint32_t number, range here) noexcept {
    auto& m = memory<widest>();
    const plan_item& item = c_.plan.items[number];
    const plan_member* members = c_.plan.members + item.link;
    const auto stack = [&](std::uint32_t k) { return item.workers == 1 ? scratch_.prefix(number, k) : part(number, item, worker_, k); };
    typename widest::registers r;
    subtree_walk walk(begin_of(item, static_cast<std::uint32_t>(here.begin)), item.pieces);
    __syncthreads();
    if (me_.thread == 0) c_.view.describe_head(m.head, c_.plan.spans[item.span].sequence, c_.layer, item.head, item.pieces.end * piece_tiles, nullptr, 0);
    fold_pieces<widest>(item, here, item_rows_of{c_.plan.spans, members, 0}, walk, stack, r);
    const states<widest> s(me_);
    s.keep(r, stack(walk.filled() - 1));
    if (item.workers != 1) {
      if (!bring_part(m, number, item)) return;
      const auto to = [&](std::uint32_t k) { return scratch_.prefix(number, k); };
      subtree_walk joined(0, item.pieces);
      join_parts(number, item, joined, to, s, r);
      s.keep(r, to(joined.filled() - 1));
    }
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

  /// Merges all parts of a span's item and writes its rows.
  __device__ void finish(std::uint32_t number) noexcept {
    const plan_item& item = c_.plan.items[number];
    const query_span& span = c_.plan.spans[item.span];
    const states<Narrow> s(me_);
    typename Narrow::registers r;
    const auto stack = [&](std::uint32_t k) { return scratch_.part(worker_, split_items, k); };
    const auto merge = [&](std::uint32_t k) { s.join(stack(k), r); };
    subtree_walk walk(0, live_of(item));
    if constexpr (prefixes)
      if (item.prefix != 0) {
        std::uint32_t k = 0;
        subtree_walk::for_each_node(0, item.prefix, live_of(item), [&](tree_node n) {
          put_aside(walk, stack, s, r);
          s.template load_rows<Wide>(r, scratch_.prefix(item.link, k++), item.ordinal * c_.shape.group(), item.count * c_.shape.group());
          walk.push(n, merge);
        });
      }
    join_parts(number, item, walk, stack, s, r);
    walk.finish(merge);
    write_rows<Narrow>(memory<Narrow>(), c_, item, {c_.plan.spans, nullptr, span.row + item.first - span.first}, r, me_);
    __syncthreads();
  }

  /// Pushes what workers kept of an item, from left to right.
  template <class Stack, class States, class Registers>
  __device__ void join_parts(std::uint32_t number, const plan_item& item, subtree_walk& walk, const Stack& stack, const States& s, Registers& r) const noexcept {
    const auto merge = [&](std::uint32_t k) { s.join(stack(k), r); };
    for (std::uint32_t w = item.first_worker; w < item.first_worker + item.workers; ++w) {
      const range theirs = pieces_of(c_.plan, w, number);
      const std::uint32_t end = item.pieces.piece(static_cast<std::uint32_t>(theirs.end) - 1) + 1;
      std::uint32_t k = 0;
      subtree_walk::for_each_node(begin_of(item, static_cast<std::uint32_t>(theirs.begin)), end, live_of(item), [&](tree_node n) {
        walk.skip_to(static_cast<std::uint32_t>(n.pieces().begin), merge);
        put_aside(walk, stack, s, r);
        s.load(r, part(number, item, w, k++));
        walk.push(n, merge);
      });
    }
  }
  /// Makes room in the registers for the next state. Ends at a barrier.
  template <class Stack, class States, class Registers>
  __device__ static void put_aside(const subtree_walk& walk, const Stack& stack, const States& s, const Registers& r) noexcept {
    if (walk.filled() == 0) return;
    s.keep(r, stack(walk.filled() - 1));
    __syncthreads();
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
    c_.view.describe_head(to, span.sequence, c_.layer, item.head, tile, exact, (end < full ? end : full) - tile * tile_tokens);
  }

  /// Folds ordinals `here` of an item; the newest state stays in `r`, those before it stand on the stack.
  template <class Block, class Stack>
  __device__ void fold_pieces(const plan_item& item, range here, item_rows_of row_of, subtree_walk& walk, const Stack& stack, typename Block::registers& r) noexcept {
    auto& m = memory<Block>();
    take_queries<Block>(m, c_, item, row_of, me_);
    __syncthreads();
    const states<Block> s(me_);
    const auto merge = [&](std::uint32_t k) { s.join(stack(k), r); };
    const row_positions<Block> positions(item, c_.shape.group(), me_);
    const auto from = static_cast<std::uint32_t>(here.begin), to = static_cast<std::uint32_t>(here.end);
    tile_queue<Block> queue(m, c_.shape, item, from, to, me_.thread);
#pragma unroll 1
    for (std::uint32_t i = 0; i + 1 < Block::ring_tiles; ++i) queue.ask(0);
    std::uint32_t entry = 0;
    for (std::uint32_t ordinal = from; ordinal < to; ++ordinal) {
      const std::uint32_t piece = item.pieces.piece(ordinal);
      walk.skip_to(piece, merge);
      if (walk.filled() != 0) s.keep(r, stack(walk.filled() - 1));
      fold_piece<Block>(queue, entry, item, positions, r);
      walk.push({0, piece}, merge);
    }
  }

  template <class Block>
  __device__ void fold_piece(tile_queue<Block>& queue, std::uint32_t& entry, const plan_item& item, const row_positions<Block>& positions, typename Block::registers& r) noexcept {
    auto& m = memory<Block>();
    r.clear();
    bool last = false, exact = false;
    while (!last) {
      device::copy_wait<static_cast<int>(Block::ring_tiles) - 2>();
      __syncthreads();
      const staged_tile& tile = m.tiles[entry];
      queue.ask(tile.begin);  // into places of tiles that were folded before this one
      const std::byte* staged = m.place(tile.begin);
      if (tile.form == 0 || (Block::one_form && tile.form == 1)) {
        fold_tile<Block, typename Block::raw_pair>(m, staged, tile, c_.shape, item, positions, r, me_);
        exact = true;
      } else if (tile.form == 1) {
        if constexpr (Block::rotated_values)
          if (exact) turn_over<Block>(m, r, me_);
        exact = false;
        if constexpr (!Block::one_form) fold_tile<Block, typename Block::sealed_pair>(m, staged, tile, c_.shape, item, positions, r, me_);
      }
      last = tile.last;
      entry = entry + 1 == Block::ring_tiles ? 0 : entry + 1;
    }
    if constexpr (Block::rotated_values)
      if (exact) turn_over<Block>(m, r, me_);
    gather_sums<Block>(m, r, me_);
  }

  const Call& c_;
  std::byte* memory_;
  std::uint32_t worker_;
  thread_place me_;
  scratch_map scratch_;
};

}  // namespace quire::inline v0::attention::cuda
