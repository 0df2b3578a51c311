// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "../core/extents.hpp"
#include "../core/status.hpp"
#include "repeat_tokens.hpp"

namespace quire::inline v0::calibrate {

struct repeat_shape {
  std::uint32_t layers = 1, q_heads = 1, kv_heads = 1;
  repeat_probe probe{};
  std::uint32_t sequence = 0;  ///< the store's sequence that holds the probe; rows of others are not looked at
};

/// Echo and induction scores of every head, gathered by a score sink while the model reads a `repeat_probe` once. With A
/// a head's attention weights, i a random token of repeat 2 or later and K the period:
///   echo = mean_i Σ_r A[i, i − r·K], induction = mean_i Σ_r A[i, i − r·K + 1], over all earlier repeats r ≥ 1.
/// The lead token is a key like any other, so weights are the model's own. Several probes (seeds) average.
/// shape: scores [layers][q_heads] or [layers][kv_heads]; memory: 8 · (repeats − 1) + 1 bytes a (layer, query head, row), no
/// T × T matrix; every (layer, head, query) has cells of its own, so any workers may call the sink at once, and the result does not
/// depend on who did. Needs a cache in which tile slot s of a head holds tokens 64 s … (a dense layout).
/// fails: constructor throws std::invalid_argument (describe(check(probe)), or heads that do not divide), std::bad_alloc;
///   `collect`: out_of_range ("rows the sink saw")
/// from: RazorAttention (arXiv:2407.15891); test: tests/calibrate/repeat_scores.cpp
class repeat_scores {
 public:
  explicit repeat_scores(const repeat_shape& shape) : shape_(shape) {
    if (const status s = check(shape.probe); !s) throw std::invalid_argument(describe(s));
    if (shape.layers == 0 || shape.kv_heads == 0 || shape.q_heads == 0 || shape.q_heads % shape.kv_heads != 0)
      throw std::invalid_argument("repeat_scores: q_heads must be a multiple of kv_heads, and no extent 0");
    width_ = 2 * (shape.probe.repeats - 1);
    const std::size_t heads = std::size_t{shape.layers} * shape.q_heads, rows = heads * shape.probe.rows();
    logits_.resize(rows * width_, masked);
    seen_.resize(rows, 0);
    echo_.resize(heads, 0.0);
    induction_.resize(heads, 0.0);
  }

  /// A model of attention::ScoreSink: made for each call of `attend`, points at its owner.
  class sink {
   public:
    static constexpr bool active = true;
    explicit sink(repeat_scores& to) noexcept : to_(&to) {}

    /// Keeps the few logits of this tile that stand at multiples of the period.
    template <class At>
    void logits(const At& at, const float* x) const noexcept {
      const repeat_scores& s = *to_;
      const std::uint32_t period = s.shape_.probe.period;
      if (!s.wanted(at.sequence, at.layer, at.q_head, at.query)) return;
      float* cell = to_->logits_.data() + s.row_of(at.layer, at.q_head, at.query) * s.width_;
      for (std::uint32_t back = period; at.query > back; back += period, cell += 2) {
        const std::uint32_t copy = at.query - back;  // the earlier copy of this token; the next one follows it
        if (copy / tile_tokens == at.slot) cell[0] = x[copy % tile_tokens];
        if ((copy + 1) / tile_tokens == at.slot) cell[1] = x[(copy + 1) % tile_tokens];
      }
    }
    /// Turns them into weights: exp(logit − m) / l.
    template <class At>
    void row(const At& at, float m, float l) const noexcept {
      const repeat_scores& s = *to_;
      if (!s.wanted(at.sequence, at.layer, at.q_head, at.query)) return;
      const std::size_t row = s.row_of(at.layer, at.q_head, at.query);
      float* cell = to_->logits_.data() + row * s.width_;
      double sums[2] = {0, 0};
      for (std::uint32_t c = 0; l > 0 && c < s.width_; ++c) sums[c % 2] += std::exp(static_cast<double>(cell[c]) - m) / l;
      cell[0] = static_cast<float>(sums[0]);
      cell[1] = static_cast<float>(sums[1]);
      to_->seen_[row] = 1;
    }

   private:
    repeat_scores* to_;
  };

  /// Ends a probe: its rows join the mean, and the cells are ready for the next. Not while a sink is in use. A failed call
  /// keeps what was gathered. fails: out_of_range ("rows the sink saw") when the model did not show every row.
  status collect() noexcept {
    const auto all = static_cast<std::int64_t>(seen_.size());
    const auto saw = static_cast<std::int64_t>(std::count(seen_.begin(), seen_.end(), std::uint8_t{1}));
    if (saw != all) return {errc::out_of_range, "rows the sink saw", saw, all, all};
    const std::size_t rows = shape_.probe.rows();
    for (std::size_t h = 0; h < echo_.size(); ++h) {
      double sums[2] = {0, 0};
      for (std::size_t r = h * rows; r < (h + 1) * rows; ++r)
        for (std::size_t k = 0; k < 2; ++k) sums[k] += static_cast<double>(logits_[r * width_ + k]);
      echo_[h] += sums[0] / static_cast<double>(rows);
      induction_[h] += sums[1] / static_cast<double>(rows);
    }
    ++probes_;
    discard();
    return {};
  }
  /// Forgets the rows of a probe that was broken off.
  void discard() noexcept {
    std::fill(logits_.begin(), logits_.end(), masked);
    std::fill(seen_.begin(), seen_.end(), std::uint8_t{0});
  }

  std::uint32_t probes() const noexcept { return probes_; }
  const repeat_shape& shape() const noexcept { return shape_; }
  std::size_t bytes() const noexcept { return logits_.size() * sizeof(float) + seen_.size() + 2 * echo_.size() * sizeof(double); }

  /// Means over the probes so far, in [0, 1]; zeros before the first.
  std::vector<double> echo_of_q_heads() const { return mean(echo_, 1); }
  std::vector<double> induction_of_q_heads() const { return mean(induction_, 1); }
  /// A key-value head scores what the best of its query heads does.
  std::vector<double> echo() const { return mean(echo_, shape_.q_heads / shape_.kv_heads); }
  std::vector<double> induction() const { return mean(induction_, shape_.q_heads / shape_.kv_heads); }

 private:
  static constexpr float masked = -std::numeric_limits<float>::infinity();

  bool wanted(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t query) const noexcept {
    return sequence == shape_.sequence && layer < shape_.layers && head < shape_.q_heads &&  //
           query > shape_.probe.period && query < shape_.probe.tokens();
  }
  std::size_t row_of(std::uint32_t layer, std::uint32_t head, std::uint32_t query) const noexcept {
    return (std::size_t{layer} * shape_.q_heads + head) * shape_.probe.rows() + (query - 1 - shape_.probe.period);
  }
  std::vector<double> mean(const std::vector<double>& sums, std::uint32_t group) const {
    std::vector<double> out(sums.size() / group, 0.0);
    for (std::size_t h = 0; h < sums.size() && probes_ != 0; ++h) out[h / group] = std::max(out[h / group], sums[h] / probes_);
    return out;
  }

  repeat_shape shape_;
  std::uint32_t width_ = 0, probes_ = 0;
  std::vector<float> logits_;       ///< [layers][q_heads][rows][repeats − 1][copy, next]; after `row` the two sums
  std::vector<std::uint8_t> seen_;  ///< [layers][q_heads][rows]
  std::vector<double> echo_, induction_;
};

}  // namespace quire::inline v0::calibrate
