// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../core/status.hpp"

namespace quire::inline v0::calibrate {

/// Scores of the key-value heads of one model, as programs write and read them: a small file beside the weights. Larger
/// means more in need of the whole cache. The text form (JSON) is the programs'; this is what it must hold.
/// shape: scores [layers][kv_heads]
struct head_table {
  static constexpr std::uint32_t current = 1;
  static constexpr std::uint32_t most_layers = 4096, most_heads = 4096;

  std::uint32_t version = current;
  std::string model;  ///< name of the model that was scored
  std::string how;    ///< one line: the method, its options, its seeds
  std::uint32_t layers = 0, kv_heads = 0;
  std::vector<double> scores;

  friend bool operator==(const head_table&, const head_table&) = default;
};

/// Whether a table that came from a file can be used at all.
/// fails: version_mismatch ("version"), out_of_range ("model (length)", "how (length)", "layers", "kv_heads",
///   "scores (how many)"), not_finite ("score of head", `value` is its index). test: tests/calibrate/head_table.cpp
[[nodiscard]] inline status check(const head_table& t) noexcept {
  constexpr std::int64_t text = 1 << 16;
  if (t.version != head_table::current) return {errc::version_mismatch, "version", t.version, head_table::current, head_table::current};
  if (t.model.empty() || t.model.size() > text) return {errc::out_of_range, "model (length)", static_cast<std::int64_t>(t.model.size()), 1, text};
  if (t.how.empty() || t.how.size() > text) return {errc::out_of_range, "how (length)", static_cast<std::int64_t>(t.how.size()), 1, text};
  if (t.layers == 0 || t.layers > head_table::most_layers) return {errc::out_of_range, "layers", t.layers, 1, head_table::most_layers};
  if (t.kv_heads == 0 || t.kv_heads > head_table::most_heads) return {errc::out_of_range, "kv_heads", t.kv_heads, 1, head_table::most_heads};
  const std::int64_t heads = std::int64_t{t.layers} * t.kv_heads;
  if (static_cast<std::int64_t>(t.scores.size()) != heads)
    return {errc::out_of_range, "scores (how many)", static_cast<std::int64_t>(t.scores.size()), heads, heads};
  for (std::size_t h = 0; h < t.scores.size(); ++h)
    if (!std::isfinite(t.scores[h])) return {errc::not_finite, "score of head", static_cast<std::int64_t>(h)};
  return {};
}

/// Whether it was made for a model of this shape. fails: as `check`; unsupported_shape ("layers", "kv_heads").
[[nodiscard]] inline status fits(const head_table& t, std::uint32_t layers, std::uint32_t kv_heads) noexcept {
  if (const status s = check(t); !s) return s;
  if (t.layers != layers) return {errc::unsupported_shape, "layers of the head table", t.layers, layers, layers};
  if (t.kv_heads != kv_heads) return {errc::unsupported_shape, "kv_heads of the head table", t.kv_heads, kv_heads, kv_heads};
  return {};
}

}  // namespace quire::inline v0::calibrate
