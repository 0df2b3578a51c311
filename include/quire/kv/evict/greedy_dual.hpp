// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../core/extents.hpp"
#include "lru.hpp"

namespace quire::inline v0::kv::evict {

/// The tile that is cheapest to compute again for its bytes goes first; ageing lets what nobody uses go in the end. The tokens of
/// tile t attend to 64·t + 32 rows on average, so a tile deep in a prompt costs more than an early one. Bytes are equal for all
/// tiles of a layout and drop out.
/// unit: `token` and `row` in any one unit of work (operations, seconds); fails: never.
/// from: GreedyDual-Size (Cao and Irani, USENIX 1997); test: tests/kv/evict/greedy_dual.cpp
struct greedy_dual {
  double token = 1;            ///< work of a token whatever stands before it: products with the weights
  double row = 1.0 / 4096;     ///< work of a token for each row it attends to
  bool by_hits = false;        ///< work times how often the tile was found (GreedyDual-Size-Frequency)
  double inflation = 0;        ///< what the dearest evicted tile was worth

  double age() const noexcept { return inflation; }
  double cost(std::uint32_t tile) const noexcept {
    return tile_tokens * (token + row * (static_cast<double>(tile) * tile_tokens + tile_tokens / 2));
  }
  double value(const usage& u) const noexcept { return u.age + cost(u.tile) * (by_hits ? 1.0 + u.hits : 1.0); }
  void evicted(double value) noexcept { inflation = value > inflation ? value : inflation; }
};
static_assert(Eviction<greedy_dual>);

}  // namespace quire::inline v0::kv::evict
