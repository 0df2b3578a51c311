// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "../tier/pool.hpp"
#include "mirror.hpp"

namespace quire::inline v0::kv {

/// The pools of a store as a link sees them, in the order in which a swapper numbers them. `more`: room for others behind them. Where they lie in a
/// device's memory (store_options::memory) their addresses are for a link that knows it (tier/cuda/stream_link.cuh), not for `read` and `write`.
template <Layout L>
std::vector<tier::memory_pool> device_pools(store<L>& pages, std::size_t more = 0) {
  std::vector<tier::memory_pool> out;
  out.reserve(mirror_options<L>::pools + more);
  for (std::uint32_t p = 0; p < mirror_options<L>::pools; ++p) out.emplace_back(pages.pool(p).base(), pages.pool(p).pages(), pages.pool(p).page_bytes());
  return out;
}

/// Host memory for the mirrors of a store, and the pools of both sides in the order in which a swapper numbers them: what a link
/// between them is made with. Memory is taken from the system when a slot is first written. The store outlives it.
/// throws (constructor): std::bad_alloc. test: tests/kv/swap_memory.cpp
class swap_memory {
 public:
  template <Layout L>
  swap_memory(store<L>& pages, const mirror_options<L>& options) : pools_(device_pools(pages, mirror_options<L>::pools)) {
    constexpr std::uint32_t pools = mirror_options<L>::pools;
    for (std::uint32_t p = 0; p < pools; ++p) pools_.emplace_back(options.slots[p], pages.pool(p).page_bytes());
    refs_.assign(pools_.begin(), pools_.end());
  }
  std::span<const tier::pool_ref> pools() const noexcept { return refs_; }

 private:
  std::vector<tier::memory_pool> pools_;
  std::vector<tier::pool_ref> refs_;
};

}  // namespace quire::inline v0::kv
