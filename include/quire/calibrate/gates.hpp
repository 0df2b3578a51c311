// SPDX-License-Identifier: Apache-2.0
// Gates of key-value heads, trained from forward passes alone: 1 keeps a head whole, 0 lets it stream (sinks and window).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "../core/random.hpp"
#include "../core/status.hpp"
#include "optimizer.hpp"
#include "rate_schedule.hpp"

namespace quire::inline v0::calibrate {

/// D_ij = Σ_tokens mean_channels(d_i · d_j) / tokens, where d_h is the last hidden state of the full cache minus that of a
/// pass in which head h alone streams, on the label tokens of one sample.
/// shape: differences [heads][tokens][channels], out [heads][heads]; cost: O(heads² · tokens · channels)
inline void gate_gram(const float* differences, std::uint32_t heads, std::uint32_t tokens, std::uint32_t channels, double* out) noexcept {
  const std::size_t n = std::size_t{tokens} * channels;
  for (std::uint32_t i = 0; i < heads; ++i)
    for (std::uint32_t j = 0; j <= i; ++j) {
      const float *a = differences + i * n, *b = differences + j * n;
      double sum = 0;
      for (std::size_t k = 0; k < n; ++k) sum += static_cast<double>(a[k]) * b[k];
      out[std::size_t{i} * heads + j] = out[std::size_t{j} * heads + i] = n == 0 ? 0.0 : sum / static_cast<double>(n);
    }
}

/// What D is measured in.
enum class gate_scale : std::uint8_t {
  trace,  ///< D ÷ the trace of its mean over samples, so lambda means the same for any model: a head that acts alone streams
          ///< wholly when its own loss is below lambda / 2 of the average head's (2.5 % by default; lambda = 1: half)
  none    ///< as it came: squared units of the hidden state, as in the paper
};

struct gate_options {
  double lambda = 0.05;  ///< weight of mean |gate|
  gate_scale scale = gate_scale::trace;
};

/// loss(α) = ‖r + Σ_h (s_h − α_h) d_h‖² + λ · mean |α|, one D for each calibration sample, α ∈ [0, 1] a gate a head: how far the
/// hidden state is from the full cache's, where the passes were taken around the anchor s: d_h is what the state moves by when gate h
/// goes from 0 to 1 and the others stay at s, r the full cache's state minus the anchor's.
/// Without an anchor all heads are whole (s = 1, r = 0), as in the paper, and D is [heads][heads]; with one, r is the last row and column.
/// That is exact at s and where one gate differs from it, which is what the passes measured; for a gate between its ends it is the
/// secant, and for several gates it leaves out how one head's streaming changes what another's does. So few gates are learned best around an
/// anchor of few. The gradient is exact for this loss, not for the network.
/// throws: std::bad_alloc (constructor, add); one thread at a time for `add`, any for the rest
/// from: DuoAttention (arXiv:2410.10819), which back-propagates through the network instead; test: tests/calibrate/gates.cpp
class gate_objective {
 public:
  /// `anchor`: none, or [heads] of 0 and 1.
  explicit gate_objective(std::uint32_t heads, gate_options options = {}, std::span<const std::uint8_t> anchor = {})
      : heads_(heads), width_(heads + (anchor.empty() ? 0 : 1)), options_(options), anchor_(heads, 1.0), mean_(std::size_t{width_} * width_, 0.0) {
    for (std::size_t h = 0; h < anchor.size() && h < heads; ++h) anchor_[h] = anchor[h] != 0 ? 1 : 0;
  }

  /// One sample's D [width][width], symmetric, as `gate_gram` makes it. fails: out_of_range ("D (how many)"), not_finite
  /// and corrupt (`value` is the element: not symmetric, or larger than the geometric mean of its diagonal elements).
  status add(std::span<const double> d) {
    const auto want = static_cast<std::int64_t>(mean_.size());
    if (d.size() != mean_.size()) return {errc::out_of_range, "D (how many elements)", static_cast<std::int64_t>(d.size()), want, want};
    for (std::size_t e = 0; e < d.size(); ++e)
      if (!std::isfinite(d[e])) return {errc::not_finite, "element of D", static_cast<std::int64_t>(e)};
    for (std::size_t i = 0; i < width_; ++i)
      for (std::size_t j = 0; j <= i; ++j) {
        const double bound = std::sqrt(std::max(0.0, d[i * width_ + i])) * std::sqrt(std::max(0.0, d[j * width_ + j]));
        const double x = d[i * width_ + j], y = d[j * width_ + i];
        if (!(std::fabs(x - y) <= 1e-6 * bound) || !(std::fabs(x) <= bound * (1 + 1e-6)))
          return {errc::corrupt, "element of D (symmetric, at most the root of its diagonal elements' product)",
                  static_cast<std::int64_t>(i * width_ + j)};
      }
    samples_.insert(samples_.end(), d.begin(), d.end());
    const auto n = static_cast<double>(++count_);
    double trace = 0;
    for (std::size_t e = 0; e < mean_.size(); ++e) mean_[e] += (d[e] - mean_[e]) / n;
    for (std::size_t h = 0; h < heads_; ++h) trace += mean_[h * (width_ + std::size_t{1})];
    unit_ = options_.scale == gate_scale::trace && trace > 0 ? 1 / trace : 1;
    return {};
  }
  void set_lambda(double lambda) noexcept { options_.lambda = lambda; }

  std::uint32_t heads() const noexcept { return heads_; }
  std::uint32_t width() const noexcept { return width_; }               ///< of D: one more than heads around an anchor
  std::uint32_t samples() const noexcept { return count_; }
  const gate_options& options() const noexcept { return options_; }
  double unit() const noexcept { return unit_; }                        ///< what D is multiplied by
  double anchor(std::size_t head) const noexcept { return anchor_[head]; }
  std::span<const double> mean() const noexcept { return mean_; }       ///< mean D over samples, before `unit`
  std::span<const double> sample(std::uint32_t s) const noexcept { return {samples_.data() + s * mean_.size(), mean_.size()}; }

  /// Loss over all samples, and over one. α [heads].
  template <class T>
  double value(std::span<const T> alpha) const noexcept { return loss(mean_, alpha); }
  template <class T>
  double value(std::uint32_t s, std::span<const T> alpha) const noexcept { return loss(sample(s), alpha); }

  /// Of one sample's loss for α ≥ 0 (from the right at 0). α, out [heads].
  template <class T>
  void gradient(std::uint32_t s, std::span<const T> alpha, std::span<T> out) const noexcept {
    const double* d = sample(s).data();
    for (std::size_t i = 0; i < heads_; ++i, d += width_) out[i] = static_cast<T>(-2 * unit_ * against(d, alpha) + options_.lambda / heads_);
  }

 private:
  /// What is still missing, as far as a row of D sees it.
  template <class T>
  double against(const double* row, std::span<const T> alpha) const noexcept {
    double sum = width_ > heads_ ? row[heads_] : 0.0;
    for (std::size_t j = 0; j < heads_; ++j) sum += row[j] * (anchor_[j] - static_cast<double>(alpha[j]));
    return sum;
  }
  template <class T>
  double loss(std::span<const double> d, std::span<const T> alpha) const noexcept {
    double square = width_ > heads_ ? against(d.data() + std::size_t{heads_} * width_, alpha) : 0.0, size = 0;
    for (std::size_t i = 0; i < heads_; ++i) {
      square += against(d.data() + i * width_, alpha) * (anchor_[i] - static_cast<double>(alpha[i]));
      size += std::fabs(static_cast<double>(alpha[i]));
    }
    return unit_ * square + options_.lambda * size / heads_;
  }

  std::uint32_t heads_, width_, count_ = 0;
  gate_options options_;
  double unit_ = 1;
  std::vector<double> anchor_, mean_, samples_;
};

struct gate_training {
  std::uint64_t steps = 200;
  std::uint64_t seed = 0;            ///< order of the samples: each once an epoch, shuffled anew
  std::uint64_t history_every = 10;  ///< steps between points of the history; 0: only the first and the last
  norm_recorder* recorder = nullptr; ///< sees every raw gradient; for `refine`
};

struct trained_gates {
  std::vector<double> gates;  ///< [heads], in [0, 1]
  std::vector<std::uint64_t> at;
  std::vector<double> objective;  ///< over all samples, after `at` steps
};

/// Steps from gates of 1, one sample a step, clamped to [0, 1] before each step and at the end.
/// cost: O(steps · heads²), allocates before the first step and in the history
/// fails: out_of_range ("samples", "optimizer size"), not_finite ("gate", `value` is the step)
template <Optimizer O, Schedule S>
[[nodiscard]] status train_gates(const gate_objective& objective, O& optimizer, const S& rates, const gate_training& options, trained_gates& out) {
  using T = typename O::value_type;
  const std::uint32_t n = objective.heads();
  if (objective.samples() == 0) return {errc::out_of_range, "samples", 0, 1, 1 << 30};
  if (optimizer.size() != n) return {errc::out_of_range, "optimizer size", static_cast<std::int64_t>(optimizer.size()), n, n};
  std::vector<T> alpha(n, T{1}), gradient(n);
  std::vector<std::uint32_t> order(objective.samples());
  std::iota(order.begin(), order.end(), 0u);
  splitmix64 random(options.seed);
  trained_gates made;
  const auto clamp = [&] {
    for (T& a : alpha) a = std::clamp(a, T{0}, T{1});
  };
  for (std::uint64_t t = 0;; ++t) {
    clamp();
    if (t == 0 || t == options.steps || (options.history_every != 0 && t % options.history_every == 0)) {
      made.at.push_back(t);
      made.objective.push_back(objective.value(std::span<const T>(alpha)));
      if (!std::isfinite(made.objective.back())) return {errc::not_finite, "gate", static_cast<std::int64_t>(t)};
    }
    if (t == options.steps) break;
    if (t % order.size() == 0) random.shuffle(std::span(order));
    objective.gradient(order[t % order.size()], std::span<const T>(alpha), std::span<T>(gradient));
    const double rate = rates.value(t);
    if (options.recorder) optimizer.step(alpha, gradient, rate, *options.recorder);
    else optimizer.step(alpha, gradient, rate);
  }
  made.gates.assign(alpha.begin(), alpha.end());
  out = std::move(made);
  return {};
}

/// The gates that minimise the loss over all samples: a convex quadratic in a box, by coordinate descent until no gate
/// moves by more than `tolerance`. What training is measured against. Returns the sweeps it took; starts from the anchor.
[[nodiscard]] inline std::uint32_t solve_gates(const gate_objective& objective, std::vector<double>& gates, double tolerance = 1e-12,
                                               std::uint32_t most_sweeps = 100000) {
  const std::size_t n = objective.heads(), width = objective.width();
  const double push = n == 0 ? 0.0 : objective.options().lambda / (2 * static_cast<double>(n));
  std::vector<double> open(width, 0.0);  // s − α, and 1 for r
  if (width > n) open[n] = 1;
  const double* d = objective.mean().data();
  std::uint32_t sweep = 0;
  for (double moved = 1; moved > tolerance && sweep < most_sweeps; ++sweep) {
    moved = 0;
    for (std::size_t i = 0; i < n; ++i) {
      double others = 0;
      for (std::size_t j = 0; j < width; ++j) others += j == i ? 0.0 : d[i * width + j] * open[j];
      const double want = push - objective.unit() * others, own = objective.unit() * d[i * width + i], most = objective.anchor(i), least = most - 1;
      const double next = own > 0 ? std::clamp(want / own, least, most) : want > 0 ? most : least;
      moved = std::max(moved, std::fabs(next - open[i]));
      open[i] = next;
    }
  }
  gates.resize(n);
  for (std::size_t i = 0; i < n; ++i) gates[i] = objective.anchor(i) - open[i];
  return sweep;
}

/// Sets the objective's λ so that the best gates sum to `keep` heads, within a thousandth of a head where their sum is no step. Then the largest
/// `keep` gates are told apart; a λ that leaves more gates at 1 leaves them tied.
/// precondition: 0 < keep < heads, at least one sample. cost: some forty solutions
inline void set_budget(gate_objective& objective, double keep) {
  double low = 1e-9, high = 1e9;  // in a loss of unit trace every head is whole at one end, none at the other
  std::vector<double> gates;
  for (int i = 0; i < 60; ++i) {
    const double lambda = std::sqrt(low * high);
    objective.set_lambda(lambda);
    static_cast<void>(solve_gates(objective, gates, 1e-6, 2000));
    const double sum = std::accumulate(gates.begin(), gates.end(), 0.0);
    if (std::fabs(sum - keep) < 1e-3) return;
    (sum > keep ? low : high) = lambda;
  }
}

}  // namespace quire::inline v0::calibrate
