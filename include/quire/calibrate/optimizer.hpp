// SPDX-License-Identifier: Apache-2.0
// Optimizers for the small learned settings of this room: gates, routers, balancers. One step is a pure function of
// (state, parameters, gradient, rate); the rate comes from a schedule and is never kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../core/status.hpp"
#include "norm_recorder.hpp"

namespace quire::inline v0::calibrate {

/// What must be kept to go on later: the step count, and the moments [moments][n] one after another.
template <class T>
struct optimizer_state {
  std::uint64_t step = 0;
  std::span<const T> moments;
};

/// Changes parameters x [n] along gradients g [n]. `step` allocates nothing and shows the raw gradient to the observer.
template <class O>
concept Optimizer = std::copyable<O> && requires(O o, const O c, std::span<typename O::value_type> x,
                                                 std::span<const typename O::value_type> g, double rate, norm_recorder& seen,
                                                 optimizer_state<typename O::value_type> kept) {
  requires std::floating_point<typename O::value_type>;
  { o.step(x, g, rate) } noexcept -> std::same_as<void>;
  { o.step(x, g, rate, seen) } noexcept -> std::same_as<void>;
  { c.state() } noexcept -> std::same_as<optimizer_state<typename O::value_type>>;
  { o.restore(kept) } noexcept -> std::same_as<status>;
  { c.size() } noexcept -> std::same_as<std::size_t>;
};

namespace detail {

template <class T>
class moments {
 public:
  explicit moments(std::size_t values) : values_(values, T{0}) {}
  optimizer_state<T> state() const noexcept { return {step_, values_}; }
  status restore(const optimizer_state<T>& kept) noexcept {
    const auto want = static_cast<std::int64_t>(values_.size());
    if (kept.moments.size() != values_.size())
      return {errc::out_of_range, "moments (how many)", static_cast<std::int64_t>(kept.moments.size()), want, want};
    for (std::size_t i = 0; i < values_.size(); ++i)
      if (!std::isfinite(kept.moments[i])) return {errc::not_finite, "moment", static_cast<std::int64_t>(i)};
    if (kept.moments.data() != values_.data()) std::copy(kept.moments.begin(), kept.moments.end(), values_.begin());
    step_ = kept.step;
    return {};
  }

 protected:
  std::vector<T> values_;
  std::uint64_t step_ = 0;
};

}  // namespace detail

struct sgd_options {
  double momentum = 0;       ///< v ← momentum·v + g; 0: plain
  bool nesterov = false;     ///< move along g + momentum·v instead of v
  double weight_decay = 0;   ///< decoupled: x ← (1 − rate·weight_decay)·x before the step
};

/// x ← x − rate · v with v ← momentum·v + g (heavy ball; the rate stands outside the momentum, so a schedule acts at once).
/// cost: one pass; memory: n values; fails: `restore`: out_of_range ("moments (how many)"), not_finite
/// precondition: x and g have size() elements. test: tests/calibrate/optimizer.cpp
template <std::floating_point T>
class sgd : public detail::moments<T> {
 public:
  using value_type = T;
  explicit sgd(std::size_t n, sgd_options options = {}) : detail::moments<T>(n), options_(options) {}
  std::size_t size() const noexcept { return this->values_.size(); }
  const sgd_options& options() const noexcept { return options_; }

  template <GradientObserver<T> Observer = no_observer>
  void step(std::span<T> x, std::span<const T> g, double rate, Observer&& seen = {}) noexcept {
    QUIRE_ASSERT(x.size() == size() && g.size() == size(), "quire::calibrate::sgd: parameters and gradient have the optimizer's size");
    seen.observe(g);
    const auto eta = static_cast<T>(rate), mu = static_cast<T>(options_.momentum);
    const auto keep = static_cast<T>(1 - rate * options_.weight_decay);
    T* v = this->values_.data();
    for (std::size_t i = 0; i < x.size(); ++i) {
      v[i] = mu * v[i] + g[i];
      x[i] = keep * x[i] - eta * (options_.nesterov ? g[i] + mu * v[i] : v[i]);
    }
    ++this->step_;
  }

 private:
  sgd_options options_;
};

struct adamw_options {
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;   ///< decoupled: x ← (1 − rate·weight_decay)·x before the step
};

/// x ← x − rate · m̂ / (√v̂ + ε), m and v the running means of g and g², corrected for their start at 0.
/// cost: one pass; memory: 2n values, m then v; fails: as `sgd`; precondition: x and g have size() elements
/// from: Adam (arXiv:1412.6980), AdamW (arXiv:1711.05101); test: tests/calibrate/optimizer.cpp
template <std::floating_point T>
class adamw : public detail::moments<T> {
 public:
  using value_type = T;
  explicit adamw(std::size_t n, adamw_options options = {}) : detail::moments<T>(2 * n), options_(options) {}
  std::size_t size() const noexcept { return this->values_.size() / 2; }
  const adamw_options& options() const noexcept { return options_; }

  template <GradientObserver<T> Observer = no_observer>
  void step(std::span<T> x, std::span<const T> g, double rate, Observer&& seen = {}) noexcept {
    QUIRE_ASSERT(x.size() == size() && g.size() == size(), "quire::calibrate::adamw: parameters and gradient have the optimizer's size");
    seen.observe(g);
    const auto t = static_cast<double>(++this->step_);
    const auto b1 = static_cast<T>(options_.beta1), b2 = static_cast<T>(options_.beta2), eps = static_cast<T>(options_.epsilon);
    const auto eta = static_cast<T>(rate / (1 - std::pow(options_.beta1, t)));
    const auto unbias = static_cast<T>(1 / (1 - std::pow(options_.beta2, t)));
    const auto keep = static_cast<T>(1 - rate * options_.weight_decay);
    T* m = this->values_.data();
    T* v = m + x.size();
    for (std::size_t i = 0; i < x.size(); ++i) {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
      x[i] = keep * x[i] - eta * m[i] / (std::sqrt(v[i] * unbias) + eps);
    }
  }

 private:
  adamw_options options_;
};

static_assert(Optimizer<sgd<float>> && Optimizer<sgd<double>> && Optimizer<adamw<float>> && Optimizer<adamw<double>>);

}  // namespace quire::inline v0::calibrate
