// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#include "deal.hpp"

namespace quire::inline v0 {

namespace detail {

/// Waits until `word` leaves `old`: looks at it for some microseconds (workers of one phase hardly drift further apart),
/// then lets others run for some hundred (where threads outnumber cores, the one waited for needs this one's), then sleeps.
/// No pause instruction: under a hypervisor that traps it, decoding was an order of magnitude slower.
inline void wait_while(const std::atomic<std::uint32_t>& word, std::uint32_t old) noexcept {
  constexpr int looks = 4000, yields = 400;
  for (int i = 0; i < looks; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  for (int i = 0; i < yields; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}

/// Reusable barrier for a fixed number of threads.
class barrier {
 public:
  explicit barrier(std::uint32_t parties) noexcept : parties_(parties) {}
  void arrive_and_wait() noexcept {
    if (parties_ == 1) return;
    const std::uint32_t phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == parties_) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      phase_.notify_all();
    } else {
      wait_while(phase_, phase);
    }
  }

 private:
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
  std::uint32_t parties_;
};

}  // namespace detail

/// One worker's view of a parallel region. All workers of a region reach the same barriers in the same order.
class team {
 public:
  std::uint32_t worker = 0;
  std::uint32_t workers = 1;
  void barrier() const noexcept {
    if (barrier_) barrier_->arrive_and_wait();
  }
  /// This worker's contiguous share of `total` units.
  range share(std::uint64_t total, std::uint32_t grain = 1) const noexcept { return deal(total, workers, worker, grain); }

  team() = default;
  team(std::uint32_t w, std::uint32_t n, detail::barrier* b) noexcept : worker(w), workers(n), barrier_(b) {}

 private:
  detail::barrier* barrier_ = nullptr;
};

/// Runs a function once on every worker and returns when all have returned. The function must not throw.
template <class E>
concept Executor = requires(E e, const E ce, void (*f)(const team&)) {
  { ce.workers() } noexcept -> std::same_as<std::uint32_t>;
  { e.run(f) } -> std::same_as<void>;
};

/// One worker: the calling thread.
struct serial_executor {
  std::uint32_t workers() const noexcept { return 1; }
  template <std::invocable<const team&> F>
  void run(F&& f) const { f(team{}); }
};
static_assert(Executor<serial_executor>);

/// `workers` threads, the caller being worker 0. The others are started by the constructor and joined by the destructor;
/// between regions they spin for some microseconds, then sleep. `run` may be called from one thread at a time.
/// throws: std::system_error when a thread cannot be started.
class thread_executor {
 public:
  explicit thread_executor(std::uint32_t workers) : thread_executor(none{}, workers == 0 ? 1 : workers) {
    threads_.reserve(workers_ - 1);
    for (std::uint32_t w = 1; w < workers_; ++w) threads_.emplace_back([this, w] { serve(w); });
  }
  ~thread_executor() { stop(); }
  thread_executor(const thread_executor&) = delete;
  thread_executor& operator=(const thread_executor&) = delete;

  std::uint32_t workers() const noexcept { return workers_; }

  template <std::invocable<const team&> F>
  void run(F&& f) {
    using function = std::remove_reference_t<F>;
    call_ = [](void* object, const team& t) { (*static_cast<function*>(object))(t); };
    object_ = const_cast<void*>(static_cast<const void*>(&f));
    pending_.store(workers_ - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    f(team{0, workers_, &barrier_});
    for (std::uint32_t left = pending_.load(std::memory_order_acquire); left != 0;
         left = pending_.load(std::memory_order_acquire))
      detail::wait_while(pending_, left);
  }

 private:
  struct none {};
  thread_executor(none, std::uint32_t workers) noexcept : workers_(workers), barrier_(workers) {}  // from here on, ~ joins

  void serve(std::uint32_t worker) noexcept {
    for (std::uint32_t seen = 0;;) {
      detail::wait_while(generation_, seen);
      ++seen;
      if (stopping_.load(std::memory_order_acquire)) return;
      call_(object_, team{worker, workers_, &barrier_});
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_all();
    }
  }
  void stop() noexcept {
    stopping_.store(true, std::memory_order_release);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (auto& t : threads_) t.join();
  }

  std::uint32_t workers_;
  detail::barrier barrier_;
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<std::uint32_t> pending_{0};
  std::atomic<bool> stopping_{false};
  void (*call_)(void*, const team&) = nullptr;
  void* object_ = nullptr;
  std::vector<std::thread> threads_;
};
static_assert(Executor<thread_executor>);

}  // namespace quire::inline v0
