// SPDX-License-Identifier: Apache-2.0
// Planning a step for a GPU, on the host, from lengths alone.
#pragma once

#include <algorithm>
#include <array>
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
};

/// Plans of a step: one for each part and class of layers (attention::same_plan). Where they are written is the caller's matter.
/// Allocates in the constructor only. throws: std::bad_alloc
template <quire::kv::Layout L>
class device_plans {
 public:
  /// precondition: block_rows of both parts are at least the group.
  device_plans(const L& layout, const quire::attention::problem& shape, const plan_limits& limits) : layout_(layout), shape_(shape), limits_(limits) {
    for (std::uint32_t l = 0; l < layout.extent().layers; ++l) {
      std::uint32_t c = 0;
      while (c < first_layer_.size() && !quire::attention::same_plan(layout, first_layer_[c], l)) ++c;
      if (c == first_layer_.size()) first_layer_.push_back(l);
      class_.push_back(c);
    }
    for (auto& p : plans_) p.resize(first_layer_.size());
    ordered_.reserve(limits.sequences), staged_.reserve(limits.sequences), stands_.reserve(limits.sequences);
  }

  /// Spans in the order in which parts take them, decodes first; `staged` [spans]: raw tiles that earlier ones fill on their way; `stands`
  /// [spans]: tiles that earlier ones stand in.
  std::span<const quire::attention::query_span> spans() const noexcept { return ordered_; }
  std::span<const std::uint32_t> staged() const noexcept { return staged_; }
  std::span<const std::uint32_t> stands() const noexcept { return stands_; }
  std::uint32_t first(span_part p) const noexcept { return p == span_part::decode ? 0 : decodes_; }
  const quire::attention::plan_view& of(span_part p, std::uint32_t layer) const noexcept { return plans_[static_cast<std::size_t>(p)][class_[layer]]; }

  /// Orders the spans of a step. precondition: none is empty.
  void order(std::span<const quire::attention::query_span> spans) {
    const auto few = [this](const auto& s) { return s.count * shape_.group() <= limits_.block_rows[0]; };
    ordered_.assign(spans.begin(), spans.end());
    decodes_ = static_cast<std::uint32_t>(std::stable_partition(ordered_.begin(), ordered_.end(), few) - ordered_.begin());
    staged_.clear(), stands_.clear();
    std::uint32_t tiles = 0;
    for (const auto& s : ordered_) {
      staged_.push_back(tiles), stands_.push_back(tiles + static_cast<std::uint32_t>(stands_.size()));
      tiles += (s.first + s.count - 1) / quire::tile_tokens - s.first / quire::tile_tokens;
    }
  }
  /// Renames the sequence of each span to its place: as kv::pack_view numbers them.
  void number() noexcept {
    for (std::uint32_t i = 0; i < ordered_.size(); ++i) ordered_[i].sequence = i;
  }
  /// Makes the plans. place(bytes) gives a stretch to write one and the address where kernels will read it, both aligned to
  /// attention::plan_alignment. fails: as plan_step
  template <class Place>
  quire::status make(Place&& place) {
    namespace at = quire::attention;
    for (std::size_t p = 0; p < plans_.size(); ++p) {
      const std::span<const at::query_span> all = ordered_, mine = p == 0 ? all.first(decodes_) : all.subspan(decodes_);
      const at::plan_shape asked{.units = limits_.units, .block_rows = limits_.block_rows[p]};
      for (std::size_t c = 0; c < first_layer_.size(); ++c) {
        at::plan_view plan;
        if (!mine.empty()) {
          const at::plan_room room = at::plan_needs(layout_, shape_, first_layer_[c], mine, at::lean_split{}, asked);
          const auto [to, there] = place(at::plan_bytes(room));
          if (const quire::status s = at::plan_step(layout_, shape_, first_layer_[c], mine, at::lean_split{}, asked, room, to, plan); !s) return s;
          plan = at::moved(plan, to.data(), there);
        }
        plans_[p][c] = plan;
      }
    }
    return {};
  }

  /// Bytes of all plans of a step at most, and items of one plan.
  std::size_t most_bytes() const noexcept {
    std::size_t bytes = 0;
    for (std::size_t p = 0; p < plans_.size(); ++p)
      bytes += quire::round_up(quire::attention::plan_bytes({most_items(p), limits_.units, limits_.sequences, 0}), quire::attention::plan_alignment);
    return bytes * first_layer_.size();
  }
  std::uint32_t most_items() const noexcept { return std::max(most_items(0), most_items(1)); }
  /// A plan that needs at least as much scratch as any.
  quire::attention::plan_view worst() const noexcept {
    namespace at = quire::attention;
    const std::uint32_t pieces = quire::ceil_div(quire::tiles_touched(limits_.tokens) + 1 + layout_.overlay_tiles(limits_.tokens), quire::piece_tiles);
    quire::attention::plan_view p{.slots = limits_.units};
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) {
      const quire::kv::visibility sees = layout_.group_sees(g);
      const std::uint32_t sinks = sees.limited() ? quire::ceil_div(sees.sinks, quire::piece_tokens) : 0;
      p.depth = std::max(p.depth, at::subtree_walk::depth(sinks) + at::subtree_walk::depth(pieces));
    }
    p.merge_depth = p.depth;
    return p;
  }

 private:
  /// A span of n rows lies in at most n blocks, and in n / block + 2.
  std::uint32_t most_items(std::size_t part) const noexcept {
    const std::uint32_t block = quire::attention::block_tokens(shape_, {.block_rows = limits_.block_rows[part]});
    return std::min(limits_.rows, limits_.rows / block + 2 * limits_.sequences) * shape_.kv_heads;
  }

  L layout_;
  quire::attention::problem shape_;
  plan_limits limits_;
  std::vector<std::uint32_t> class_, first_layer_;   // [layer] its class; [class] the first layer of it
  std::array<std::vector<quire::attention::plan_view>, 2> plans_;  // [part][class]
  std::vector<quire::attention::query_span> ordered_;
  std::vector<std::uint32_t> staged_, stands_;
  std::uint32_t decodes_ = 0;
};

}  // namespace quire_lm
