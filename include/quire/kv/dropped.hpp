// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "view.hpp"

namespace quire::inline v0::kv {

/// Adds tiles [from, to) between sinks and window, counted after the sinks, to what one head of group 1 keeps of dropped tokens.
/// `x` [head_dim × 64] scratch. from: RazorAttention (arXiv:2407.15891), algorithm 1; test: tests/kv/dropped.cpp
template <Layout L>
void sum_dropped(const store_view<L>& view, std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t from, std::uint32_t to, float* x) noexcept {
  const std::uint32_t first = tiles_touched(view.layout.group_sees(1).sinks);
  for (std::uint32_t t = first + from; t < first + to; ++t)
    view.layout.dropped().add_tile(view.layout.sealed(), view.context(sequence, layer, head, t, side::key), view.context(sequence, layer, head, t, side::value),
                                   view.layout.extent().head_dim, view.sealed(sequence, layer, head, t), view.state(sequence, layer, head), x);
}

/// The same for every such head: what a sequence that was read whole drops at once. Sums begin anew where nothing was dropped before
/// (`from` 0): a step on a device that was not committed may have left its own. cost: decodes all tiles that go
template <Layout L>
void sum_dropped(const store_view<L>& view, std::uint32_t sequence, std::uint32_t from, std::uint32_t to, float* x) noexcept {
  const extents e = view.layout.extent();
  for (std::uint32_t layer = 0; layer < e.layers && from < to; ++layer)
    for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
      if (view.layout.slot(layer, head).group != 1) continue;
      const head_state sums = view.state(sequence, layer, head);
      for (std::uint32_t i = 0; i < e.head_dim && from == 0; ++i) sums.key_sum[i] = sums.value_sum[i] = 0;
      sum_dropped(view, sequence, layer, head, from, to, x);
    }
}

}  // namespace quire::inline v0::kv
