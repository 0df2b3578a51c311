// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <bit>
#include <chrono>
#include <span>
#include <thread>
#include <vector>

#include "../core/executor.hpp"
#include "link.hpp"
#include "pool.hpp"

namespace quire::inline v0::tier {

/// A link that is one thread of its own: it copies in the order of `start`, between the pools whose numbers are their places
/// in `pools`. The thread is started by the constructor and joined by the destructor, which drops what it has not begun.
/// One thread at a time may use it. Pools outlive it. throws (constructor): std::bad_alloc, std::system_error.
/// test: tests/tier/copy_thread.cpp
class copy_thread {
 public:
  /// `capacity`: copies started and not named by `poll` yet, rounded up to a power of two.
  explicit copy_thread(std::span<const pool_ref> pools, std::uint32_t capacity = 64)
      : pools_(pools.begin(), pools.end()), ring_(std::bit_ceil(capacity == 0 ? 1 : capacity)), thread_([this] { serve(); }) {}
  ~copy_thread() {
    stopping_.store(true, std::memory_order_release);
    started_.fetch_add(1, std::memory_order_release);
    started_.notify_one();
    thread_.join();
  }
  copy_thread(const copy_thread&) = delete;
  copy_thread& operator=(const copy_thread&) = delete;

  bool start(std::uint32_t id, const copy& c, double) noexcept {
    const std::uint32_t n = started_.load(std::memory_order_relaxed);
    if (n - named_ == ring_.size()) return false;
    ring_[n % ring_.size()] = {c, {id, {}}};
    started_.store(n + 1, std::memory_order_release);
    started_.notify_one();
    return true;
  }
  std::optional<landing> poll(double) noexcept {
    if (landed_.load(std::memory_order_acquire) == named_) return std::nullopt;
    return ring_[named_++ % ring_.size()].result;
  }
  double wait(double now) noexcept {
    const auto begin = std::chrono::steady_clock::now();
    detail::wait_while(landed_, named_);
    return now + std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  struct job {
    copy what;
    landing result;
  };
  void serve() noexcept {
    for (std::uint32_t n = 0;; ++n) {
      detail::wait_while(started_, n);
      if (stopping_.load(std::memory_order_acquire)) return;
      job& j = ring_[n % ring_.size()];
      j.result.why = run(j.what);
      landed_.store(n + 1, std::memory_order_release);
      landed_.notify_one();
    }
  }
  status run(const copy& c) noexcept {
    for (const std::uint32_t pool : {c.from.pool, c.to.pool})
      if (pool >= pools_.size()) return {errc::out_of_range, "pool", pool, 0, static_cast<std::int64_t>(pools_.size()) - 1};
    return copy_slots(pools_[c.from.pool], c.from.slot, pools_[c.to.pool], c.to.slot, c.slots);
  }

  std::vector<pool_ref> pools_;
  std::vector<job> ring_;
  std::atomic<std::uint32_t> started_{0}, landed_{0};
  std::atomic<bool> stopping_{false};
  std::uint32_t named_ = 0;  ///< landings that poll has given out
  std::thread thread_;       ///< last: it runs when everything else is there
};
static_assert(Link<copy_thread>);

}  // namespace quire::inline v0::tier
