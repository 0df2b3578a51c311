// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/optimizer.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "quire/core/random.hpp"
#include "schedule/allocations.hpp"

using namespace quire;
using namespace quire::calibrate;

namespace {

struct no_restore {
  using value_type = float;
  void step(std::span<float>, std::span<const float>, double) noexcept {}
};
static_assert(!Optimizer<no_restore>);

std::vector<std::vector<double>> gradients(std::size_t steps, std::size_t n) {
  splitmix64 random(17);
  std::vector<std::vector<double>> g(steps, std::vector<double>(n));
  for (auto& row : g)
    for (double& x : row) x = 2 * random.unit() - 1;
  return g;
}
double rate(std::size_t t) { return 0.1 / (1 + static_cast<double>(t)); }

template <class T, class O>
std::vector<T> run(O optimizer, const std::vector<std::vector<double>>& g) {
  std::vector<T> x(g[0].size(), T{1}), row(g[0].size());
  for (std::size_t t = 0; t < g.size(); ++t) {
    row.assign(g[t].begin(), g[t].end());
    optimizer.step(x, row, rate(t));
  }
  return x;
}

}  // namespace

TEST_CASE("momentum descent is the weighted sum of all gradients so far") {
  const auto g = gradients(30, 5);
  for (const bool nesterov : {false, true})
    for (double mu : {0.0, 0.9})
      for (double decay : {0.0, 0.1}) {
        std::vector<double> want(5, 1.0);
        for (std::size_t t = 0; t < g.size(); ++t)
          for (std::size_t i = 0; i < 5; ++i) {
            double v = 0;
            for (std::size_t p = 0; p <= t; ++p) v += std::pow(mu, static_cast<double>(t - p)) * g[p][i];  // no recursion
            const double move = nesterov ? g[t][i] + mu * v : v;
            want[i] = want[i] * (1 - rate(t) * decay) - rate(t) * move;
          }
        const auto x = run<double>(sgd<double>(5, {.momentum = mu, .nesterov = nesterov, .weight_decay = decay}), g);
        const auto f = run<float>(sgd<float>(5, {.momentum = mu, .nesterov = nesterov, .weight_decay = decay}), g);
        for (std::size_t i = 0; i < 5; ++i) {
          CHECK(x[i] == Approx(want[i]).epsilon(1e-12));
          CHECK(f[i] == Approx(want[i]).margin(2e-6));
        }
      }
}

TEST_CASE("adamw is the ratio of corrected weighted means") {
  const auto g = gradients(40, 4);
  const double b1 = 0.9, b2 = 0.95, eps = 1e-8, decay = 0.05;
  std::vector<double> want(4, 1.0);
  for (std::size_t t = 0; t < g.size(); ++t)
    for (std::size_t i = 0; i < 4; ++i) {
      double m = 0, v = 0, wm = 0, wv = 0;  // means with weights β^age, normalised: the bias correction in closed form
      for (std::size_t p = 0; p <= t; ++p) {
        const double a = std::pow(b1, static_cast<double>(t - p)), b = std::pow(b2, static_cast<double>(t - p));
        m += a * g[p][i], wm += a, v += b * g[p][i] * g[p][i], wv += b;
      }
      want[i] = want[i] * (1 - rate(t) * decay) - rate(t) * (m / wm) / (std::sqrt(v / wv) + eps);
    }
  const auto x = run<double>(adamw<double>(4, {.beta1 = b1, .beta2 = b2, .epsilon = eps, .weight_decay = decay}), g);
  const auto f = run<float>(adamw<float>(4, {.beta1 = b1, .beta2 = b2, .epsilon = eps, .weight_decay = decay}), g);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(x[i] == Approx(want[i]).epsilon(1e-12));
    CHECK(f[i] == Approx(want[i]).margin(5e-6));
  }
}

TEST_CASE("the first step of adamw moves by the rate, whatever the gradient's size") {
  for (double size : {1e-3, 1.0, 1e6}) {
    std::vector<double> x{0, 0}, g{size, -size};
    adamw<double> o(2);
    o.step(x, g, 0.01);
    CHECK(x[0] == Approx(-0.01).epsilon(1e-4));
    CHECK(x[1] == Approx(0.01).epsilon(1e-4));
  }
}

TEST_CASE("a rate of zero moves nothing but the moments") {
  std::vector<double> x{1, 2}, g{3, 4};
  sgd<double> s(2, {.momentum = 0.5, .weight_decay = 1});
  adamw<double> a(2, {.weight_decay = 1});
  s.step(x, g, 0);
  a.step(x, g, 0);
  CHECK(x == std::vector<double>{1, 2});
  CHECK(s.state().moments[1] == 4);
  CHECK(s.state().step == 1);
}

TEST_CASE("a run goes on from its exported state bit for bit") {
  const auto g = gradients(20, 6);
  const auto check = [&](auto fresh) {
    using T = typename decltype(fresh)::value_type;
    auto whole = fresh, first = fresh, second = fresh;
    std::vector<T> x(6, T{1}), row(6);
    std::vector<T> kept;
    for (std::size_t t = 0; t < 20; ++t) {
      row.assign(g[t].begin(), g[t].end());
      whole.step(x, row, rate(t));
    }
    std::vector<T> y(6, T{1});
    for (std::size_t t = 0; t < 20; ++t) {
      row.assign(g[t].begin(), g[t].end());
      if (t == 11) {
        const auto state = first.state();
        kept.assign(state.moments.begin(), state.moments.end());
        REQUIRE(second.restore({state.step, kept}));
      }
      (t < 11 ? first : second).step(y, row, rate(t));
    }
    CHECK(x == y);
    kept.pop_back();
    const auto want = static_cast<std::int64_t>(kept.size() + 1);
    CHECK(second.restore({1, kept}) == status{errc::out_of_range, "moments (how many)", want - 1, want, want});
    kept.push_back(std::numeric_limits<T>::quiet_NaN());
    CHECK(second.restore({1, kept}) == status{errc::not_finite, "moment", want - 1});
    CHECK(second.state().step == 20);
  };
  check(sgd<float>(6, {.momentum = 0.9}));
  check(sgd<double>(6, {.momentum = 0.9}));
  check(adamw<float>(6));
  check(adamw<double>(6));
}

TEST_CASE("the recorder sees raw gradients, and a step does not allocate") {
  const auto g = gradients(50, 6);
  norm_recorder seen(100);
  adamw<double> o(6);
  std::vector<double> x(6, 0.0);
  sgd<double> plain(6, {.momentum = 0.9});
  const std::size_t before = test::allocations();
  for (std::size_t t = 0; t < g.size(); ++t) o.step(x, g[t], rate(t), seen), plain.step(x, g[t], rate(t));
  const std::size_t during = test::allocations() - before;
  CHECK(during == 0);
  REQUIRE(seen.l1().size() == 50);
  for (std::size_t t = 0; t < g.size(); ++t) {
    double l1 = 0, l2 = 0;
    for (const double v : g[t]) l1 += std::fabs(v), l2 += v * v;
    REQUIRE(seen.l1()[t] == Approx(l1));
    REQUIRE(seen.l2()[t] == Approx(std::sqrt(l2)));
  }
}
