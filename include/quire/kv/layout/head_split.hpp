// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "../../core/status.hpp"
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

/// Retrieval heads keep every token, streaming heads the first `sinks` tokens and the last `window`; pages of tokens that
/// no streaming head will see again go back to the pool. Two groups of heads, one page table each.
/// cost: as `paged` for each group; fails: `truncate` below what the window still holds (errc::not_rewindable).
/// from: DuoAttention (arXiv:2410.10819), StreamingLLM (arXiv:2309.17453); test: tests/kv/layout/head_split.cpp
template <CodecPair Sealed, CodecPair Raw = raw_bf16>
class head_split {
 public:
  using sealed_pair = Sealed;
  using raw_pair = Raw;
  static constexpr read_rule rule = read_rule::causal_seal;
  static constexpr layout_traits traits{.shareable = true, .rewindable = false, .prefix_pure = true};
  static constexpr std::uint32_t max_groups = 2;

  constexpr head_split() = default;
  head_split(extents e, const head_classes& classes, retain::sinks_window streaming, Sealed sealed = {}, Raw raw = {}) noexcept
      : extents_(e), slots_(classes.slots()), heads_{classes.count(0), classes.count(1)}, streaming_(streaming.sees()), sealed_(sealed), raw_(raw) {}

  QUIRE_HD constexpr extents extent() const noexcept { return extents_; }
  QUIRE_HD constexpr Sealed sealed() const noexcept { return sealed_; }
  QUIRE_HD constexpr Raw raw() const noexcept { return raw_; }
  QUIRE_HD constexpr std::uint32_t groups() const noexcept { return 2; }
  QUIRE_HD constexpr std::uint32_t group_heads(std::uint32_t g) const noexcept { return heads_[g]; }
  QUIRE_HD constexpr visibility group_sees(std::uint32_t g) const noexcept { return g == 0 ? visibility{} : streaming_; }
  QUIRE_HD constexpr head_slot slot(std::uint32_t layer, std::uint32_t head) const noexcept {
    return slots_[layer * extents_.kv_heads + head];
  }
  QUIRE_HD constexpr std::uint32_t state_bytes() const noexcept { return 0; }

 private:
  extents extents_{};
  const head_slot* slots_ = nullptr;
  std::uint32_t heads_[2] = {0, 0};
  visibility streaming_{};
  [[no_unique_address]] Sealed sealed_{};
  [[no_unique_address]] Raw raw_{};
};
static_assert(Layout<head_split<raw_bf16>>);

}  // namespace quire::inline v0::kv
