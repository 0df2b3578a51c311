// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "quire/core/recording.cuh"

namespace quire_lm {

/// Launches of steps, kept by what is baked into them. A key that comes for the first time is launched as it is: its kernels are loaded then,
/// and it may be the only one. The second time it is recorded. Allocates in the constructor, and the device's driver when it records. throws: std::bad_alloc
template <class Key>
class device_recordings {
 public:
  explicit device_recordings(std::size_t most) : most_(most) { entries_.reserve(most); }

  /// Starts the work of a key: work() launches it. One that the device will not record is launched as ever. fails: device, as work
  template <class Work>
  quire::status run(const Key& key, quire::device::stream on, Work&& work) {
    const auto known = std::find_if(entries_.begin(), entries_.end(), [&](const entry& e) { return e.key == key; });
    if (known == entries_.end()) {
      if (entries_.size() == most_) entries_.erase(std::min_element(entries_.begin(), entries_.end(), [](const entry& a, const entry& b) { return a.last_use < b.last_use; }));
      entries_.push_back({key, ++uses_});
      return work();
    }
    known->last_use = ++uses_;
    if (!known->launches.made() && !known->refused) known->refused = !known->launches.take(on, work);
    if (known->refused) return work();
    ++replayed_;
    return known->launches.run(on);
  }
  std::uint64_t replayed() const noexcept { return replayed_; }

 private:
  struct entry {
    Key key;
    std::uint64_t last_use = 0;
    quire::device::recording launches{};
    bool refused = false;
  };
  std::size_t most_;
  std::vector<entry> entries_;
  std::uint64_t uses_ = 0, replayed_ = 0;
};

}  // namespace quire_lm
