// SPDX-License-Identifier: Apache-2.0
// Planning a step for a GPU, on the host, from lengths alone.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "quire/attention/plan/build.hpp"

namespace quire_lm {

/// The spans of a step that one kernel folds: of few query rows, or chunks of prompts.
enum class span_part : std::uint8_t { decode, chunk };

/// The most that a step brings, and what kernels ask of a plan.
struct plan_limits {
  std::uint32_t units = 1;                       ///< blocks that run at a time
  std::array<std::uint32_t, 2> block_rows{16, 64};  ///< [part] query rows of an item at most
  std::uint32_t rows = 1, sequences = 1, tokens = 1;   ///< of a step; tokens of a sequence
  std::uint32_t prefix_rows = 0, prefix_units = 1;     ///< of the kernel for decodes that share prefixes: rows of a prefix at most (0: none are shared), blocks
  std::uint32_t shortest_prefix = quire::attention::shortest_prefix;   ///< pieces; measured on CPUs, not on a device
};

/// What launches of a step have baked in. Steps of one shape differ in what stands in memory alone.
struct step_shape {
  std::uint32_t rows = 0, spans = 0, slots = 0;    ///< at least the step's; slots: workers of each plan
  std::uint32_t prefixes = 0, members = 0;         ///< the step's
  friend bool operator==(const step_shape&, const step_shape&) = default;
};

/// Plans of a step: one for each part and class of layers (attention::same_plan). Where they are written is the caller's matter. Decodes that
/// begin with the same pages fold those once, where the limits let them (attention/cohort.hpp): no bit changes.
/// Allocates in the constructor only. throws: std::bad_alloc
template <quire::kv::Layout L>
class device_plans {
 public:
  /// precondition: block_rows of both parts are at least the group.
  device_plans(const L& layout, const quire::attention::problem& shape, const plan_limits& limits) : layout_(layout), shape_(shape), limits_(limits), cohorts_(limits.sequences) {
    for (std::uint32_t l = 0; l < layout.extent().layers; ++l) {
      std::uint32_t c = 0;
      while (c < first_layer_.size() && !quire::attention::same_plan(layout, first_layer_[c], l)) ++c;
      if (c == first_layer_.size()) first_layer_.push_back(l);
      class_.push_back(c);
    }
    for (auto& p : plans_) p.resize(first_layer_.size());
    for (auto& r : rooms_) r.resize(first_layer_.size());
    ordered_.reserve(limits.sequences), staged_.reserve(limits.sequences), stands_.reserve(limits.sequences);
  }

  /// Spans in the order in which parts take them, decodes first; `staged` [spans]: raw tiles that earlier ones fill on their way; `stands`
  /// [spans]: tiles that earlier ones stand in.
  std::span<const quire::attention::query_span> spans() const noexcept { return ordered_; }
  std::span<const std::uint32_t> staged() const noexcept { return staged_; }
  std::span<const std::uint32_t> stands() const noexcept { return stands_; }
  std::uint32_t first(span_part p) const noexcept { return p == span_part::decode ? 0 : decodes_; }
  const quire::attention::plan_view& of(span_part p, std::uint32_t layer) const noexcept { return plans_[static_cast<std::size_t>(p)][class_[layer]]; }

  /// Orders the spans of a step and looks for prefixes that they share. precondition: none is empty, their tokens are reserved.
  void order(const quire::kv::store_view<L>& view, std::span<const quire::attention::query_span> spans) {
    const auto few = [this](const auto& s) { return s.count * shape_.group() <= limits_.block_rows[0]; };
    ordered_.assign(spans.begin(), spans.end());
    decodes_ = static_cast<std::uint32_t>(std::stable_partition(ordered_.begin(), ordered_.end(), few) - ordered_.begin());
    staged_.clear(), stands_.clear();
    std::uint32_t tiles = 0;
    for (const auto& s : ordered_) {
      staged_.push_back(tiles), stands_.push_back(tiles + static_cast<std::uint32_t>(stands_.size()));
      tiles += (s.first + s.count - 1) / quire::tile_tokens - s.first / quire::tile_tokens;
    }
    cohorts_.clear();
    if (limits_.prefix_rows >= shape_.group()) cohorts_.find(view, decodes(), limits_.prefix_rows / shape_.group(), limits_.shortest_prefix);
  }
  /// Whether the step has decodes alone: few of rows and of anything else, so that what launches bake in may be rounded up.
  bool only_decodes() const noexcept { return decodes_ == ordered_.size(); }
  /// Says how much room the plans take. `rounded`: that of all steps like this one, for launches that are kept. precondition: only_decodes() then.
  step_shape measure(std::uint32_t rows, bool rounded) {
    namespace at = quire::attention;
    step_shape all{.rows = rows, .spans = static_cast<std::uint32_t>(ordered_.size())};
    for (const at::cohort& c : cohorts_.cohorts()) ++all.prefixes, all.members += c.count;
    for (std::size_t p = 0; p < plans_.size(); ++p)
      for (std::size_t c = 0; c < first_layer_.size(); ++c) {
        rooms_[p][c] = spans_of(p).empty() ? at::plan_room{} : at::plan_needs(layout_, shape_, first_layer_[c], spans_of(p), at::lean_split{}, asked(p), cohorts_of(p));
        if (p == 0) all.slots = std::max(all.slots, rooms_[p][c].slots);
      }
    rounded_ = rounded;
    if (!rounded) return all;
    all.rows = std::min(limits_.rows, rows <= 16 ? std::bit_ceil(rows) : quire::ceil_div(rows, 16) * 16);   // products take rows by groups of these sizes
    all.spans = std::min(limits_.sequences, std::bit_ceil(all.spans));
    all.slots = std::min(asked(0).units, std::bit_ceil(all.slots));
    for (std::size_t c = 0; c < first_layer_.size(); ++c)
      rooms_[0][c] = {items(0, all.rows, all.spans) + all.prefixes * shape_.kv_heads, all.slots, all.spans, rooms_[0][c].members};
    return all;
  }
  /// Renames the sequence of each span to its place: as kv::pack_view numbers them.
  void number() noexcept {
    for (std::uint32_t i = 0; i < ordered_.size(); ++i) ordered_[i].sequence = i;
  }
  /// Makes the plans that were measured. place(bytes) gives a stretch to write one and the address where kernels will read it, both aligned to
  /// attention::plan_alignment. fails: as plan_step
  template <class Place>
  quire::status make(Place&& place) {
    namespace at = quire::attention;
    for (std::size_t p = 0; p < plans_.size(); ++p)
      for (std::size_t c = 0; c < first_layer_.size(); ++c) {
        at::plan_view plan;
        if (!spans_of(p).empty()) {
          const at::plan_room room = rooms_[p][c];
          const auto [to, there] = place(at::plan_bytes(room));
          if (const quire::status s = at::plan_step(layout_, shape_, first_layer_[c], spans_of(p), at::lean_split{}, asked(p), room, to, plan, cohorts_of(p)); !s) return s;
          plan = at::moved(plan, to.data(), there);
          if (rounded_) plan = at::bounded(plan, room, worst_.depth);
        }
        plans_[p][c] = plan;
      }
    return {};
  }

  /// Bytes of all plans of a step at most, and items of one plan.
  std::size_t most_bytes() const noexcept {
    std::size_t bytes = 0;
    for (std::size_t p = 0; p < plans_.size(); ++p)
      bytes += quire::round_up(quire::attention::plan_bytes({most_items(p), worst_.slots, limits_.sequences, worst_.member_count}), quire::attention::plan_alignment);
    return bytes * first_layer_.size();
  }
  std::uint32_t most_items() const noexcept { return std::max(most_items(0), most_items(1)); }
  /// Plans that need at least as much scratch as any: without prefixes, and with.
  quire::attention::plan_view worst() const noexcept { return {.slots = worst_.slots, .depth = worst_.depth, .merge_depth = worst_.merge_depth}; }
  quire::attention::plan_view worst_with_prefixes() const noexcept { return worst_; }

 private:
  std::span<const quire::attention::query_span> decodes() const noexcept { return spans_of(0); }
  std::span<const quire::attention::query_span> spans_of(std::size_t part) const noexcept {
    const std::span<const quire::attention::query_span> all = ordered_;
    return part == 0 ? all.first(decodes_) : all.subspan(decodes_);
  }
  const quire::attention::cohort_plan* cohorts_of(std::size_t part) const noexcept { return part == 0 && !cohorts_.cohorts().empty() ? &cohorts_ : nullptr; }
  quire::attention::plan_shape asked(std::size_t part) const noexcept { return {.units = cohorts_of(part) == nullptr ? limits_.units : limits_.prefix_units, .block_rows = limits_.block_rows[part]}; }
  /// Of spans with so many rows in all, at most: one of n rows lies in at most n blocks, and in n / block + 2.
  std::uint32_t items(std::size_t part, std::uint32_t rows, std::uint32_t spans) const noexcept {
    return std::min(rows, rows / quire::attention::block_tokens(shape_, {.block_rows = limits_.block_rows[part]}) + 2 * spans) * shape_.kv_heads;
  }
  std::uint32_t most_items(std::size_t part) const noexcept { return items(part, limits_.rows, limits_.sequences) + (part == 0 ? worst_.prefix_items : 0); }
  static quire::attention::plan_view worst_of(const L& layout, const quire::attention::problem& shape, const plan_limits& limits) noexcept {
    namespace at = quire::attention;
    const std::uint32_t pieces = quire::ceil_div(quire::tiles_touched(limits.tokens) + 1 + layout.overlay_tiles(limits.tokens), quire::piece_tiles);
    at::plan_view p{.slots = std::max(limits.units, limits.prefix_units)};
    for (std::uint32_t g = 0; g < layout.groups(); ++g) {
      const quire::kv::visibility sees = layout.group_sees(g);
      const std::uint32_t sinks = sees.limited() ? quire::ceil_div(sees.sinks, quire::piece_tokens) : 0;
      p.depth = std::max(p.depth, at::subtree_walk::depth(sinks) + at::subtree_walk::depth(pieces));
    }
    p.merge_depth = p.depth;
    if (limits.prefix_rows != 0) p.prefix_items = limits.sequences / 2 * shape.kv_heads, p.member_count = limits.sequences * shape.kv_heads;
    return p;
  }

  L layout_;
  quire::attention::problem shape_;
  plan_limits limits_;
  std::vector<std::uint32_t> class_, first_layer_;   // [layer] its class; [class] the first layer of it
  quire::attention::plan_view worst_ = worst_of(layout_, shape_, limits_);
  std::array<std::vector<quire::attention::plan_view>, 2> plans_;  // [part][class]
  std::array<std::vector<quire::attention::plan_room>, 2> rooms_;
  bool rounded_ = false;
  quire::attention::cohort_plan cohorts_;
  std::vector<quire::attention::query_span> ordered_;
  std::vector<std::uint32_t> staged_, stands_;
  std::uint32_t decodes_ = 0;
};

}  // namespace quire_lm
