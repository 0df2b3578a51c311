// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lru.hpp"

namespace quire::inline v0::kv::evict {

/// The tile that was found least often goes first, of equals the one used longest ago. With `ageing` a tile also counts what
/// evicted ones had been worth when it was last used, so that what was popular long ago goes too.
/// from: LFU with dynamic ageing (Arlitt et al. 2000); test: tests/kv/evict/lfu.cpp
struct lfu {
  bool ageing = false;
  double inflation = 0;   ///< what the dearest evicted tile was worth

  double age() const noexcept { return inflation; }
  double value(const usage& u) const noexcept { return u.age + u.hits; }
  void evicted(double value) noexcept {
    if (ageing && value > inflation) inflation = value;
  }
};
static_assert(Eviction<lfu>);

}  // namespace quire::inline v0::kv::evict
