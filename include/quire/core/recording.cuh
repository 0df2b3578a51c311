// SPDX-License-Identifier: Apache-2.0
// Owners of what device.cuh opens: a stream, a moment of one, and work recorded from one.
#pragma once

#include "device.cuh"

namespace quire::inline v0::device {

/// What `open` gives and `close` takes, closed with its owner. Movable.
template <class Handle>
class owner {
 public:
  owner() = default;
  owner(owner&& o) noexcept : handle_(std::exchange(o.handle_, Handle{})) {}
  owner& operator=(owner o) noexcept { return std::swap(handle_, o.handle_), *this; }
  ~owner() {
    if (handle_ != Handle{}) close(handle_);
  }
  /// precondition: it is not open. fails: device.
  status open() noexcept { return device::open(handle_); }
  /// Of a stream, the default one before it is open.
  Handle get() const noexcept { return handle_; }

 private:
  Handle handle_{};
};
using own_stream = owner<stream>;   ///< test: tests/core/recording.cpp
using own_event = owner<event>;

/// Work recorded from a stream: hundreds of launches that cost the host one call. Whatever it reads and writes outlives it, and what changes
/// from run to run stands in memory. Movable. Any stream may run it, one run at a time. from: CUDA graphs; test: tests/core/recording.cpp
class recording {
 public:
  recording() = default;
  recording(recording&& o) noexcept : graph_(std::exchange(o.graph_, graph{})) {}
  recording& operator=(recording o) noexcept { return std::swap(graph_, o.graph_), *this; }
  ~recording() {
    if (made()) release_graph(graph_);
  }

  bool made() const noexcept { return graph_ != graph{}; }
  /// Keeps what `work()` asks of `on`, and starts none of it. `work` returns a status; what it launches has been launched before (device::begin_recording).
  /// On failure the object stays what it was, and the stream is as before. cost: a millisecond or so for hundreds of launches, not measured; fails: device, as work
  template <class Work>
  status take(stream on, Work&& work) noexcept {
    if (const status s = begin_recording(on); !s) return s;
    const status asked = work();
    recording next;
    const status ended = end_recording(on, next.graph_);  // it must end, whatever was said before
    if (!asked) return asked;
    if (!ended) return ended;
    *this = std::move(next);
    return {};
  }
  /// Starts all of it. fails: not_ready (nothing was taken), device.
  status run(stream on) const noexcept { return made() ? replay(graph_, on) : status{errc::not_ready, "recording of nothing"}; }

 private:
  graph graph_{};
};

}  // namespace quire::inline v0::device
