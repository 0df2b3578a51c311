// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../layout.hpp"

namespace quire::inline v0::kv {

using raw_f32 = codec_pair<raw<float>>;
using raw_bf16 = codec_pair<raw<bf16>>;
using raw_f16 = codec_pair<raw<f16>>;

/// Every head keeps every token; a page is one tile of all layers and heads, so a tile moves as one contiguous run.
/// shape: page [layers][kv_heads][key tile, value tile]; cost: 64 tokens a page; fails: never.
/// from: PagedAttention (arXiv:2309.06180); test: tests/kv/layout/paged.cpp
template <CodecPair Sealed, CodecPair Raw = raw_bf16>
class paged {
 public:
  using sealed_pair = Sealed;
  using raw_pair = Raw;
  static constexpr read_rule rule = read_rule::causal_seal;
  static constexpr layout_traits traits{.shareable = !balances<Sealed>, .rewindable = !balances<Sealed>, .prefix_pure = true};
  static constexpr std::uint32_t max_groups = 1;
  static constexpr bool stepwise = false, overlays = false, compensates = false;

  constexpr paged() = default;
  constexpr explicit paged(extents e, Sealed sealed = {}, Raw raw = {}) noexcept : extents_(e), sealed_(sealed), raw_(raw) {}

  QUIRE_HD constexpr extents extent() const noexcept { return extents_; }
  QUIRE_HD constexpr Sealed sealed() const noexcept { return sealed_; }
  QUIRE_HD constexpr Raw raw() const noexcept { return raw_; }
  QUIRE_HD constexpr std::uint32_t groups() const noexcept { return 1; }
  QUIRE_HD constexpr std::uint32_t group_heads(std::uint32_t) const noexcept { return extents_.heads(); }
  QUIRE_HD constexpr visibility group_sees(std::uint32_t) const noexcept { return {}; }
  QUIRE_HD constexpr head_slot slot(std::uint32_t layer, std::uint32_t head) const noexcept {
    return {0, layer * extents_.kv_heads + head};
  }
  QUIRE_HD constexpr std::uint32_t overlay_tiles(std::uint32_t) const noexcept { return 0; }
  QUIRE_HD constexpr state_plan state() const noexcept { return {extents_.head_dim, {extents_.heads(), 0}, {{.balance = balances<Sealed>}, {}}}; }

 private:
  extents extents_{};
  [[no_unique_address]] Sealed sealed_{};
  [[no_unique_address]] Raw raw_{};
};
static_assert(Layout<paged<raw_bf16>>);

}  // namespace quire::inline v0::kv
