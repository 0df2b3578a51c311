// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "../../core/status.hpp"
#include "../remainder.hpp"
#include "../retain/scaled_window.hpp"
#include "../retain/sinks_window.hpp"
#include "paged.hpp"

namespace quire::inline v0::kv {

/// Which heads keep everything (group 0, "retrieval") and which keep sinks and a window (group 1, "streaming"). Owns the
/// table that a `head_split` layout points into, so it must outlive every layout, store and view made from it.
class head_classes {
 public:
  /// `retrieval` [layers × kv_heads], layer major, non-zero: the head keeps everything. Throws std::bad_alloc.
  head_classes(extents e, std::span<const std::uint8_t> retrieval) : slots_(e.heads()) {
    for (std::uint32_t h = 0; h < e.heads(); ++h) {
      const std::uint32_t group = h < retrieval.size() && retrieval[h] ? 0 : 1;
      slots_[h] = {group, counts_[group]++};
    }
  }
  const head_slot* slots() const noexcept { return slots_.data(); }
  std::uint32_t count(std::uint32_t group) const noexcept { return counts_[group]; }

 private:
  std::vector<head_slot> slots_;
  std::uint32_t counts_[2] = {0, 0};
};

/// Retrieval heads keep every token, streaming heads what a retention policy says: sinks and a window of fixed size
/// (DuoAttention) or one that grows with the sequence (RazorAttention). Pages of tokens that no streaming head will see again
/// go back to the pool; `Remainder` says what stays of them. Two groups of heads, one page table each.
/// With a remainder the window moves by whole tiles and sinks fill whole tiles, so that every token is either read or summed.
/// cost: as `paged` for each group; fails: `truncate` below what the window still holds (errc::not_rewindable).
/// from: DuoAttention (arXiv:2410.10819), RazorAttention (arXiv:2407.15891), StreamingLLM (arXiv:2309.17453);
/// test: tests/kv/layout/head_split.cpp, tests/attention/cpu/settle.cpp
template <CodecPair Sealed, CodecPair Raw = raw_bf16, class Remainder = remainder::none>
class head_split {
 public:
  using sealed_pair = Sealed;
  using raw_pair = Raw;
  using remainder_type = Remainder;
  static constexpr read_rule rule = read_rule::causal_seal;
  static constexpr layout_traits traits{.shareable = !balances<Sealed>, .rewindable = false, .prefix_pure = !Remainder::keeps};
  static constexpr std::uint32_t max_groups = 2;
  static constexpr bool stepwise = Remainder::keeps, overlays = false, compensates = Remainder::keeps;

  constexpr head_split() = default;
  template <retain::Retention Streaming = retain::sinks_window>
  head_split(extents e, const head_classes& classes, Streaming streaming, Sealed sealed = {}, Raw raw = {}, Remainder rest = {}) noexcept
      : extents_(e), slots_(classes.slots()), heads_{classes.count(0), classes.count(1)}, streaming_(streaming.sees()), sealed_(sealed), raw_(raw), rest_(rest) {
    if constexpr (Remainder::keeps) streaming_.by_tile = true, streaming_.sinks = tiles_touched(streaming_.sinks) * tile_tokens;
  }

  /// The table of `head_classes` [layers × kv_heads], and the same layout with that table elsewhere: where a device reads it.
  constexpr const head_slot* slots() const noexcept { return slots_; }
  constexpr head_split with_slots(const head_slot* at) const noexcept {
    head_split l = *this;
    l.slots_ = at;
    return l;
  }

  QUIRE_HD constexpr extents extent() const noexcept { return extents_; }
  QUIRE_HD constexpr Sealed sealed() const noexcept { return sealed_; }
  QUIRE_HD constexpr Raw raw() const noexcept { return raw_; }
  QUIRE_HD constexpr std::uint32_t groups() const noexcept { return 2; }
  QUIRE_HD constexpr std::uint32_t group_heads(std::uint32_t g) const noexcept { return heads_[g]; }
  QUIRE_HD constexpr visibility group_sees(std::uint32_t g) const noexcept { return g == 0 ? visibility{} : streaming_; }
  QUIRE_HD constexpr head_slot slot(std::uint32_t layer, std::uint32_t head) const noexcept {
    return slots_[layer * extents_.kv_heads + head];
  }
  QUIRE_HD constexpr std::uint32_t overlay_tiles(std::uint32_t) const noexcept { return 0; }
  QUIRE_HD constexpr const Remainder& dropped() const noexcept { return rest_; }
  QUIRE_HD constexpr state_plan state() const noexcept {
    return {extents_.head_dim, {heads_[0], heads_[1]}, {{.balance = balances<Sealed>}, {.balance = balances<Sealed>, .mean = Remainder::keeps}}};
  }

 private:
  extents extents_{};
  const head_slot* slots_ = nullptr;
  std::uint32_t heads_[2] = {0, 0};
  visibility streaming_{};
  [[no_unique_address]] Sealed sealed_{};
  [[no_unique_address]] Raw raw_{};
  [[no_unique_address]] Remainder rest_{};
};
static_assert(Layout<head_split<raw_bf16>> && Layout<head_split<raw_bf16, raw_bf16, remainder::mean_token>>);

}  // namespace quire::inline v0::kv
