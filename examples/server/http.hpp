// SPDX-License-Identifier: Apache-2.0
// cpp-httplib's parser and router over sockets of our own: one thread for each connection, and no more than a given number.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "connection.hpp"
#include "metrics.hpp"

namespace quire_server {

/// Threads that are started when work needs them, up to `most`, and kept.
class worker_threads {
 public:
  explicit worker_threads(std::uint32_t most) : most_(most) {}
  ~worker_threads() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    ready_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

  /// Serves `socket` on a thread of its own; false when all have one.
  template <class F>
  bool start(int socket, F& serve) {
    const std::lock_guard lock(mutex_);
    if (sockets_.size() == idle_) {
      if (threads_.size() == most_) return false;
      try {
        threads_.emplace_back([this, &serve] { work(serve); });
      } catch (const std::system_error&) {
        return false;
      }
      ++idle_;  // already, on its behalf
    }
    sockets_.push_back(socket);
    ready_.notify_one();
    return true;
  }
  bool all_busy() const noexcept { return busy_.load(std::memory_order_relaxed) == most_; }

 private:
  template <class F>
  void work(F& serve) {
    std::unique_lock lock(mutex_);
    for (;;) {
      ready_.wait(lock, [this] { return over_ || !sockets_.empty(); });
      if (sockets_.empty()) return;
      --idle_;
      const int socket = sockets_.back();
      sockets_.pop_back();
      lock.unlock();
      ++busy_;
      serve(socket);
      --busy_;
      lock.lock();
      ++idle_;
    }
  }

  const std::uint32_t most_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<int> sockets_;  ///< accepted, no more than there are idle threads
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  std::atomic<std::uint32_t> busy_{0};
  bool over_ = false;
};

/// Handlers are httplib's; accepting, threads and connections are ours. A connection for which there is no thread is served by
/// the one that accepts, briefly: handlers see `overloaded()` and refuse what takes time.
class http_server final : public httplib::Server {
 public:
  http_server(const connection_limits& limits, std::uint32_t most_connections, metrics& counted)
      : limits_(limits), most_connections_(most_connections), counted_(counted) {}

  /// Listens at `port`, or at a free one for 0. The port, or -1 when the address can't be had.
  int bind(const std::string& host, int port) {
    if (port == 0) port = bind_to_any_port(host);
    else if (!bind_to_port(host, port)) port = -1;
    if (port > 0) ::listen(svr_sock_, 512);  // httplib's own backlog is 5
    return port;
  }
  /// Accepts until `finish`. Returns when every connection has ended.
  void serve() {
    const int listener = svr_sock_;
    auto serve_one = [this](int socket) { serve_connection(socket, false); };
    worker_threads threads(most_connections_);
    while (!finished_) {
      pollfd p{listener, POLLIN, 0};
      crowded_ = threads.all_busy();
      if (::poll(&p, 1, 100) <= 0) continue;
      const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) {  // the client has gone again, or there are no descriptors left for now
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        continue;
      }
      if (!threads.start(socket, serve_one)) serve_connection(socket, true);
    }
    svr_sock_ = INVALID_SOCKET;  // httplib's sign to answers under way
    ::close(listener);
  }
  /// Idle connections end, others after the request they serve.
  void drain() noexcept { draining_ = true; }
  /// No connection is accepted any more, and answers under way end.
  void finish() noexcept { draining_ = finished_ = true; }

  /// Of the request that this thread is handling.
  static connection& current() noexcept { return *current_; }
  static bool overloaded() noexcept { return overloaded_; }

 private:
  void serve_connection(int socket, bool overloaded) {
    connection_limits limits = limits_;
    if (overloaded) limits.request = limits.stall = std::chrono::milliseconds(200);
    connection c(socket, limits);
    add(counted_.connections);
    current_ = &c;
    overloaded_ = overloaded;
    while (awaits_request(c)) {
      const bool last = overloaded || draining_ || crowded_;
      bool closed = false;
      c.begin_request();
      const bool served = process_request(c, last, closed, [&](httplib::Request& request) {
        c.parsed = true;
        c.body_pending = request.has_header("Transfer-Encoding") || (request.has_header("Content-Length") && request.get_header_value("Content-Length") != "0");
      });
      if (!served || closed || last || !c.parsed || c.body_pending) break;
    }
    overloaded_ = false;
    current_ = nullptr;
    c.close(std::chrono::milliseconds(c.body_pending && !overloaded ? 1000 : 200));
    counted_.connections.fetch_sub(1, std::memory_order_relaxed);
  }
  bool awaits_request(const connection& c) const {
    constexpr std::chrono::milliseconds tick{50};
    const auto since = steady::now();
    do {
      if (c.readable(tick)) return c.alive();
    } while (!draining_ && steady::now() - since < (crowded_ || overloaded_ ? 2 * tick : limits_.idle));
    return false;
  }

  const connection_limits limits_;
  const std::uint32_t most_connections_;
  metrics& counted_;
  std::atomic<bool> crowded_{false}, draining_{false}, finished_{false};
  static inline thread_local connection* current_ = nullptr;
  static inline thread_local bool overloaded_ = false;
};

}  // namespace quire_server
