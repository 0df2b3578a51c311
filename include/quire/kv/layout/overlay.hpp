// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../retain/importance.hpp"
#include "paged.hpp"

namespace quire::inline v0::kv {

/// What happens to tokens that an overlay lets go: their sealed copy serves on, or they are gone.
enum class rest : std::uint8_t { keep, drop };

/// Important tokens stay exact in an overlay beside the tiles of `Base`, whose codec keeps every token (rest::keep: MiKV,
/// mixed precision) or whose tiles are dropped as soon as they are full (rest::drop: H2O eviction). Applies to the heads of
/// group 0, the ones that keep everything; other groups stay as they are. Each (layer, head) chooses its own tokens from the
/// attention they received; a live mask hides a sealed copy while the overlay holds the token.
/// cost: the sealed tiles plus budget(tokens) exact rows, 8 bytes a row, and 8 bytes a tile of mask. One choice per tile.
/// fails: `truncate` (errc::not_rewindable), but for truncating to nothing. from: MiKV (arXiv:2402.18096), H2O (arXiv:2306.14048);
/// test: tests/kv/layout/overlay.cpp, tests/attention/cpu/settle.cpp
template <Layout Base, rest Rest = rest::keep>
class overlay {
  static_assert(!Base::overlays, "quire::kv::overlay: a layout has one overlay; give one retention policy for all heads of group 0");
  static_assert(Rest == rest::drop || !std::is_same_v<typename Base::sealed_pair, typename Base::raw_pair>,
                "quire::kv::overlay: sealed tiles are as exact as the overlay, which would hold every token twice; use a smaller codec or rest::drop");

 public:
  using base_type = Base;
  using sealed_pair = typename Base::sealed_pair;
  using raw_pair = typename Base::raw_pair;
  static constexpr read_rule rule = Base::rule;
  static constexpr layout_traits traits{.shareable = Base::traits.shareable, .rewindable = false, .prefix_pure = false};
  static constexpr std::uint32_t max_groups = Base::max_groups;
  static constexpr bool stepwise = true, overlays = true, compensates = Base::compensates;

  constexpr overlay() = default;
  /// `max_tokens` of one sequence bounds the live masks.
  constexpr overlay(const Base& base, retain::importance policy, std::uint32_t max_tokens) noexcept : base_(base), policy_(policy), max_tokens_(max_tokens) {}

  QUIRE_HD constexpr const Base& base() const noexcept { return base_; }
  /// The base's table of heads, and the same layout with that table elsewhere.
  constexpr const head_slot* slots() const noexcept
    requires requires(const Base& b) { b.slots(); }
  {
    return base_.slots();
  }
  constexpr overlay with_slots(const head_slot* at) const noexcept
    requires requires(const Base& b) { b.slots(); }
  {
    return {base_.with_slots(at), policy_, max_tokens_};
  }

  QUIRE_HD constexpr const retain::importance& policy() const noexcept { return policy_; }
  QUIRE_HD constexpr extents extent() const noexcept { return base_.extent(); }
  QUIRE_HD constexpr sealed_pair sealed() const noexcept { return base_.sealed(); }
  QUIRE_HD constexpr raw_pair raw() const noexcept { return base_.raw(); }
  QUIRE_HD constexpr std::uint32_t groups() const noexcept { return base_.groups(); }
  QUIRE_HD constexpr std::uint32_t group_heads(std::uint32_t g) const noexcept { return base_.group_heads(g); }
  QUIRE_HD constexpr visibility group_sees(std::uint32_t g) const noexcept {
    return g == 0 && Rest == rest::drop ? visibility{.sinks = 0, .window = 1, .by_tile = true} : base_.group_sees(g);
  }
  QUIRE_HD constexpr head_slot slot(std::uint32_t layer, std::uint32_t head) const noexcept { return base_.slot(layer, head); }
  QUIRE_HD constexpr std::uint32_t overlay_tiles(std::uint32_t tokens) const noexcept {
    return tiles_touched(policy_.budget(tokens / tile_tokens * tile_tokens));
  }
  QUIRE_HD constexpr const auto& dropped() const noexcept
    requires Base::compensates
  {
    return base_.dropped();
  }
  QUIRE_HD constexpr state_plan state() const noexcept {
    state_plan plan = base_.state();
    plan.needs[0].importance = true;
    plan.needs[0].masks = Rest == rest::keep ? tiles_touched(max_tokens_) : 0;
    return plan;
  }

 private:
  Base base_{};
  retain::importance policy_{};
  std::uint32_t max_tokens_ = 0;
};
static_assert(Layout<overlay<paged<raw_bf16>, rest::drop>>);

}  // namespace quire::inline v0::kv
