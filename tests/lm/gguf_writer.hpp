// SPDX-License-Identifier: Apache-2.0
// Writes GGUF files in memory, including wrong ones: every count and extent can be overridden.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gguf_test {

/// Bytes with little-endian helpers.
struct blob {
  std::string bytes;

  template <class T>
  blob& number(T x) {
    const char* p = reinterpret_cast<const char*>(&x);
    bytes.append(p, sizeof x);
    return *this;
  }
  blob& text(std::string_view s) {
    number<std::uint64_t>(s.size());
    bytes += s;
    return *this;
  }
};

struct writer {
  struct tensor {
    std::string name;
    std::vector<std::uint64_t> dims;
    std::uint32_t type;
    std::uint64_t offset;
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;  ///< of the data; written as a key by whoever wants it in the file
  std::optional<std::uint64_t> tensor_count, key_count;
  std::vector<tensor> tensors;
  std::string data;

  writer& raw(std::string_view key, std::uint32_t type, const std::string& value) {
    keys_.text(key).number(type);
    keys_.bytes += value;
    ++n_keys_;
    return *this;
  }
  template <class T>
  writer& number(std::string_view key, std::uint32_t type, T x) {
    return raw(key, type, blob{}.number(x).bytes);
  }
  writer& u32(std::string_view key, std::uint32_t x) { return number(key, 4, x); }
  writer& f32(std::string_view key, float x) { return number(key, 6, x); }
  writer& boolean(std::string_view key, bool x) { return number(key, 7, static_cast<std::uint8_t>(x)); }
  writer& text(std::string_view key, std::string_view x) { return raw(key, 8, blob{}.text(x).bytes); }
  writer& texts(std::string_view key, const std::vector<std::string>& xs) {
    blob b;
    b.number<std::uint32_t>(8).number<std::uint64_t>(xs.size());
    for (const auto& x : xs) b.text(x);
    return raw(key, 9, b.bytes);
  }
  writer& i32s(std::string_view key, const std::vector<std::int32_t>& xs) {
    blob b;
    b.number<std::uint32_t>(5).number<std::uint64_t>(xs.size());
    for (const auto x : xs) b.number(x);
    return raw(key, 9, b.bytes);
  }

  [[nodiscard]] std::string file() const {
    blob b;
    b.bytes = magic;
    b.number(version).number(tensor_count.value_or(tensors.size())).number(key_count.value_or(n_keys_));
    b.bytes += keys_.bytes;
    for (const tensor& t : tensors) {
      b.text(t.name).number(static_cast<std::uint32_t>(t.dims.size()));
      for (const auto d : t.dims) b.number(d);
      b.number(t.type).number(t.offset);
    }
    if (!data.empty()) b.bytes.resize((b.bytes.size() + alignment - 1) / alignment * alignment);
    return b.bytes + data;
  }

 private:
  blob keys_;
  std::uint64_t n_keys_ = 0;
};

inline std::span<const std::byte> bytes_of(const std::string& s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}

/// A byte-level vocabulary: three special tokens, all 256 bytes, and the merges of a few English words.
struct small_vocabulary {
  std::vector<std::string> tokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<std::int32_t> kinds{3, 3, 3};
  std::vector<std::string> merges;

  small_vocabulary() {
    for (unsigned b = 0, other = 0; b < 256; ++b) {
      const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
      token(utf8(itself ? b : 256 + other++));
    }
    for (const char* m : {"h e", "l l", "he ll", "hell o", "\xc4\xa0 w", "o r", "\xc4\xa0w or", "l d", "\xc4\xa0wor ld",
                          "\xc4\xa0 \xc4\xa0", "\xc4\xa0\xc4\xa0 \xc4\xa0\xc4\xa0", "a a", "aa aa", "t h", "th e",
                          "\xc3\x83 \xc2\xa9"}) {
      merges.emplace_back(m);
      std::string joined = m;
      joined.erase(joined.find(' '), 1);
      token(joined);
    }
    token("<tool>", 4);
  }
  void token(const std::string& text, std::int32_t kind = 1) {
    tokens.push_back(text);
    kinds.push_back(kind);
  }
  static std::string utf8(unsigned point) {
    if (point < 0x80) return std::string(1, static_cast<char>(point));
    return {static_cast<char>(0xc0 | point >> 6), static_cast<char>(0x80 | (point & 63))};
  }
  /// Its keys, as a file has them.
  [[nodiscard]] writer write(const std::string& pre = "smollm") const {
    writer w;
    w.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", pre).texts("tokenizer.ggml.tokens", tokens);
    w.i32s("tokenizer.ggml.token_type", kinds).texts("tokenizer.ggml.merges", merges);
    w.u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .boolean("tokenizer.ggml.add_bos_token", false);
    return w;
  }
};

}  // namespace gguf_test
