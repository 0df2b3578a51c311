// SPDX-License-Identifier: Apache-2.0
// A step's plan as arrays: made on a host in memory that the caller gives, for kernels to read (plan_view.hpp).
#pragma once

#include <memory>
#include <new>

#include "../../core/status.hpp"
#include "../cohort.hpp"
#include "../subtree_walk.hpp"
#include "policy.hpp"

namespace quire::inline v0::attention {

/// Room in a plan's memory. A captured graph keeps one size and grid for all its steps: the most that any of them needs.
struct plan_room {
  std::uint32_t items = 0, slots = 0, spans = 0, members = 0;   ///< slots: workers; members: of shared prefixes, for each kv head
  friend bool operator==(const plan_room&, const plan_room&) = default;
};
inline constexpr std::size_t plan_alignment = 16;
/// Where its arrays begin in memory, one after another, and bytes of all.
struct plan_places {
  std::size_t cuts, spans, members, bytes;
};
constexpr plan_places places_of(plan_room r) noexcept {
  const std::size_t cuts = round_up(r.items * sizeof(plan_item), plan_alignment);
  const std::size_t spans = cuts + round_up((std::size_t{r.slots} + 1) * sizeof(plan_cut), plan_alignment);
  const std::size_t members = spans + round_up(r.spans * sizeof(query_span), plan_alignment);
  return {cuts, spans, members, members + r.members * sizeof(plan_member)};
}
constexpr std::size_t plan_bytes(plan_room r) noexcept { return places_of(r).bytes; }

/// What a back end asks of a plan.
struct plan_shape {
  std::uint32_t units = 1;        ///< workers that run at a time: thread blocks that a device holds
  std::uint32_t block_rows = 64;  ///< query rows (tokens × group) of an item at most; decode kernels 16, prefill kernels 64
};
/// Query tokens per item. precondition: block_rows ≥ group.
QUIRE_HD constexpr std::uint32_t block_tokens(const problem& p, plan_shape s) noexcept {
  const std::uint32_t tokens = std::bit_floor(s.block_rows / p.group());
  return tokens < tile_tokens ? tokens : tile_tokens;
}

/// Whether two layers of a step have the same plan: every head lies in the same group in both. So a caller makes one plan for
/// each class of layers: one for all layers of a layout of pages, some for one that splits heads.
template <kv::Layout L>
constexpr bool same_plan(const L& layout, std::uint32_t layer, std::uint32_t other) noexcept {
  for (std::uint32_t h = 0; h < layout.extent().kv_heads; ++h)
    if (layout.slot(layer, h).group != layout.slot(other, h).group) return false;
  return true;
}

/// States on a subtree stack, the one being folded included, while the live pieces of ordinals `r` are folded, at most. A run of n
/// pieces from token 0 takes one state for each bit of n; anywhere else its subtrees first grow and then shrink.
QUIRE_HD constexpr std::uint32_t stack_depth(const work_item& item, range r) noexcept {
  const auto bits = [](std::uint64_t n) { return static_cast<std::uint32_t>(std::bit_width(n)); };
  const std::uint64_t early = intersect(r, {0, item.pieces.sinks}).size(), late = r.size() - early;
  if (r.begin != 0 || item.prefix != 0) return subtree_walk::depth(early) + subtree_walk::depth(late);
  if (item.pieces.sinks == 0 && item.pieces.recent == 0) return bits(r.size());
  return bits(early) + subtree_walk::depth(late);
}
/// The same for whoever merges all of an item, its prefix first.
QUIRE_HD constexpr std::uint32_t merge_depth(const work_item& item) noexcept {
  return item.prefix == 0 ? stack_depth(item, {0, item.pieces.count()}) : static_cast<std::uint32_t>(std::bit_width(item.pieces.end));
}

namespace detail {
template <kv::Layout L, Policy P>
struct planned_step {
  const L& layout;
  const problem& shape;
  std::uint32_t layer;
  std::span<const query_span> spans;
  const P& policy;
  plan_shape asked;
  const cohort_plan* cohorts;

  bool shares(std::uint32_t head) const { return !layout.group_sees(layout.slot(layer, head).group).limited(); }
  /// f(item, load, where it begins on the line): prefixes first, then the items of spans.
  template <Dealing D, class F>
  std::uint64_t each_item(const D& d, F&& f) const {
    std::uint64_t at = 0;
    const auto visit = [&](const work_item& item) {
      const item_load load{item.pieces.count(), item.count * shape.group()};
      f(item, load, at);
      at += d.length(load);
    };
    if (cohorts)
      for (const cohort& c : cohorts->cohorts())
        for (std::uint32_t h = 0; h < shape.kv_heads; ++h)
          if (shares(h)) visit({cohorts->members(c)[0], h, c.pieces * piece_tokens, c.count, {0, 0, c.pieces}});
    const auto folded = [this](std::uint32_t span) { return cohorts ? cohorts->pieces(span) : 0; };
    const std::uint64_t before = at;
    return before + for_each_item(layout, shape, layer, spans, block_tokens(shape, asked), d,
                                  [&](const work_item& item, item_load load, std::uint64_t after) { f(item, load, before + after); }, folded);
  }
  step_totals totals() const {
    step_totals t;
    each_item(even_shares{}, [&](const work_item&, item_load i, std::uint64_t) { ++t.items, t.pieces += i.pieces, t.longest = std::max(t.longest, i.pieces); });
    return t;
  }
  std::uint32_t sharing_heads() const {
    std::uint32_t n = 0;
    for (std::uint32_t h = 0; h < shape.kv_heads; ++h) n += shares(h);
    return n;
  }
  std::uint32_t members() const {
    std::uint32_t n = 0;
    if (cohorts)
      for (const cohort& c : cohorts->cohorts()) n += c.count;
    return n * sharing_heads();
  }
  /// Ties the items of members to their prefixes. Items stand in the order of each_item.
  void link(plan_item* items, plan_member* members, plan_view& plan) const {
    if (!cohorts) return;
    const std::uint32_t heads = sharing_heads();
    for (const cohort& c : cohorts->cohorts())
      for (std::uint32_t h = 0; h < heads; ++h) {
        items[plan.prefix_items++].link = plan.member_count;
        for (std::uint32_t m : cohorts->members(c)) std::construct_at(members + plan.member_count++, plan_member{m, 0});
      }
    for (std::uint32_t i = plan.prefix_items; i < plan.item_count; ++i) {
      if (items[i].prefix == 0) continue;
      std::uint32_t ordinal_of_head = 0;
      for (std::uint32_t h = 0; h < items[i].head; ++h) ordinal_of_head += shares(h);
      const auto place = cohorts->of(items[i].span);
      items[i].link = place.cohort * heads + ordinal_of_head, items[i].ordinal = place.ordinal;
      members[items[items[i].link].link + place.ordinal].item = i;
    }
  }
};
}  // namespace detail

/// fails: unsupported_shape (block_rows below the group, no unit)
constexpr status check(const problem& p, plan_shape s) noexcept {
  if (s.block_rows < p.group()) return {errc::unsupported_shape, "block_rows (query heads of a group at least)", s.block_rows, p.group(), 1 << 16};
  if (s.units == 0) return {errc::unsupported_shape, "units", 0, 1, 1 << 24};
  return {};
}

/// Room that a step needs. `cohorts`: prefixes to fold once for several spans, of no more members than rows / group of the kernel
/// that folds them; left out where a problem does not let rows share them (shares_prefixes). precondition: check(p, asked)
template <kv::Layout L, Policy P>
plan_room plan_needs(const L& layout, const problem& p, std::uint32_t layer, std::span<const query_span> spans, const P& policy, plan_shape asked,
                     const cohort_plan* cohorts = nullptr) {
  const detail::planned_step<L, P> step{layout, p, layer, spans, policy, asked, shares_prefixes(p) ? cohorts : nullptr};
  const step_totals t = step.totals();
  const auto dealing = policy.dealing(t, asked.units);
  const std::uint64_t length = step.each_item(dealing, [](const work_item&, item_load, std::uint64_t) {});
  return {t.items, policy.workers(t, length, asked.units), static_cast<std::uint32_t>(spans.size()), step.members()};
}

/// Plans one layer of a step (or all layers of one class, see same_plan): a pure function of lengths. Items and their order are
/// those of for_each_item, after one for each shared prefix and kv head; worker w of W gets the stretch deal(length, W, w) of the line, and those that get no piece of it are
/// left out, so the workers that fold something come first. Nothing is allocated. `memory`: aligned to plan_alignment,
/// plan_bytes(room) long; the view's arrays point into it, at places that depend on `room` alone.
/// cost: O(items + workers), three walks over the items; fails: unsupported_shape (check), out_of_range (room, memory);
/// test: tests/attention/plan/build.cpp
template <kv::Layout L, Policy P>
status plan_step(const L& layout, const problem& p, std::uint32_t layer, std::span<const query_span> spans, const P& policy, plan_shape asked, plan_room room,
                 std::span<std::byte> memory, plan_view& out, const cohort_plan* cohorts = nullptr) {
  if (const status s = check(p, asked); !s) return s;
  if (memory.size() < plan_bytes(room))
    return {errc::out_of_range, "bytes of a plan", static_cast<std::int64_t>(memory.size()), static_cast<std::int64_t>(plan_bytes(room)), std::int64_t{1} << 40};
  const detail::planned_step<L, P> step{layout, p, layer, spans, policy, asked, shares_prefixes(p) ? cohorts : nullptr};
  const step_totals totals = step.totals();
  const auto dealing = policy.dealing(totals, asked.units);
  const auto over = [](const char* what, std::uint64_t n, std::uint32_t most) { return status{errc::out_of_range, what, static_cast<std::int64_t>(n), 0, most}; };
  if (totals.items > room.items) return over("items of a plan", totals.items, room.items);
  if (spans.size() > room.spans) return over("spans of a plan", spans.size(), room.spans);
  if (step.members() > room.members) return over("members of shared prefixes of a plan", step.members(), room.members);
  const std::uint64_t length = step.each_item(dealing, [](const work_item&, item_load, std::uint64_t) {});
  const std::uint32_t dealt = policy.workers(totals, length, asked.units);
  if (dealt > room.slots) return over("workers of a plan", dealt, room.slots);

  const plan_places at = places_of(room);
  auto* const items = reinterpret_cast<plan_item*>(memory.data());
  auto* const cuts = reinterpret_cast<plan_cut*>(memory.data() + at.cuts);
  auto* const copies = reinterpret_cast<query_span*>(memory.data() + at.spans);
  auto* const members = reinterpret_cast<plan_member*>(memory.data() + at.members);
  std::uninitialized_copy(spans.begin(), spans.end(), copies);
  plan_view plan{.items = items, .cuts = cuts, .spans = copies, .members = members, .item_count = totals.items, .span_count = static_cast<std::uint32_t>(spans.size()), .slots = room.slots};

  std::uint32_t number = 0, worker = 0, workers = 0;  // worker: the next whose stretch begins on or past this item
  step.each_item(dealing, [&](const work_item& item, item_load load, std::uint64_t before) {
    const std::uint64_t end = before + dealing.length(load);
    for (; worker < dealt && deal(length, dealt, worker).begin < end; ++worker) {
      const std::uint64_t begin = deal(length, dealt, worker).begin;
      const std::uint32_t piece = begin <= before ? 0 : dealing.piece_at(load, begin - before);
      const plan_cut cut = piece < load.pieces ? plan_cut{number, piece} : plan_cut{number + 1, 0};
      if (cut.item < totals.items && (workers == 0 || !(cut == cuts[workers - 1]))) std::construct_at(cuts + workers++, cut);
    }
    std::construct_at(items + number++, plan_item{item});
  });
  for (; number < room.items; ++number) std::construct_at(items + number, plan_item{});  // nobody's: a recorded launch counts the room's
  step.link(items, members, plan);
  plan.workers = workers;
  for (std::uint32_t w = workers; w <= room.slots; ++w) std::construct_at(cuts + w, plan_cut{totals.items, 0});
  for (std::uint32_t w = 0; w < workers; ++w) {
    const range touched = items_of(plan, w);
    for (auto i = static_cast<std::uint32_t>(touched.begin); i < touched.end; ++i) {
      plan_item& item = items[i];
      const range mine = pieces_of(plan, w, i);
      if (item.workers++ == 0) item.first_worker = w;
      plan.depth = std::max(plan.depth, stack_depth(item, mine));
      plan.merge_depth = std::max(plan.merge_depth, merge_depth(item));
    }
  }
  out = plan;
  return {};
}

/// The same plan as a recorded launch keeps it, for every step that is planned into the same memory with the same room and prefixes: what kernels
/// take by value is the room's. `depth`: of those steps' stacks at most.
constexpr plan_view bounded(plan_view p, plan_room room, std::uint32_t depth) noexcept {
  p.item_count = room.items, p.span_count = room.spans, p.workers = room.slots;
  p.depth = p.merge_depth = depth;
  return p;
}

}  // namespace quire::inline v0::attention
