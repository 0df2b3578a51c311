// SPDX-License-Identifier: Apache-2.0
// Recorded D matrices as bytes, so that the passes of a real model and the training of its gates can be two programs.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "../core/checksum.hpp"
#include "../core/status.hpp"

namespace quire::inline v0::calibrate {

/// D matrices of calibration samples (calibrate/gates.hpp). shape: d [samples][layers · kv_heads][layers · kv_heads]
struct gate_samples {
  std::uint32_t layers = 0, kv_heads = 0, samples = 0;
  std::vector<double> d;

  std::size_t heads() const noexcept { return std::size_t{layers} * kv_heads; }
  std::span<const double> sample(std::uint32_t s) const noexcept { return {d.data() + s * heads() * heads(), heads() * heads()}; }
  friend bool operator==(const gate_samples&, const gate_samples&) = default;
};

/// The file, little endian: "quiregat", u32 version = 1, u32 layers, u32 kv_heads, u32 samples, the elements as f64 in the order
/// of `d`, u64 FNV-1a of everything before it.
namespace gate_file {

inline constexpr char magic[] = "quiregat";
inline constexpr std::uint32_t version = 1, most_heads = 4096, most_samples = 1 << 16;
inline constexpr std::size_t header = 24, trailer = 8;

namespace detail {
inline std::uint64_t load(const std::byte* p, std::size_t bytes) noexcept {
  std::uint64_t x = 0;
  for (std::size_t i = 0; i < bytes; ++i) x |= std::to_integer<std::uint64_t>(p[i]) << 8 * i;
  return x;
}
inline void store(std::byte* p, std::uint64_t x, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; ++i) p[i] = static_cast<std::byte>(x >> 8 * i & 0xffu);
}
inline status check_shape(std::uint32_t layers, std::uint32_t kv_heads, std::uint32_t samples) noexcept {
  const std::uint64_t heads = std::uint64_t{layers} * kv_heads;
  if (heads == 0 || heads > most_heads) return {errc::out_of_range, "heads of the gate file", static_cast<std::int64_t>(heads), 1, most_heads};
  if (samples == 0 || samples > most_samples) return {errc::out_of_range, "samples of the gate file", samples, 1, most_samples};
  return {};
}
}  // namespace detail

/// fails: out_of_range ("heads of the gate file", "samples of the gate file", "elements of the gate file")
[[nodiscard]] inline status write(const gate_samples& from, std::vector<std::byte>& out) {
  if (const status s = detail::check_shape(from.layers, from.kv_heads, from.samples); !s) return s;
  const std::size_t n = from.samples * from.heads() * from.heads();
  const auto want = static_cast<std::int64_t>(n), got = static_cast<std::int64_t>(from.d.size());
  if (got != want) return {errc::out_of_range, "elements of the gate file", got, want, want};
  std::vector<std::byte> made(header + 8 * n + trailer);
  std::memcpy(made.data(), magic, 8);
  const std::uint32_t fields[] = {version, from.layers, from.kv_heads, from.samples};
  for (std::size_t i = 0; i < 4; ++i) detail::store(made.data() + 8 + 4 * i, fields[i], 4);
  for (std::size_t e = 0; e < n; ++e) {
    std::uint64_t bits;
    std::memcpy(&bits, &from.d[e], 8);
    detail::store(made.data() + header + 8 * e, bits, 8);
  }
  detail::store(made.data() + header + 8 * n, fnv1a({made.data(), header + 8 * n}), 8);
  out = std::move(made);
  return {};
}

/// fails: corrupt ("gate file (first bytes)", "gate file (size)", "gate file (checksum)"), version_mismatch, out_of_range as
/// `write`, not_finite ("element of the gate file"); `out` is unchanged then. Takes any bytes.
[[nodiscard]] inline status read(std::span<const std::byte> bytes, gate_samples& out) {
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (bytes.size() < header + trailer) return {errc::corrupt, "gate file (size)", size, header + trailer, std::int64_t{1} << 62};
  if (std::memcmp(bytes.data(), magic, 8) != 0) return {errc::corrupt, "gate file (first bytes)"};
  std::uint32_t fields[4];
  for (std::size_t i = 0; i < 4; ++i) fields[i] = static_cast<std::uint32_t>(detail::load(bytes.data() + 8 + 4 * i, 4));
  if (fields[0] != version) return {errc::version_mismatch, "version of the gate file", fields[0], version, version};
  gate_samples made{.layers = fields[1], .kv_heads = fields[2], .samples = fields[3], .d = {}};
  if (const status s = detail::check_shape(made.layers, made.kv_heads, made.samples); !s) return s;
  const std::uint64_t n = std::uint64_t{made.samples} * made.heads() * made.heads(), want = header + 8 * n + trailer;
  if (bytes.size() != want) return {errc::corrupt, "gate file (size)", size, static_cast<std::int64_t>(want), static_cast<std::int64_t>(want)};
  if (detail::load(bytes.data() + header + 8 * n, 8) != fnv1a(bytes.first(header + 8 * n))) return {errc::corrupt, "gate file (checksum)"};
  made.d.resize(n);
  for (std::size_t e = 0; e < n; ++e) {
    const std::uint64_t bits = detail::load(bytes.data() + header + 8 * e, 8);
    std::memcpy(&made.d[e], &bits, 8);
    if (!std::isfinite(made.d[e])) return {errc::not_finite, "element of the gate file", static_cast<std::int64_t>(e)};
  }
  out = std::move(made);
  return {};
}

}  // namespace gate_file

}  // namespace quire::inline v0::calibrate
