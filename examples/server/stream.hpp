// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "error.hpp"
#include "text.hpp"

namespace quire_server {

enum class finish_reason : std::uint8_t { none, stop, length };

/// Something new about one of a request's texts.
struct update {
  std::uint32_t choice = 0;
  piece shown{};
  finish_reason finish = finish_reason::none;  ///< set in a text's last update
};

/// What a request has used, known when all its texts have ended.
struct token_usage {
  std::uint64_t prompt = 0, generated = 0, cached = 0;
};

/// Updates on their way from the engine's thread to a connection's. Bounded: the engine never waits for a reader, a reader
/// that lets `capacity` updates pile up loses its request. Two threads, one on each side.
class update_stream {
 public:
  /// `eager`: the reader is woken for each update, else at the end or when the stream is half full.
  update_stream(std::size_t capacity, bool eager) : capacity_(capacity), eager_(eager) {}

  /// False when there is no room.
  bool push(update u) {
    std::unique_lock lock(mutex_);
    if (updates_.size() >= capacity_) return false;
    updates_.push_back(std::move(u));
    const bool wake = eager_ || updates_.size() * 2 >= capacity_;
    lock.unlock();
    if (wake) changed_.notify_one();
    return true;
  }
  /// Nothing follows; `why` when it went wrong. What was pushed is still read first.
  void close(const token_usage& usage, std::optional<api_error> why = {}) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      closed_ = true;
      usage_ = usage;
      error_ = std::move(why);
    }
    changed_.notify_one();
  }

  /// Updates since the last call, after waiting for at most `patience` for some. `over`: the stream is closed and these are
  /// the last.
  struct batch {
    std::vector<update> updates;
    bool over = false;
  };
  batch take(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return closed_ || (eager_ && !updates_.empty()) || updates_.size() * 2 >= capacity_; });
    return {std::exchange(updates_, {}), closed_};
  }

  // After `over`.
  const token_usage& usage() const noexcept { return usage_; }
  const std::optional<api_error>& error() const noexcept { return error_; }

 private:
  const std::size_t capacity_;
  const bool eager_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<update> updates_;
  bool closed_ = false;
  token_usage usage_;
  std::optional<api_error> error_;
};

}  // namespace quire_server
