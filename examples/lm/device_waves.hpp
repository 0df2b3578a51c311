// SPDX-License-Identifier: Apache-2.0
// Steps tile by tile, where what a tile's rows receive decides what the next one's read: the host's part of it, from lengths alone.
#pragma once

#include "device_plans.hpp"
#include "quire/kv/packed_view.hpp"

namespace quire_lm {

/// Splits a step into waves, the rows of one tile of each sequence at a time, and plans those after the first. Layouts without overlays take a
/// step whole: one wave. Allocates in the constructor only. throws: std::bad_alloc
template <quire::kv::Layout L>
class device_waves {
 public:
  using span = quire::attention::query_span;

  device_waves(const L& layout, const quire::attention::problem& shape, const plan_limits& limits) {
    if constexpr (L::overlays) {
      plan_limits of_one = limits;
      of_one.rows = std::min(limits.rows, limits.sequences * quire::tile_tokens);
      for (std::uint32_t k = 1; k < most(limits.rows); ++k) later_.emplace_back(layout, shape, of_one);
    }
    spans_.reserve(limits.sequences), before_.reserve(limits.sequences);
  }

  /// Waves of a step of `rows` rows at most.
  static constexpr std::uint32_t most(std::uint32_t rows) noexcept { return L::overlays ? quire::tiles_touched(rows) + 1 : 1; }
  /// Bytes of the plans after the first wave's at most.
  std::size_t most_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const auto& p : later_) bytes += p.most_bytes();
    return bytes;
  }

  /// The rows of the first wave.
  std::span<const span> first(std::span<const span> step) { return L::overlays ? wave(step, 0) : step; }
  /// Whether there are others.
  static bool more(std::span<const span> step) noexcept {
    return L::overlays && std::any_of(step.begin(), step.end(), [](const span& s) { return quire::attention::rows_in_tile(s, 1).count != 0; });
  }
  /// f(plans) for each later one, its spans ordered and numbered as `sequences` are. fails: as f does
  template <class F>
  quire::status each_later(const quire::kv::store_view<L>& view, std::span<const span> step, std::span<const quire::kv::packed_sequence> sequences, F&& f) {
    for (std::uint32_t k = 1; k <= later_.size() && !wave(step, k).empty(); ++k) {
      for (span& s : spans_) s.sequence = static_cast<std::uint32_t>(std::find_if(sequences.begin(), sequences.end(), [&](const auto& p) { return p.sequence == s.sequence; }) - sequences.begin());
      later_[k - 1].order(view, spans_);
      if (const quire::status s = f(later_[k - 1]); !s) return s;
    }
    return {};
  }

  /// Tokens of a span's sequence when the whole step is done.
  static std::uint32_t end(std::span<const span> step, std::uint32_t sequence) noexcept {
    for (const span& s : step)
      if (s.sequence == sequence) return s.first + s.count;
    return 0;
  }
  /// [spans] rows of the spans before each, as weights of exact tokens are numbered; until the next call.
  std::span<const std::uint32_t> rows_before(std::span<const span> spans) {
    before_.clear();
    std::uint32_t rows = 0;
    for (const span& s : spans) before_.push_back(rows), rows += s.count;
    return before_;
  }

 private:
  std::span<const span> wave(std::span<const span> step, std::uint32_t k) {
    spans_.clear();
    for (const span& s : step)
      if (const span rows = quire::attention::rows_in_tile(s, k); rows.count != 0) spans_.push_back(rows);
    return spans_;
  }

  std::vector<device_plans<L>> later_;
  std::vector<span> spans_;
  std::vector<std::uint32_t> before_;
};

}  // namespace quire_lm
