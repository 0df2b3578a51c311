// SPDX-License-Identifier: Apache-2.0
// Multinomial logistic regression on a table of numbers: the convex problem that schedules are compared on.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "quire/calibrate/optimizer.hpp"
#include "quire/core/random.hpp"

namespace bench {

namespace cal = quire::calibrate;

/// Rows of standardised features and a last column of ones; labels from 0.
struct table {
  std::string name;
  std::uint32_t rows = 0, columns = 0, classes = 0;
  std::vector<double> x;
  std::vector<std::uint32_t> label;
};

/// Comma separated rows, the label last. Columns that never vary stay 0.
inline std::optional<table> load(const std::string& folder, const std::string& name) {
  std::ifstream file(folder + "/" + name + ".csv");
  if (!file) return std::nullopt;
  std::vector<std::vector<double>> rows;
  for (std::string line; std::getline(file, line);) {
    std::vector<double> row;
    std::stringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) row.push_back(std::strtod(cell.c_str(), nullptr));
    if (!row.empty()) rows.push_back(std::move(row));
  }
  if (rows.empty()) return std::nullopt;
  table t{.name = name, .rows = static_cast<std::uint32_t>(rows.size()), .columns = static_cast<std::uint32_t>(rows[0].size()), .classes = 0, .x = {}, .label = {}};
  t.x.assign(std::size_t{t.rows} * t.columns, 1.0);
  for (std::uint32_t c = 0; c + 1 < t.columns; ++c) {
    double mean = 0, square = 0;
    for (const auto& r : rows) mean += r[c] / t.rows;
    for (const auto& r : rows) square += (r[c] - mean) * (r[c] - mean) / t.rows;
    for (std::uint32_t i = 0; i < t.rows; ++i) t.x[std::size_t{i} * t.columns + c] = square > 0 ? (rows[i][c] - mean) / std::sqrt(square) : 0.0;
  }
  for (const auto& r : rows) t.label.push_back(static_cast<std::uint32_t>(r.back()));
  t.classes = *std::max_element(t.label.begin(), t.label.end()) + 1;
  return t;
}

/// Gives a share of the rows, drawn without replacement, another class, uniform over the others.
inline table with_label_noise(table t, double share, std::uint64_t seed) {
  quire::splitmix64 random(seed);
  std::vector<std::uint32_t> order(t.rows);
  std::iota(order.begin(), order.end(), 0u);
  random.shuffle(std::span(order));
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(share * t.rows); ++i) {
    std::uint32_t& label = t.label[order[i]];
    label = (label + 1 + static_cast<std::uint32_t>(random.below(t.classes - 1))) % t.classes;
  }
  return t;
}

/// Weights [columns][C], C ≥ classes; the columns of C past the classes stay 0.
template <std::uint32_t C>
class logistic {
 public:
  explicit logistic(const table& t) : t_(&t) {}
  std::size_t size() const { return std::size_t{t_->columns} * C; }

  void gradient(const std::uint32_t* rows, std::uint32_t n, const double* w, double* g) const {
    std::fill(g, g + size(), 0.0);
    for (std::uint32_t r = 0; r < n; ++r) {
      double p[C];
      static_cast<void>(forward(rows[r], w, p));
      p[t_->label[rows[r]]] -= 1;
      const double* x = t_->x.data() + std::size_t{rows[r]} * t_->columns;
      for (std::uint32_t c = 0; c < C; ++c) p[c] /= n;
      for (std::uint32_t d = 0; d < t_->columns; ++d)
        for (std::uint32_t c = 0; c < C; ++c) g[std::size_t{d} * C + c] += x[d] * p[c];
    }
  }
  double loss(const double* w) const {
    double sum = 0, p[C];
    for (std::uint32_t r = 0; r < t_->rows; ++r) sum += forward(r, w, p);
    return sum / t_->rows;
  }

 private:
  /// p ← class probabilities (0 past the classes); returns −log p of the label.
  double forward(std::uint32_t row, const double* w, double* p) const {
    const double* x = t_->x.data() + std::size_t{row} * t_->columns;
    double z[C] = {};
    for (std::uint32_t d = 0; d < t_->columns; ++d)
      for (std::uint32_t c = 0; c < C; ++c) z[c] += x[d] * w[std::size_t{d} * C + c];
    const double most = *std::max_element(z, z + t_->classes);
    double sum = 0;
    for (std::uint32_t c = 0; c < C; ++c) p[c] = c < t_->classes ? std::exp(z[c] - most) : 0.0, sum += p[c];
    for (std::uint32_t c = 0; c < C; ++c) p[c] /= sum;
    return std::log(sum) + most - z[t_->label[row]];
  }
  const table* t_;
};

enum class method { sgd, sgdm, adam };
inline const char* name(method m) { return m == method::sgd ? "sgd" : m == method::sgdm ? "sgd momentum 0.9" : "adam 0.9 0.95"; }

inline constexpr std::uint32_t batch = 16;
inline std::uint64_t steps_of(const table& t, double epochs) {
  const auto steps = static_cast<std::uint64_t>(std::llround(epochs * ((t.rows + batch - 1) / batch)));
  return steps < 1 ? 1 : steps;
}

/// One run from weights of 0; the seed orders the rows. Returns the full-data training loss of the last iterate.
template <std::uint32_t C, class Optimizer, class Schedule>
double train(const table& t, Optimizer optimizer, const Schedule& rates, std::uint64_t steps, std::uint64_t seed, cal::norm_recorder* seen) {
  const logistic<C> model(t);
  std::vector<double> w(model.size(), 0.0), g(model.size());
  std::vector<std::uint32_t> order(t.rows);
  std::iota(order.begin(), order.end(), 0u);
  quire::splitmix64 random(seed);
  std::uint32_t at = t.rows;
  for (std::uint64_t s = 0; s < steps; ++s) {
    if (at >= t.rows) random.shuffle(std::span(order)), at = 0;
    const std::uint32_t n = std::min(batch, t.rows - at);
    model.gradient(order.data() + at, n, w.data(), g.data());
    at += n;
    if (seen) optimizer.step(w, g, rates.value(s), *seen);
    else optimizer.step(w, g, rates.value(s));
  }
  const double loss = model.loss(w.data());
  return std::isfinite(loss) ? loss : std::numeric_limits<double>::infinity();
}

template <class Schedule>
double train(const table& t, method m, const Schedule& rates, std::uint64_t steps, std::uint64_t seed, cal::norm_recorder* seen = nullptr) {
  const auto with = [&]<std::uint32_t C>() {
    const std::size_t n = std::size_t{t.columns} * C;
    if (m == method::adam) return train<C>(t, cal::adamw<double>(n, {.beta1 = 0.9, .beta2 = 0.95}), rates, steps, seed, seen);
    return train<C>(t, cal::sgd<double>(n, {.momentum = m == method::sgdm ? 0.9 : 0.0}), rates, steps, seed, seen);
  };
  return t.classes <= 4 ? with.template operator()<4>() : with.template operator()<16>();
}

/// Mean and its standard error.
struct summary {
  double mean = 0, error = 0;
};
inline summary summarise(const std::vector<double>& x) {
  summary s;
  for (const double v : x) s.mean += v / static_cast<double>(x.size());
  double square = 0;
  for (const double v : x) square += (v - s.mean) * (v - s.mean);
  if (x.size() > 1) s.error = std::sqrt(square / static_cast<double>(x.size() - 1) / static_cast<double>(x.size()));
  return s;
}

/// The power of two in [2^low, 2^high] whose runs end best on average: run(rate, seed) for each tuning seed.
struct tuned {
  double rate = 0;
  bool at_edge = false;
};
template <class Run>
tuned tune(int low, int high, std::uint64_t seeds, Run run) {
  tuned best;
  double least = std::numeric_limits<double>::infinity();
  for (int e = low; e <= high; ++e) {
    double sum = 0;
    for (std::uint64_t s = 0; s < seeds && std::isfinite(sum); ++s) sum += run(std::exp2(e), 1000 + s);
    if (sum < least) least = sum, best = {std::exp2(e), e == low || e == high};
  }
  return best;
}

}  // namespace bench
