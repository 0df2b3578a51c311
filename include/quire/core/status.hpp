// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config.hpp"

namespace quire::inline v0 {

/// What went wrong. Values are stable within a minor version; new ones are only appended.
enum class errc : std::uint8_t {
  ok,
  out_of_pages,       ///< a pool cannot hold what was asked; `value` pages wanted, `high` free
  unknown_sequence,   ///< the handle names no live sequence
  out_of_range,       ///< a parameter lies outside [low, high]
  unsupported_shape,  ///< no kernel or layout serves this extent
  not_rewindable,     ///< the layout no longer holds the exact rows that a rewind to `value` needs
  not_finite,         ///< an input row holds NaN or infinity
  corrupt,            ///< bytes from a file or a wire fail a check
  version_mismatch,   ///< a format version this build does not read
  io,                 ///< the system refused; `native` is errno
  device,             ///< the GPU driver refused; `native` is its code
  cancelled,          ///< the caller withdrew the request
  not_ready           ///< what is needed is on its way: ask again later
};

/// Outcome of an operation that can fail in expected ways. A failed call leaves every object as it was.
/// `what` names the parameter (static storage); `value` is what it held, [low, high] what is allowed (both inclusive).
struct [[nodiscard]] status {
  errc code = errc::ok;
  const char* what = "";
  std::int64_t value = 0;
  std::int64_t low = 0;
  std::int64_t high = 0;
  int native = 0;

  QUIRE_HD constexpr explicit operator bool() const noexcept { return code == errc::ok; }
  /// Equal when a person would read the same: `what` is compared as text.
  friend constexpr bool operator==(const status& a, const status& b) noexcept {
    return a.code == b.code && std::string_view(a.what) == b.what && a.value == b.value && a.low == b.low && a.high == b.high && a.native == b.native;
  }
};

/// The stable identifier of a code, as it is spelled in the source.
[[nodiscard]] constexpr const char* name(errc code) noexcept {
  constexpr const char* names[] = {"ok",           "out_of_pages", "unknown_sequence", "out_of_range",
                                   "unsupported_shape", "not_rewindable", "not_finite", "corrupt",
                                   "version_mismatch",  "io",             "device",     "cancelled",
                                   "not_ready"};
  const auto i = static_cast<unsigned>(code);
  return i < sizeof names / sizeof *names ? names[i] : "unknown";
}

/// One sentence for a person: the code, the parameter, its value and what is allowed. Allocates.
[[nodiscard]] inline std::string describe(const status& s) {
  if (s) return "ok";
  std::string text = std::string(name(s.code)) + ": " + s.what + " is " + std::to_string(s.value);
  if (s.low != 0 || s.high != 0) text += ", allowed " + std::to_string(s.low) + " to " + std::to_string(s.high);
  if (s.native != 0) text += " (native code " + std::to_string(s.native) + ")";
  return text;
}

}  // namespace quire::inline v0
