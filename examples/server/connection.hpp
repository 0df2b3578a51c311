// SPDX-License-Identifier: Apache-2.0
// One accepted socket: reads and writes that time out, a request that can't grow without end, and whether the client is still there.
#pragma once

#include <httplib.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>

namespace quire_server {

using steady = std::chrono::steady_clock;

struct connection_limits {
  std::chrono::milliseconds idle{5000};      ///< between two requests
  std::chrono::milliseconds request{30000};  ///< for a whole request to arrive
  std::chrono::milliseconds stall{10000};    ///< a reader that takes nothing for so long is gone
  std::uint64_t request_bytes = std::uint64_t{3} << 20;  ///< of a request, its header included
};

/// httplib's stream over a socket it does not own. One thread.
class connection final : public httplib::Stream {
 public:
  connection(int socket, const connection_limits& limits) : socket_(socket), limits_(limits) {
    const int on = 1, send_buffer = 64 << 10;  // a reader that stops is noticed after this much
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
  }

  /// A new request may take its time and its bytes from here on.
  void begin_request() {
    until_ = steady::now() + limits_.request;
    bytes_left_ = limits_.request_bytes;
    parsed = false;
    body_pending = false;
  }
  /// Whether there is something to read before `patience` is over.
  bool readable(std::chrono::milliseconds patience) const { return at_ < end_ || wait(POLLIN, patience); }
  /// False once the client has closed its side: nobody waits for an answer.
  bool alive() const {
    if (at_ < end_) return true;
    char c = 0;
    const ssize_t n = ::recv(socket_, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
  }

  bool is_readable() const override { return readable(remaining()); }
  bool is_writable() const override { return wait(POLLOUT, limits_.stall) && alive(); }
  ssize_t read(char* to, std::size_t size) override {
    if (at_ == end_) {
      if (bytes_left_ == 0) return -1;
      const std::size_t most = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), bytes_left_));
      if (!wait(POLLIN, remaining())) return -1;
      const ssize_t n = ::recv(socket_, buffer_.data(), most, MSG_DONTWAIT);
      if (n <= 0) return n;
      bytes_left_ -= static_cast<std::uint64_t>(n);
      at_ = 0;
      end_ = static_cast<std::size_t>(n);
    }
    const std::size_t n = std::min(size, end_ - at_);
    std::copy_n(buffer_.data() + at_, n, to);
    at_ += n;
    return static_cast<ssize_t>(n);
  }
  ssize_t write(const char* from, std::size_t size) override {
    for (;;) {
      const ssize_t n = ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return n;
      if (!wait(POLLOUT, limits_.stall)) return -1;
    }
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override { name_of(::getpeername, ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { name_of(::getsockname, ip, port); }
  socket_t socket() const override { return socket_; }

  /// Ends the connection so that what was written arrives even if the client is still sending: a close with unread bytes
  /// would take it back. Reads on for at most `patience`.
  void close(std::chrono::milliseconds patience) {
    ::shutdown(socket_, SHUT_WR);
    const auto until = steady::now() + patience;
    char skipped[4096];
    for (auto left = patience; left.count() > 0; left = std::chrono::duration_cast<std::chrono::milliseconds>(until - steady::now()))
      if (!wait(POLLIN, left) || ::recv(socket_, skipped, sizeof skipped, MSG_DONTWAIT) <= 0) break;
    ::shutdown(socket_, SHUT_RDWR);
    ::close(socket_);
  }

  bool parsed = false;        ///< the request's header could be read
  bool body_pending = false;  ///< a body was announced and not read to its end: the next request can't be found

 private:
  std::chrono::milliseconds remaining() const {
    return std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(until_ - steady::now()));
  }
  bool wait(short events, std::chrono::milliseconds patience) const {
    pollfd p{socket_, events, 0};
    int n = 0;
    do n = ::poll(&p, 1, static_cast<int>(patience.count()));
    while (n < 0 && errno == EINTR);
    return n > 0;
  }
  template <class F>
  void name_of(F name, std::string& ip, int& port) const {
    sockaddr_storage a{};
    socklen_t size = sizeof a;
    char host[NI_MAXHOST], service[NI_MAXSERV];
    const auto* address = reinterpret_cast<const sockaddr*>(&a);
    if (name(socket_, reinterpret_cast<sockaddr*>(&a), &size) != 0 ||
        ::getnameinfo(address, size, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
      return;
    ip = host;
    port = std::atoi(service);
  }

  int socket_;
  connection_limits limits_;
  steady::time_point until_{};
  std::uint64_t bytes_left_ = 0;
  std::array<char, 4096> buffer_;
  std::size_t at_ = 0, end_ = 0;
};

}  // namespace quire_server
