// SPDX-License-Identifier: Apache-2.0
// UTF-8: strict validation, a streaming decoder, and the printable alphabet that byte-level BPE writes bytes in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "error.hpp"

namespace quire_lm {

namespace detail {

/// Looks at the code point that starts at text[at]. `size` 0: these bytes can't start one; `whole` false: the text ends
/// inside it, and more bytes may complete it. Overlong forms, surrogates and values above U+10FFFF can't start one.
struct utf8_step {
  std::size_t size;
  bool whole;
};
inline utf8_step utf8_at(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(at);
  if (lead < 0x80) return {1, true};
  if (lead < 0xc2 || lead > 0xf4) return {0, true};
  const std::size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  for (std::size_t i = 1; i < size; ++i) {
    if (at + i == text.size()) return {size, false};
    const unsigned b = byte(at + i);
    unsigned low = 0x80, high = 0xbf;
    if (i == 1) {
      if (lead == 0xe0) low = 0xa0;
      if (lead == 0xed) high = 0x9f;
      if (lead == 0xf0) low = 0x90;
      if (lead == 0xf4) high = 0x8f;
    }
    if (b < low || b > high) return {0, true};
  }
  return {size, true};
}

}  // namespace detail

/// Offset of the first byte that is not part of valid UTF-8; text.size() when all of it is.
[[nodiscard]] inline std::size_t valid_utf8_prefix(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto step = detail::utf8_at(text, at);
    if (step.size == 0 || !step.whole) return at;
    at += step.size;
  }
  return at;
}
/// fails: bad_input naming `what`, the offset and the byte when `text` is not UTF-8.
inline void require_utf8(std::string_view text, std::string_view what) {
  const std::size_t at = valid_utf8_prefix(text);
  if (at == text.size()) return;
  constexpr char digits[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(text[at]);
  throw bad_input(std::string(what) + " has byte 0x" + digits[byte >> 4] + digits[byte & 15] + " at byte offset " +
                  std::to_string(at) + ", allowed valid UTF-8");
}

/// Turns a stream of token bytes into text that is always valid UTF-8: an incomplete code point waits for its rest,
/// bytes that can't be part of one become U+FFFD. One stream per object.
class utf8_stream {
 public:
  /// Whatever can be shown after these bytes.
  [[nodiscard]] std::string push(std::string_view bytes) {
    held_ += bytes;
    std::string out;
    std::size_t at = 0;
    while (at < held_.size()) {
      const auto step = detail::utf8_at(held_, at);
      if (!step.whole) break;
      if (step.size == 0) {
        out += replacement;
        ++at;
      } else {
        out.append(held_, at, step.size);
        at += step.size;
      }
    }
    held_.erase(0, at);
    return out;
  }
  /// The end of the stream: a code point still incomplete is shown as one U+FFFD.
  [[nodiscard]] std::string finish() {
    const bool cut = !held_.empty();
    held_.clear();
    return cut ? replacement : "";
  }

 private:
  static constexpr const char* replacement = "\xef\xbf\xbd";
  std::string held_;
};

/// GPT-2's reversible writing of bytes as printable characters: most of Latin-1 stands for itself, the other
/// 68 bytes are U+0100 onwards in order. from: the byte-level BPE of GPT-2 (Radford et al. 2019)
class byte_alphabet {
 public:
  byte_alphabet() {
    std::uint16_t next = 0x100;
    byte_of_.fill(-1);
    for (unsigned b = 0; b < 256; ++b) {
      const bool itself = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xff && b != 0xad);
      const std::uint16_t point = itself ? static_cast<std::uint16_t>(b) : next++;
      byte_of_[point] = static_cast<std::int16_t>(b);
    }
  }
  /// The bytes that a token's text writes. A character outside the alphabet (added tokens) stands for its own bytes;
  /// `pure` says whether there was none. `written` must be valid UTF-8.
  [[nodiscard]] std::string bytes(std::string_view written, bool* pure = nullptr) const {
    std::string out;
    bool all = true;
    for (std::size_t at = 0; at < written.size();) {
      const std::size_t size = detail::utf8_at(written, at).size;
      const auto b = [&](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(written[at + i])); };
      const unsigned point = size == 1 ? b(0) : size == 2 ? (b(0) & 31) << 6 | (b(1) & 63) : 0xffff;
      if (point < byte_of_.size() && byte_of_[point] >= 0) {
        out += static_cast<char>(byte_of_[point]);
      } else {
        out.append(written, at, size);
        all = false;
      }
      at += size;
    }
    if (pure != nullptr) *pure = all;
    return out;
  }

 private:
  std::array<std::int16_t, 0x144> byte_of_;
};

}  // namespace quire_lm
