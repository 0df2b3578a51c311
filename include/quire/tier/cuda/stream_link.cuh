// SPDX-License-Identifier: Apache-2.0
// Copies between a device's memory and the host's, beside the kernels of a stream.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "../../core/recording.cuh"
#include "../link.hpp"
#include "../pool.hpp"

namespace quire::inline v0::tier {

/// A link that is a stream of its own for each direction. A copy begins when all is done that `work` (the stream of the store's memory) was asked for before `start`:
/// kernels have written what leaves, and clearing and copies of pages are over where something comes back. Whoever asks more of `work` before a copy lands must leave its slots
/// alone, as any Link's user does. Pools all have addresses, in the order of their numbers, and outlive the link; `host` of them are the host's, which it pins: [numbers from `host` on].
/// One thread at a time. throws (constructor): std::bad_alloc, std::runtime_error (the device refused, or a pool without addresses).
/// from: FastSwitch (arXiv:2411.18424); test: tests/tier/cuda/stream_link.cpp
class stream_link {
 public:
  /// `capacity`: copies of one direction, started and not named by `poll` yet.
  stream_link(std::span<const pool_ref> pools, std::uint32_t host, device::stream work, std::uint32_t capacity = 64) : pools_(pools.begin(), pools.end()), work_(work) {
    for (const pool_ref& p : pools_)
      if (!p.mapped()) throw std::runtime_error("quire::tier::stream_link: a pool has no addresses (a file)");
    require(before_.open());
    for (direction& way : ways_) {
      require(way.on.open());
      way.moving.resize(capacity == 0 ? 1 : capacity);
      for (entry& e : way.moving) require(e.done.open());
    }
    pinned_.reserve(pools_.size());
    for (std::size_t p = host; p < pools_.size(); ++p)
      if (const std::size_t bytes = pools_[p].slots() * pools_[p].slot_bytes(); bytes != 0) pinned_.emplace_back(pools_[p].at(0), bytes);
  }
  /// Waits for what it has started.
  ~stream_link() {
    for (const direction& way : ways_) static_cast<void>(device::wait(way.on.get()));
  }
  stream_link(const stream_link&) = delete;
  stream_link& operator=(const stream_link&) = delete;

  bool start(std::uint32_t id, const copy& c, double) noexcept {
    direction& way = ways_[static_cast<std::uint32_t>(c.way)];
    if (way.end - way.begin == way.moving.size()) return false;
    entry& e = way.moving[way.end++ % way.moving.size()];
    e.what = {id, run(c, way.on.get(), e.done.get())};
    return true;
  }
  std::optional<landing> poll(double) noexcept {
    for (direction& way : ways_) {
      if (way.begin == way.end) continue;
      entry& e = way.moving[way.begin % way.moving.size()];
      bool passed = true;  // of a copy that was refused
      if (e.what.why) e.what.why = device::look(e.done.get(), passed);
      if (!passed) continue;
      ++way.begin;
      return e.what;
    }
    return std::nullopt;
  }
  /// Times are the caller's; this link knows none.
  double wait(double now) noexcept {
    for (direction& way : ways_)
      if (way.begin != way.end && !way.moving[way.begin % way.moving.size()].what.why) return now;
    for (direction& way : ways_)
      if (way.begin != way.end) return static_cast<void>(device::wait(way.moving[way.begin % way.moving.size()].done.get())), now;  // poll says what went wrong
    return now;
  }

 private:
  struct entry {
    device::own_event done;
    landing what;
  };
  struct direction {
    device::own_stream on;
    std::vector<entry> moving;   ///< a ring
    std::uint32_t begin = 0, end = 0;
  };
  struct pinned {
    std::byte* at;
    pinned(std::byte* p, std::size_t bytes) : at(p) { require(device::pin(p, bytes)); }
    pinned(pinned&& o) noexcept : at(std::exchange(o.at, nullptr)) {}
    pinned& operator=(pinned&&) = delete;
    ~pinned() {
      if (at != nullptr) device::unpin(at);
    }
  };
  static void require(const status& s) {
    if (!s) throw std::runtime_error(describe(s));
  }
  status run(const copy& c, device::stream on, device::event done) noexcept {
    for (const place at : {c.from, c.to}) {
      if (at.pool >= pools_.size()) return {errc::out_of_range, "pool", at.pool, 0, static_cast<std::int64_t>(pools_.size()) - 1};
      if (const status s = check_slots(at.slot, c.slots * pools_[at.pool].slot_bytes(), pools_[at.pool].slots(), pools_[at.pool].slot_bytes()); !s) return s;
    }
    pool_ref &from = pools_[c.from.pool], &to = pools_[c.to.pool];
    if (from.slot_bytes() != to.slot_bytes())
      return {errc::unsupported_shape, "bytes of a slot", static_cast<std::int64_t>(from.slot_bytes()), static_cast<std::int64_t>(to.slot_bytes()), static_cast<std::int64_t>(to.slot_bytes())};
    if (const status s = device::mark(before_.get(), work_); !s) return s;
    if (const status s = device::follow(on, before_.get()); !s) return s;
    if (const status s = device::copy(to.at(c.to.slot), from.at(c.from.slot), c.slots * from.slot_bytes(), on); !s) return s;
    return device::mark(done, on);
  }

  std::vector<pool_ref> pools_;
  device::stream work_;
  std::vector<pinned> pinned_;
  device::own_event before_;
  direction ways_[lanes];
};
static_assert(Link<stream_link>);

}  // namespace quire::inline v0::tier
