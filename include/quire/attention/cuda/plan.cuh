// SPDX-License-Identifier: Apache-2.0
// Planning on a device, from lengths that lie there: the arrays of plan_step, bit for bit, without a look from the host. So a
// captured graph decodes step after step while sequences grow. Sums over items are the caller's to provide (cub_sums.cuh).
#pragma once

#include "../../core/device.cuh"
#include "../plan/build.hpp"

namespace quire::inline v0::attention::cuda {

/// What is found out on the way. `fits`: the step kept to its room; where it did not, nothing is folded.
struct plan_tally {
  unsigned long long pieces = 0;
  std::uint32_t items = 0, longest = 0, cuts = 0;   ///< cuts: the line's end included
  std::uint32_t fits = 1;
};

/// Device-wide sums on a stream, none of which allocates. sums.bytes(n): scratch for n elements of any of them.
template <class S>
concept PlanSums = requires(const S s, std::byte* scratch, std::size_t bytes, std::uint32_t n, device::stream on, const std::uint32_t* counts, std::uint32_t* before,
                            const std::uint64_t* lengths, std::uint64_t* ends, const plan_cut* cuts, plan_cut* distinct, std::uint32_t* count) {
  { s.bytes(n) } -> std::same_as<std::size_t>;
  { s.exclusive(scratch, bytes, counts, before, n, on) } -> std::same_as<status>;   ///< before[i] = Σ counts [0, i)
  { s.inclusive(scratch, bytes, lengths, ends, n, on) } -> std::same_as<status>;    ///< ends[i] = Σ lengths [0, i]
  { s.distinct(scratch, bytes, cuts, distinct, count, n, on) } -> std::same_as<status>;  ///< the first of equal neighbours
};

/// One plan's way through the kernels, by value.
template <kv::Layout L, Policy P>
struct plan_job {
  L layout;
  problem shape;
  P policy;
  plan_shape asked;
  plan_room room;
  std::uint32_t layer = 0, span_count = 0;
  const query_span* from = nullptr;  // [span_count]
  plan_item* items = nullptr;        // [room.items]
  plan_cut* cuts = nullptr;          // [room.slots + 1]
  query_span* spans = nullptr;       // [room.spans]
  std::uint32_t *counts = nullptr, *before = nullptr;   // [room.spans + 1]: items of each span, items before it
  std::uint64_t *lengths = nullptr, *ends = nullptr;    // [room.items]: on the line
  plan_cut* begins = nullptr;                           // [room.slots + 1]: of every worker, repeated where one has nothing
  plan_tally* tally = nullptr;

  __device__ step_totals totals() const { return {tally->pieces, tally->items, tally->longest}; }
  __device__ item_load load(std::uint32_t i) const { return {items[i].pieces.count(), items[i].count * shape.group()}; }
};
__device__ inline std::uint32_t plan_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }
/// First index in [0, n) where `past` holds, n if none; it holds from there on.
template <class F>
QUIRE_HD constexpr std::uint32_t first_where(std::uint32_t n, F&& past) {
  std::uint32_t low = 0;
  while (low < n) {
    const std::uint32_t middle = low + (n - low) / 2;
    if (past(middle)) n = middle;
    else low = middle + 1;
  }
  return low;
}

/// A thread for each span, and one more.
template <kv::Layout L, Policy P>
__global__ void count_items(plan_job<L, P> job) {
  const std::uint32_t s = plan_thread();
  if (s == 0) *job.tally = {};
  if (s > job.room.spans) return;
  job.counts[s] = 0;
  if (s == job.room.spans) return;
  job.spans[s] = s < job.span_count ? job.from[s] : query_span{};
  job.counts[s] = blocks_of(job.spans[s], block_tokens(job.shape, job.asked)) * job.shape.kv_heads;
}
/// A thread for each place of an item.
template <kv::Layout L, Policy P>
__global__ void write_items(plan_job<L, P> job) {
  const std::uint32_t i = plan_thread(), n = job.before[job.room.spans];
  if (i >= job.room.items) return;
  if (i == 0) job.tally->items = n <= job.room.items ? n : 0, job.tally->fits = n <= job.room.items;
  plan_item item{};
  if (i < n && n <= job.room.items) {
    const std::uint32_t s = first_where(job.room.spans, [&](std::uint32_t k) { return job.before[k + 1] > i; }), heads = job.shape.kv_heads, k = i - job.before[s];
    item = {item_of(job.layout, job.layer, k % heads, s, job.spans[s], block_tokens(job.shape, job.asked), k / heads)};
    atomicAdd(&job.tally->pieces, static_cast<unsigned long long>(item.pieces.count()));
    atomicMax(&job.tally->longest, item.pieces.count());
  }
  job.items[i] = item;
}
template <kv::Layout L, Policy P>
__global__ void measure_items(plan_job<L, P> job) {
  const std::uint32_t i = plan_thread();
  if (i >= job.room.items) return;
  job.lengths[i] = i < job.tally->items ? job.policy.dealing(job.totals(), job.asked.units).length(job.load(i)) : 0;
}
/// A thread for each slot, and one for the line's end.
template <kv::Layout L, Policy P>
__global__ void begin_workers(plan_job<L, P> job) {
  const std::uint32_t w = plan_thread(), n = job.tally->items;
  if (w > job.room.slots) return;
  const std::uint64_t length = n == 0 ? 0 : job.ends[n - 1];
  const std::uint32_t dealt = job.policy.workers(job.totals(), length, job.asked.units);
  if (w == 0 && dealt > job.room.slots) job.tally->fits = 0;
  plan_cut cut{n, 0};
  if (dealt <= job.room.slots && w < dealt) {
    const std::uint64_t begin = deal(length, dealt, w).begin;
    const std::uint32_t i = first_where(n, [&](std::uint32_t k) { return job.ends[k] > begin; });
    const std::uint64_t before = i == 0 ? 0 : job.ends[i - 1];
    if (i < n) {
      const std::uint32_t piece = job.policy.dealing(job.totals(), job.asked.units).piece_at(job.load(i), begin - before);
      cut = piece < job.items[i].pieces.count() ? plan_cut{i, piece} : plan_cut{i + 1, 0};
    }
  }
  job.begins[w] = cut;
}
/// A thread for each place of an item, each slot and the end: who folds the item, and cuts of workers that fold nothing.
template <kv::Layout L, Policy P>
__global__ void name_workers(plan_job<L, P> job) {
  const std::uint32_t t = plan_thread(), workers = job.tally->cuts - 1, n = job.tally->items;
  if (t < n) {
    const auto past = [&](plan_cut at) {  // workers that begin before `at`
      return first_where(workers, [&](std::uint32_t w) { return job.cuts[w].item > at.item || (job.cuts[w].item == at.item && job.cuts[w].piece >= at.piece); });
    };
    const std::uint32_t first = past({t, 1}), last = past({t + 1, 0});
    if (workers != 0) job.items[t].first_worker = first - 1, job.items[t].workers = last - first + 1;
  }
  if (t > workers && t <= job.room.slots) job.cuts[t] = {n, 0};
}

/// Planning on a device, one layer or class of layers, without shared prefixes (those are found on page tables, on a host).
/// from: FlashMLA's scheduler on a device, stream-K; test: tests/attention/cuda/plan.cpp
template <kv::Layout L, Policy P, PlanSums S>
class planner {
 public:
  /// Scratch for plans of this room, aligned to plan_alignment.
  static std::size_t scratch_bytes(plan_room room, const S& sums) { return place(room, nullptr, nullptr) + sums.bytes(most(room)); }

  /// Starts the work on `on` and returns. `spans` [span_count], `memory` [plan_bytes(room)] and `scratch` [scratch_bytes] lie on
  /// the device; sequences hold `max_tokens` at most. `out`: what kernels take, complete for them once the stream is there: its item_count and
  /// workers are the room's, its depths those of max_tokens. `tally`: the true numbers, on the device.
  /// cost: five kernels and three sums; fails: unsupported_shape (check), out_of_range (room), device
  static status start(const L& layout, const problem& p, std::uint32_t layer, const query_span* spans, std::uint32_t span_count, const P& policy, plan_shape asked, plan_room room,
                      std::uint32_t max_tokens, std::byte* memory, std::byte* scratch, const S& sums, device::stream on, plan_view& out, const plan_tally** tally = nullptr) {
    if (const status s = check(p, asked); !s) return s;
    if (room.items == 0) return {errc::out_of_range, "items of a plan", 0, 1, 1u << 31};
    if (span_count > room.spans) return {errc::out_of_range, "spans of a plan", span_count, 0, room.spans};
    const device::range named("quire: plan");
    plan_job<L, P> job{.layout = layout, .shape = p, .policy = policy, .asked = asked, .room = room, .layer = layer, .span_count = span_count, .from = spans};
    const plan_places at = places_of(room);
    job.items = reinterpret_cast<plan_item*>(memory), job.cuts = reinterpret_cast<plan_cut*>(memory + at.cuts), job.spans = reinterpret_cast<query_span*>(memory + at.spans);
    std::byte* const rest = scratch + place(room, scratch, &job);
    const std::size_t bytes = sums.bytes(most(room));
    const auto each = [&](auto kernel, std::uint32_t n) { return device::launch(kernel, {.blocks = ceil_div(n, threads), .threads = threads}, on, job); };
    if (const status s = each(&count_items<L, P>, room.spans + 1); !s) return s;
    if (const status s = sums.exclusive(rest, bytes, job.counts, job.before, room.spans + 1, on); !s) return s;
    if (const status s = each(&write_items<L, P>, room.items); !s) return s;
    if (const status s = each(&measure_items<L, P>, room.items); !s) return s;
    if (const status s = sums.inclusive(rest, bytes, job.lengths, job.ends, room.items, on); !s) return s;
    if (const status s = each(&begin_workers<L, P>, room.slots + 1); !s) return s;
    if (const status s = sums.distinct(rest, bytes, job.begins, job.cuts, &job.tally->cuts, room.slots + 1, on); !s) return s;
    if (const status s = each(&name_workers<L, P>, most(room)); !s) return s;
    if (tally != nullptr) *tally = job.tally;
    out = {};
    out.items = job.items, out.cuts = job.cuts, out.spans = job.spans;
    out.item_count = room.items, out.span_count = span_count, out.workers = out.slots = room.slots;
    out.depth = out.merge_depth = deepest(layout, max_tokens);
    return {};
  }

 private:
  static constexpr std::uint32_t threads = 128;
  static std::uint32_t most(plan_room r) { return std::max({r.spans + 1, r.items, r.slots + 1}); }
  /// The largest stack_depth of any share of a sequence of `tokens` tokens.
  static std::uint32_t deepest(const L& layout, std::uint32_t tokens) {
    std::uint32_t sinks = 0, extra = 0;
    for (std::uint32_t g = 0; g < layout.groups(); ++g) {
      const kv::visibility sees = layout.group_sees(g);
      sinks = std::max(sinks, ceil_div(sees.limited() ? sees.sinks : 0, piece_tokens));
      extra = std::max(extra, kv::extra_tiles(layout, g, tokens / tile_tokens, sees));
    }
    return subtree_walk::depth(sinks) + subtree_walk::depth(ceil_div(tokens / tile_tokens + 1 + extra, piece_tiles));
  }
  /// One walk gives both the size and the addresses.
  static std::size_t place(plan_room room, std::byte* base, plan_job<L, P>* to) {
    std::size_t at = 0;
    const auto take = [&]<class T>(T* plan_job<L, P>::*field, std::size_t n) {
      if (to != nullptr) to->*field = reinterpret_cast<T*>(base + at);
      at += round_up(n * sizeof(T), plan_alignment);
    };
    using job = plan_job<L, P>;
    take(&job::tally, 1), take(&job::lengths, room.items), take(&job::ends, room.items), take(&job::begins, std::size_t{room.slots} + 1);
    take(&job::counts, std::size_t{room.spans} + 1), take(&job::before, std::size_t{room.spans} + 1);
    return at;
  }
};

}  // namespace quire::inline v0::attention::cuda
