// SPDX-License-Identifier: Apache-2.0
// Reads GGUF (versions 2 and 3, little-endian): metadata, tensor table, tensor bytes.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gguf_header.hpp"

namespace quire_lm::gguf {

namespace detail {

/// Sequential reader with truncation checks. Source: size_t operator()(uint64_t offset, span<byte>) fills a prefix.
/// Memory grows with bytes actually read, never with what a count in the file claims.
template <class Source>
class reader {
 public:
  reader(Source source, std::uint64_t size) : source_(std::move(source)), size_(size), buffer_(std::size_t{1} << 16) {}

  std::uint64_t position() const { return begin_ + next_; }
  std::uint64_t remaining() const { return size_ - position(); }
  std::uint64_t size() const { return size_; }

  template <class T>
  T number(const char* what) {
    T x;
    read(reinterpret_cast<char*>(&x), sizeof x, what);
    return x;
  }
  void append(std::string& to, std::uint64_t n, const char* what) {
    need(n, what);
    while (n > 0) {
      const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(n, buffer_.size()));
      const std::size_t old = to.size();
      to.resize(old + part);
      read(to.data() + old, part, what);
      n -= part;
    }
  }
  /// Bytes of a length-prefixed string, of `low` to `high` bytes.
  void string(std::string& to, const char* what, std::uint64_t low, std::uint64_t high) {
    const auto n = number<std::uint64_t>(what);
    if (n < low || n > high) {
      throw bad_input(std::string(what) + " has " + std::to_string(n) + " bytes, allowed " + std::to_string(low) +
                      " to " + std::to_string(high) + " (at byte " + std::to_string(position() - 8) + ")");
    }
    append(to, n, what);
  }
  void need(std::uint64_t n, const char* what) {
    if (n > remaining()) {
      throw bad_input(std::string("file is truncated: ") + what + " needs " + std::to_string(n) + " bytes at byte " +
                      std::to_string(position()) + ", allowed " + std::to_string(remaining()));
    }
  }

 private:
  void read(char* to, std::size_t n, const char* what) {
    need(n, what);
    while (n > 0) {
      if (next_ == filled_) {
        begin_ += filled_;
        next_ = 0;
        const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), size_ - begin_));
        filled_ = source_(begin_, std::span(buffer_).first(want));
        if (filled_ == 0)
          throw bad_input(std::string("file is truncated: ") + what + " ends at byte " + std::to_string(begin_));
      }
      const std::size_t part = std::min(n, filled_ - next_);
      std::memcpy(to, buffer_.data() + next_, part);
      next_ += part, to += part, n -= part;
    }
  }
  Source source_;
  std::uint64_t size_, begin_ = 0;
  std::size_t next_ = 0, filled_ = 0;
  std::vector<std::byte> buffer_;
};

inline value_type checked_type(std::uint32_t id, const std::string& key) {
  if (id > static_cast<std::uint32_t>(value_type::f64)) {
    throw bad_input("metadata key " + quoted(key) + " has value type " + std::to_string(id) + ", allowed 0 to 12");
  }
  return static_cast<value_type>(id);
}

template <class Source>
value read_value(reader<Source>& in, const std::string& key) {
  value v;
  v.type = checked_type(in.template number<std::uint32_t>("metadata value type"), key);
  std::uint64_t count = 1;
  if (v.type == value_type::array) {
    v.is_array = true;
    v.type = checked_type(in.template number<std::uint32_t>("array element type"), key);
    if (v.type == value_type::array)
      throw bad_input("metadata key " + quoted(key) + " is an array of arrays, allowed one level");
    count = in.template number<std::uint64_t>("array length");
    const std::uint64_t least = v.type == value_type::string ? 8 : width(v.type);
    if (count > in.remaining() / least) {
      throw bad_input("metadata key " + quoted(key) + " has " + std::to_string(count) + " elements, allowed at most " +
                      std::to_string(in.remaining() / least) + " in what is left of the file");
    }
  }
  v.count = static_cast<std::size_t>(count);
  if (v.type == value_type::string) {
    for (std::uint64_t i = 0; i < count; ++i) {
      in.string(v.bytes, "metadata string", 0, in.size());
      v.ends.push_back(v.bytes.size());
    }
  } else {
    in.append(v.bytes, count * width(v.type), "metadata value");
  }
  if (v.type == value_type::boolean) {
    for (const char c : v.bytes) {
      if (c != 0 && c != 1)
        throw bad_input("metadata key " + quoted(key) + " is bool " + std::to_string(static_cast<unsigned char>(c)) +
                        ", allowed 0 or 1");
    }
  }
  return v;
}

/// Type, extents and place of one tensor; `offset` is still relative to the data section.
template <class Source>
tensor read_tensor(reader<Source>& in, std::uint64_t alignment) {
  tensor t;
  in.string(t.name, "tensor name", 1, 64);
  const std::string who = "tensor " + quoted(t.name);
  const auto rank = in.template number<std::uint32_t>("tensor rank");
  if (rank < 1 || rank > 4) throw bad_input(who + " has " + std::to_string(rank) + " dimensions, allowed 1 to 4");
  for (std::uint32_t i = 0; i < rank; ++i) t.dims.push_back(in.template number<std::uint64_t>("tensor dimension"));
  const auto id = in.template number<std::uint32_t>("tensor type");
  t.offset = in.template number<std::uint64_t>("tensor offset");
  const type_info* type = find_type(id);
  if (type == nullptr) throw bad_input(who + " has type " + std::to_string(id) + ", which is not a known tensor type");
  t.type = type->type;
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / 512;
  std::uint64_t elements = 1;  // kept below 2^63 / 512, so no byte count overflows
  for (const auto d : t.dims) {
    if (d < 1 || d > most / elements) {
      throw bad_input(who + " has a dimension of " + std::to_string(d) + ", allowed 1 to " +
                      std::to_string(most / elements));
    }
    elements *= d;
  }
  if (t.dims[0] % type->block != 0) {
    throw bad_input(who + " of type " + type->name + " has rows of " + std::to_string(t.dims[0]) +
                    ", allowed multiples of " + std::to_string(type->block));
  }
  t.bytes = elements / type->block * type->bytes;
  if (t.offset % alignment != 0) {
    throw bad_input(who + " has offset " + std::to_string(t.offset) + ", allowed multiples of the alignment " +
                    std::to_string(alignment));
  }
  return t;
}

/// Every tensor inside the file, none over another: sorted by offset, so neighbours suffice.
inline void place_tensors(header& h) {
  std::vector<std::size_t> order(h.tensors.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const std::uint64_t room = h.file_size > h.data_offset ? h.file_size - h.data_offset : 0;
  for (const tensor& t : h.tensors) {
    if (t.offset > room || t.bytes > room - t.offset) {
      throw bad_input("tensor " + quoted(t.name) + " has " + std::to_string(t.bytes) + " bytes at data offset " +
                      std::to_string(t.offset) + ", allowed within the file's " + std::to_string(room) +
                      " bytes of data (truncated file?)");
    }
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return h.tensors[a].offset < h.tensors[b].offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const tensor &a = h.tensors[order[i - 1]], &b = h.tensors[order[i]];
    if (b.offset < a.offset + a.bytes) {
      throw bad_input("tensor " + quoted(b.name) + " has data offset " + std::to_string(b.offset) + ", allowed from " +
                      std::to_string(a.offset + a.bytes) + " on, where " + quoted(a.name) + " ends");
    }
  }
  for (tensor& t : h.tensors) t.offset += h.data_offset;
}

template <class Source>
header parse_from(Source source, std::uint64_t file_size) {
  reader<Source> in(std::move(source), file_size);
  header h;
  h.file_size = file_size;
  std::string magic;
  in.append(magic, 4, "magic");
  if (magic != "GGUF") throw bad_input("magic is " + quoted(magic) + ", allowed 'GGUF'");
  h.version = in.template number<std::uint32_t>("version");
  if (h.version == 0x02000000 || h.version == 0x03000000)
    throw bad_input("file is big-endian GGUF, allowed little-endian");
  if (h.version != 2 && h.version != 3) throw bad_input("version is " + std::to_string(h.version) + ", allowed 2 or 3");
  const auto tensors = in.template number<std::uint64_t>("tensor count");
  const auto keys = in.template number<std::uint64_t>("metadata count");
  const auto bounded = [&](const char* what, std::uint64_t n, std::uint64_t least) {
    if (n > in.remaining() / least) {
      throw bad_input(std::string(what) + " is " + std::to_string(n) + ", allowed at most " +
                      std::to_string(in.remaining() / least) + " in a file of " + std::to_string(file_size) + " bytes");
    }
  };
  bounded("tensor count", tensors, 8 + 1 + 4 + 8 + 4 + 8);
  bounded("metadata count", keys, 8 + 1 + 4 + 1);
  for (std::uint64_t i = 0; i < keys; ++i) {
    std::string key;
    in.string(key, "metadata key", 1, 65535);
    if (h.metadata.contains(key)) throw bad_input("metadata key " + quoted(key) + " stands twice, allowed once");
    value v = read_value(in, key);
    h.metadata.emplace(std::move(key), std::move(v));
  }
  h.alignment = h.get_or<std::uint64_t>("general.alignment", 32);
  if (h.alignment < 1 || h.alignment > 65536 || (h.alignment & (h.alignment - 1)) != 0) {
    throw bad_input("general.alignment is " + std::to_string(h.alignment) + ", allowed a power of two from 1 to 65536");
  }
  for (std::uint64_t i = 0; i < tensors; ++i) {
    tensor t = read_tensor(in, h.alignment);
    if (!h.tensor_index.emplace(t.name, h.tensors.size()).second)
      throw bad_input("tensor name " + quoted(t.name) + " stands twice, allowed once");
    h.tensors.push_back(std::move(t));
  }
  h.data_offset = (in.position() + h.alignment - 1) / h.alignment * h.alignment;
  place_tensors(h);
  return h;
}

}  // namespace detail

/// Parses a header that lies in memory; `bytes` may end before `file_size` (where tensor data follows it).
/// fails: bad_input for whatever is wrong with the bytes. Touches nothing else; cost is linear in `bytes`.
[[nodiscard]] inline header parse(std::span<const std::byte> bytes, std::uint64_t file_size) {
  const auto source = [bytes](std::uint64_t at, std::span<std::byte> to) -> std::size_t {
    if (at >= bytes.size()) return 0;
    const std::size_t n = std::min<std::size_t>(to.size(), bytes.size() - static_cast<std::size_t>(at));
    std::memcpy(to.data(), bytes.data() + at, n);
    return n;
  };
  return detail::parse_from(source, file_size);
}
[[nodiscard]] inline header parse(std::span<const std::byte> bytes) { return parse(bytes, bytes.size()); }

/// An open file: its header, and tensor bytes on demand. Move-only; `read` may be called from any thread.
class file : public header {
 public:
  /// fails: bad_input when the file can't be opened, is no regular file, or its header is wrong.
  [[nodiscard]] static file open(const std::string& path) {
    handle fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.number < 0) throw bad_input("file " + quoted(path) + " can't be opened: " + std::strerror(errno));
    struct stat st {};
    if (::fstat(fd.number, &st) != 0 || !S_ISREG(st.st_mode))
      throw bad_input("file " + quoted(path) + " is not a regular file");
    try {
      header h =
          detail::parse_from([&](std::uint64_t at, std::span<std::byte> to) { return pread_some(fd.number, at, to); },
                             static_cast<std::uint64_t>(st.st_size));
      return file(std::move(h), std::move(fd), path);
    } catch (const bad_input& e) { throw bad_input(quoted(path) + ": " + e.what()); }
  }

  /// Fills `to` with bytes [byte_offset, byte_offset + to.size()) of the tensor. No allocation, no mapping.
  void read(const tensor& t, std::uint64_t byte_offset, std::span<std::byte> to) const {
    if (byte_offset > t.bytes || to.size() > t.bytes - byte_offset) {
      throw bad_input("tensor " + quoted(t.name) + ": read of " + std::to_string(to.size()) + " bytes at " +
                      std::to_string(byte_offset) + ", allowed within its " + std::to_string(t.bytes));
    }
    std::uint64_t at = t.offset + byte_offset;
    while (!to.empty()) {
      const std::size_t n = pread_some(fd_.number, at, to);
      if (n == 0)
        throw bad_input(quoted(path_) + ": file became shorter while it was read, at byte " + std::to_string(at));
      at += n;
      to = to.subspan(n);
    }
  }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  struct handle {
    explicit handle(int fd) : number(fd) {}
    handle(handle&& other) noexcept : number(std::exchange(other.number, -1)) {}
    handle& operator=(handle&& other) noexcept { return std::swap(number, other.number), *this; }
    ~handle() {
      if (number >= 0) ::close(number);
    }
    int number;
  };
  file(header h, handle fd, std::string path) : header(std::move(h)), fd_(std::move(fd)), path_(std::move(path)) {}

  static std::size_t pread_some(int fd, std::uint64_t at, std::span<std::byte> to) {
    for (;;) {
      const ssize_t n = ::pread(fd, to.data(), to.size(), static_cast<off_t>(at));
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) throw bad_input(std::string("file can't be read: ") + std::strerror(errno));
    }
  }
  handle fd_;
  std::string path_;
};

}  // namespace quire_lm::gguf
