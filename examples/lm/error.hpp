// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace quire_lm {

/// Something a user or a file supplied can't be used. The message names the field, its value and what is allowed.
struct bad_input : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Foreign text made safe for a message: quoted, non-printing bytes as \xNN, cut after 64 bytes.
[[nodiscard]] inline std::string quoted(std::string_view text) {
  constexpr std::size_t most = 64;
  constexpr char digits[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out + (text.size() > most ? "...'" : "'");
}
// Before std::quoted, which argument-dependent lookup would find where <iomanip> came along.
[[nodiscard]] inline std::string quoted(const std::string& text) { return quoted(std::string_view(text)); }
[[nodiscard]] inline std::string quoted(std::string& text) { return quoted(std::string_view(text)); }
[[nodiscard]] inline std::string quoted(const char* text) { return quoted(std::string_view(text)); }

}  // namespace quire_lm
