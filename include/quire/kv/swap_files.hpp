// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "../tier/file_pool.hpp"
#include "swap_memory.hpp"

namespace quire::inline v0::kv {

/// Files for the mirrors of a store, where the host's memory is short: one in a folder for each pool that has slots, named by the
/// pool's number, so that the next run finds what one that was killed left over. It is never believed (tier/file_pool.hpp), and a
/// slot that is damaged while it is away fails the copy back, which costs recomputation. The order of pools is that of swap_memory.
/// The store outlives it. throws (constructor): std::bad_alloc. test: tests/kv/swap_files.cpp
class swap_files {
 public:
  template <Layout L>
  swap_files(store<L>& pages, const mirror_options<L>& options) : device_(device_pools(pages)), files_(device_.size()) {
    for (std::uint32_t p = 0; p < files_.size(); ++p) slots_.push_back(pages.pool(p).page_bytes() != 0 ? options.slots[p] : 0);
  }
  /// Opens the files, all or none. fails: as tier::file_pool::open; `failed` is then the path.
  status open(const std::string& folder, std::string& failed) {
    const auto pools = static_cast<std::uint32_t>(files_.size());
    std::vector<tier::file_pool> opened(pools);
    for (std::uint32_t p = 0; p < pools; ++p) {
      if (slots_[p] == 0) continue;
      const std::string path = folder + "/quire-spill-" + std::to_string(p);
      if (status s = opened[p].open(path.c_str(), slots_[p], device_[p].slot_bytes()); !s) return failed = path, s;
    }
    files_ = std::move(opened);
    refs_.assign(device_.begin(), device_.end());
    refs_.insert(refs_.end(), files_.begin(), files_.end());
    return {};
  }
  /// Of both sides; empty before `open`.
  std::span<const tier::pool_ref> pools() const noexcept { return refs_; }
  /// What stood in the files: the worst of them.
  tier::spill_found found() const noexcept {
    tier::spill_found worst = tier::spill_found::nothing;
    for (const tier::file_pool& f : files_) worst = std::max(worst, f.found());
    return worst;
  }

 private:
  std::vector<std::uint32_t> slots_;
  std::vector<tier::memory_pool> device_;
  std::vector<tier::file_pool> files_;
  std::vector<tier::pool_ref> refs_;
};

}  // namespace quire::inline v0::kv
