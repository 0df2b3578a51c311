// SPDX-License-Identifier: Apache-2.0
// What several workers kept of an item becomes one state, along the one tree, wherever that happens: in the worker that brings
// the last part (share.cuh), or in a second pass.
#pragma once

#include "queries.cuh"
#include "states.cuh"

namespace quire::inline v0::attention::cuda {

/// The parts of a plan's items in scratch, and their merge. `Narrow` folds the rows of one span, `Wide` those of all members of a
/// prefix (void: plans have none). A block works together.
template <class Narrow, class Wide, class Call>
class merger {
 public:
  /// `memory`: the block's shared memory; `worker`: whose stack in scratch it merges on.
  __device__ merger(const Call& call, std::byte* memory, std::uint32_t worker) noexcept
      : c_(call), memory_(memory), worker_(worker), me_(thread_place::here()), scratch_{c_.scratch, c_.plan, state_bytes} {}

  static constexpr bool prefixes = !std::is_void_v<Wide>;
  using widest = std::conditional_t<prefixes, Wide, Narrow>;
  static constexpr std::size_t state_bytes = Narrow::state_bytes > widest::state_bytes ? Narrow::state_bytes : widest::state_bytes;
  static constexpr std::size_t shared_bytes =
      sizeof(typename Narrow::memory) > sizeof(typename widest::memory) ? sizeof(typename Narrow::memory) : sizeof(typename widest::memory);

  /// The second pass over all that workers kept and nobody merged: every slots-th item. Members need their prefix complete, so
  /// prefixes have a launch of their own before it.
  __device__ void merge_all(bool of_prefixes) noexcept {
    for (std::uint32_t i = worker_; i < c_.plan.item_count; i += c_.plan.slots) {
      if ((prefixes && i < c_.plan.prefix_items) != of_prefixes || parts_of(c_.plan.items[i]) < 2) continue;
      if (of_prefixes) complete_prefix(i);
      else finish(i);
    }
  }

 protected:
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

  /// Merges all parts of a span's item into r.
  __device__ void collect(std::uint32_t number, typename Narrow::registers& r) const noexcept {
    const plan_item& item = c_.plan.items[number];
    const states<Narrow> s(me_);
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
  }
  /// The same, and writes its rows.
  __device__ void finish(std::uint32_t number) noexcept {
    const plan_item& item = c_.plan.items[number];
    const query_span& span = c_.plan.spans[item.span];
    typename Narrow::registers r;
    collect(number, r);
    write_rows<Narrow>(memory<Narrow>(), c_, item, {c_.plan.spans, nullptr, span.row + item.first - span.first}, r, me_);
    __syncthreads();
  }
  /// Merges all parts of a prefix into the nodes that its members begin with.
  __device__ void complete_prefix(std::uint32_t number) noexcept {
    const plan_item& item = c_.plan.items[number];
    const states<widest> s(me_);
    typename widest::registers r;
    const auto to = [&](std::uint32_t k) { return scratch_.prefix(number, k); };
    subtree_walk walk(0, item.pieces);
    join_parts(number, item, walk, to, s, r);
    s.keep(r, to(walk.filled() - 1));
  }

  const Call& c_;
  std::byte* memory_;
  std::uint32_t worker_;
  thread_place me_;
  scratch_map scratch_;

 private:
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
};

}  // namespace quire::inline v0::attention::cuda
