// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "../core/checksum.hpp"
#include "pool.hpp"

namespace quire::inline v0::tier {

/// What stood in a spill file when it was opened. None of it is used: who knew what the slots meant is gone.
enum class spill_found : std::uint8_t {
  nothing,
  left_over,      ///< whole, of an earlier run that did not end by itself
  damaged,        ///< cut off, or a header that fails its checksum
  other_version
};

/// Slots in a file, each with a header and a checksum, so that a slot that is damaged, cut off or half written is refused and
/// never taken for data. A file never outlives its run: opening starts clean whatever stood there, and the destructor empties
/// it. A file that is not a spill file is refused and left alone. Locked against other processes while open.
/// Different slots may be read and written from different threads. Plain buffered reads and writes: what fits the system's page
/// cache is not read from the disk again. test: tests/tier/file_pool.cpp
class file_pool {
 public:
  file_pool() = default;
  file_pool(file_pool&& other) noexcept { *this = std::move(other); }
  file_pool& operator=(file_pool&& other) noexcept {
    std::swap(file_, other.file_), std::swap(slots_, other.slots_), std::swap(slot_bytes_, other.slot_bytes_), std::swap(found_, other.found_);
    return *this;
  }
  ~file_pool() {
    if (file_ < 0) return;
    static_cast<void>(::ftruncate(file_, 0) == 0);  // it will be emptied when it is opened again, too
    ::close(file_);
  }

  /// Opens or makes the file; this object must not have one yet. Nothing is changed on failure.
  /// fails: io (`native` is errno; EAGAIN or EACCES: another process has it open), corrupt (not a spill file), out_of_range.
  status open(const char* path, std::uint32_t slots, std::size_t slot_bytes) noexcept {
    if (file_ >= 0) return {errc::out_of_range, "open files of a file pool", 2, 1, 1};
    const int file = ::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return failed();
    const auto refuse = [&](const status& why) {
      ::close(file);
      return why;
    };
    struct flock lock{};
    lock.l_type = F_WRLCK, lock.l_whence = SEEK_SET;
    if (::fcntl(file, F_SETLK, &lock) != 0) return refuse(failed());
    spill_found found = spill_found::nothing;
    if (status known = inspect(file, found); !known) return refuse(known);
    const file_header header = header_of(slots, slot_bytes);
    if (::ftruncate(file, 0) != 0 || ::ftruncate(file, place_of(slots, slot_bytes)) != 0) return refuse(failed());
    if (::pwrite(file, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return refuse(failed());
    file_ = file, slots_ = slots, slot_bytes_ = slot_bytes, found_ = found;
    return {};
  }
  spill_found found() const noexcept { return found_; }

  std::uint32_t slots() const noexcept { return slots_; }
  std::size_t slot_bytes() const noexcept { return slot_bytes_; }
  /// fails: out_of_range, corrupt (not written in this run, damaged, cut off), io.
  status read(std::uint32_t slot, std::span<std::byte> to) noexcept {
    return in_batches(slot, to, [&](std::uint32_t first, std::span<std::byte> part, std::uint32_t n) -> status {
      slot_header headers[batch];
      iovec pieces[2 * batch];
      for (std::uint32_t i = 0; i < n; ++i)
        pieces[2 * i] = {&headers[i], sizeof headers[i]}, pieces[2 * i + 1] = {part.data() + i * slot_bytes_, slot_bytes_};
      if (status s = move(::preadv, first, pieces, 2 * n); !s) return s;
      for (std::uint32_t i = 0; i < n; ++i) {
        const slot_header expected = header_of_slot(first + i, part.data() + i * slot_bytes_);
        if (std::memcmp(&headers[i], &expected, sizeof expected) != 0) return {errc::corrupt, "slot of the spill file", first + i};
      }
      return {};
    });
  }
  /// fails: out_of_range, io.
  status write(std::uint32_t slot, std::span<const std::byte> from) noexcept {
    return in_batches(slot, from, [&](std::uint32_t first, std::span<const std::byte> part, std::uint32_t n) -> status {
      slot_header headers[batch];
      iovec pieces[2 * batch];
      for (std::uint32_t i = 0; i < n; ++i) {
        headers[i] = header_of_slot(first + i, part.data() + i * slot_bytes_);
        pieces[2 * i] = {&headers[i], sizeof headers[i]}, pieces[2 * i + 1] = {const_cast<std::byte*>(part.data()) + i * slot_bytes_, slot_bytes_};
      }
      return move(::pwritev, first, pieces, 2 * n);
    });
  }

 private:
  static constexpr std::uint64_t magic_number = 0x4c4c495053455551u;  // "QUESPILL"
  static constexpr std::uint64_t current = 1;
  static constexpr std::uint32_t batch = 64;  ///< slots a system call moves
  struct file_header {
    std::uint64_t magic = magic_number, version = current, slots = 0, slot_bytes = 0, sum = 0;
  };
  struct slot_header {
    std::uint64_t slot = 0, bytes = 0, sum = 0;
  };

  static status failed() noexcept { return {errc::io, "spill file", 0, 0, 0, errno}; }
  static file_header header_of(std::uint64_t slots, std::uint64_t slot_bytes) noexcept {
    file_header h{.slots = slots, .slot_bytes = slot_bytes};
    checksum sum;
    for (const std::uint64_t n : {h.magic, h.version, h.slots, h.slot_bytes}) sum.add(n);
    h.sum = sum.value();
    return h;
  }
  slot_header header_of_slot(std::uint32_t slot, const std::byte* bytes) const noexcept {
    checksum sum;
    sum.add(std::uint64_t{slot} + 1);
    sum.add(bytes, slot_bytes_);
    return {std::uint64_t{slot} + 1, slot_bytes_, sum.value()};  // + 1: a slot never written is zeros
  }
  static off_t place_of(std::uint64_t slot, std::uint64_t slot_bytes) noexcept {
    return static_cast<off_t>(sizeof(file_header) + slot * (sizeof(slot_header) + slot_bytes));
  }
  /// fails: corrupt for a file that something else wrote.
  static status inspect(int file, spill_found& found) noexcept {
    file_header h{.magic = 0, .version = 0};
    struct stat about{};
    const ssize_t n = ::pread(file, &h, sizeof h, 0);
    if (n < 0 || ::fstat(file, &about) != 0) return failed();
    if (n == 0) return {};
    const std::uint64_t expected = magic_number;
    const auto bytes = std::min(static_cast<std::size_t>(n), sizeof expected);
    if (h.magic != 0 && std::memcmp(&h.magic, &expected, bytes) != 0) return {errc::corrupt, "magic number of the spill file", static_cast<std::int64_t>(h.magic)};
    if (n < static_cast<ssize_t>(sizeof h) || h.magic == 0) found = spill_found::damaged;
    else if (h.version != current) found = spill_found::other_version;
    else found = h.sum == header_of(h.slots, h.slot_bytes).sum && about.st_size == place_of(h.slots, h.slot_bytes) ? spill_found::left_over : spill_found::damaged;
    return {};
  }
  template <class Bytes, class F>
  status in_batches(std::uint32_t slot, Bytes bytes, F&& f) noexcept {
    if (status s = check_slots(slot, bytes.size(), slots_, slot_bytes_); !s || bytes.empty()) return s;
    for (std::uint32_t left = static_cast<std::uint32_t>(bytes.size() / slot_bytes_); left != 0;) {
      const std::uint32_t n = std::min(left, batch);
      if (status s = f(slot, bytes.first(n * slot_bytes_), n); !s) return s;
      bytes = bytes.subspan(n * slot_bytes_), slot += n, left -= n;
    }
    return {};
  }
  /// Reads or writes all pieces, however little the system takes at once.
  template <class Call>
  status move(Call&& call, std::uint32_t slot, iovec* pieces, std::uint32_t count) const noexcept {
    off_t at = place_of(slot, slot_bytes_);
    while (count != 0) {
      ssize_t n = call(file_, pieces, static_cast<int>(count), at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed();
      if (n == 0) return {errc::corrupt, "slot of the spill file", slot + (at - place_of(slot, slot_bytes_)) / static_cast<off_t>(sizeof(slot_header) + slot_bytes_)};
      at += n;
      for (; count != 0 && static_cast<std::size_t>(n) >= pieces->iov_len; ++pieces, --count) n -= static_cast<ssize_t>(pieces->iov_len);
      if (count != 0) pieces->iov_base = static_cast<std::byte*>(pieces->iov_base) + n, pieces->iov_len -= static_cast<std::size_t>(n);
    }
    return {};
  }

  int file_ = -1;
  std::uint32_t slots_ = 0;
  std::size_t slot_bytes_ = 0;
  spill_found found_ = spill_found::nothing;
};
static_assert(Pool<file_pool> && !MappedPool<file_pool>);

}  // namespace quire::inline v0::tier
