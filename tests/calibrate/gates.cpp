// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/gates.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "catch.hpp"

using namespace quire;
using namespace quire::calibrate;

namespace {

/// Difference vectors [heads][tokens][channels] with directions in common, so that heads interact.
std::vector<float> differences(std::uint32_t heads, std::uint32_t tokens, std::uint32_t channels, std::uint64_t seed) {
  splitmix64 random(seed);
  std::vector<float> shared(std::size_t{tokens} * channels), d;
  for (float& x : shared) x = static_cast<float>(random.unit() - 0.5);
  for (std::uint32_t h = 0; h < heads; ++h) {
    const double size = std::exp(3 * random.unit() - 3), lean = 2 * random.unit() - 1;
    for (const float s : shared) d.push_back(static_cast<float>(size * (random.unit() - 0.5 + lean * static_cast<double>(s))));
  }
  return d;
}
std::vector<double> gram(std::uint32_t heads, std::uint64_t seed, std::uint32_t tokens = 5, std::uint32_t channels = 7) {
  std::vector<double> d(std::size_t{heads} * heads);
  gate_gram(differences(heads, tokens, channels, seed).data(), heads, tokens, channels, d.data());
  return d;
}
gate_objective objective(std::uint32_t heads, std::uint32_t samples, gate_options o = {}) {
  gate_objective made(heads, o);
  for (std::uint32_t s = 0; s < samples; ++s) REQUIRE(made.add(gram(heads, 100 + s)));
  return made;
}
using view = std::span<const double>;

}  // namespace

TEST_CASE("the loss of D is the distance that the hidden state moves") {
  const std::uint32_t heads = 4, tokens = 3, channels = 6;
  const auto d = differences(heads, tokens, channels, 9);
  std::vector<double> g(16);
  gate_gram(d.data(), heads, tokens, channels, g.data());
  gate_objective o(heads, {.lambda = 0.3, .scale = gate_scale::none});
  REQUIRE(o.add(g));
  splitmix64 random(2);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<double> alpha(heads);
    for (double& a : alpha) a = random.unit();
    double loss = 0, push = 0;
    for (std::uint32_t t = 0; t < tokens; ++t) {
      double mean = 0;
      for (std::uint32_t c = 0; c < channels; ++c) {
        double move = 0;
        for (std::uint32_t h = 0; h < heads; ++h) move += (1 - alpha[h]) * static_cast<double>(d[(std::size_t{h} * tokens + t) * channels + c]);
        mean += move * move / channels;
      }
      loss += mean / tokens;
    }
    for (const double a : alpha) push += a / heads;
    CHECK(o.value(view(alpha)) == Approx(loss + 0.3 * push).epsilon(1e-9));
    CHECK(o.value(0, view(alpha)) == o.value(view(alpha)));
  }
  // the ends that the passes measured: all whole, and one head streaming
  std::vector<double> alpha(heads, 1.0);
  CHECK(o.value(view(alpha)) == Approx(0.3));
  alpha[2] = 0;
  CHECK(o.value(view(alpha)) == Approx(g[2 * 4 + 2] + 0.3 * 0.75));
}

TEST_CASE("the gradient is that of the loss") {
  for (const gate_scale scale : {gate_scale::trace, gate_scale::none}) {
    const auto o = objective(6, 3, {.lambda = 0.07, .scale = scale});
    splitmix64 random(4);
    for (std::uint32_t s = 0; s < 3; ++s) {
      std::vector<double> alpha(6), gradient(6);
      for (double& a : alpha) a = 0.1 + 0.8 * random.unit();
      o.gradient(s, view(alpha), std::span<double>(gradient));
      for (std::size_t h = 0; h < 6; ++h) {
        const double step = 1e-5;
        auto up = alpha, down = alpha;
        up[h] += step, down[h] -= step;
        CHECK(gradient[h] == Approx((o.value(s, view(up)) - o.value(s, view(down))) / (2 * step)).epsilon(1e-7).margin(1e-10));
      }
    }
  }
}

TEST_CASE("the mean over samples is the whole loss, and the trace scale makes units irrelevant") {
  const auto o = objective(5, 4);
  const std::vector<double> alpha{0.1, 0.9, 0.5, 0, 1};
  double mean = 0, trace = 0;
  for (std::uint32_t s = 0; s < 4; ++s) mean += o.value(s, view(alpha)) / 4;
  CHECK(o.value(view(alpha)) == Approx(mean).epsilon(1e-12));
  for (std::size_t h = 0; h < 5; ++h) trace += o.unit() * o.mean()[h * 6];
  CHECK(trace == Approx(1).epsilon(1e-12));
  gate_objective scaled(5);
  for (std::uint32_t s = 0; s < 4; ++s) {
    auto d = gram(5, 100 + s);
    for (double& x : d) x *= 1e-7;
    REQUIRE(scaled.add(d));
  }
  CHECK(scaled.value(view(alpha)) == Approx(o.value(view(alpha))).epsilon(1e-12));
}

TEST_CASE("the solver finds what a search over the box finds") {
  for (const double lambda : {0.01, 0.05, 0.5, 5.0}) {
    const auto o = objective(3, 2, {.lambda = lambda});
    std::vector<double> best, at(3);
    static_cast<void>(solve_gates(o, best));
    const double least = o.value(view(best));
    double searched = 1e9;
    const int n = 50;
    for (int a = 0; a <= n; ++a)
      for (int b = 0; b <= n; ++b)
        for (int c = 0; c <= n; ++c) {
          at = {a / static_cast<double>(n), b / static_cast<double>(n), c / static_cast<double>(n)};
          searched = std::min(searched, o.value(view(at)));
        }
    CHECK(least <= searched + 1e-12);
    CHECK(searched - least < 2e-3);
  }
  // alone, a head streams wholly when its loss is under λ/2 of the average head's
  gate_objective lone(4);
  REQUIRE(lone.add(std::vector<double>{1, 0, 0, 0, 0, 0.024, 0, 0, 0, 0, 0.026, 0, 0, 0, 0, 2.95}));
  std::vector<double> best;
  static_cast<void>(solve_gates(lone, best));
  CHECK(best[1] == 0);
  CHECK(best[2] == Approx(1 - 0.025 / 0.026));
  CHECK(best[0] == Approx(0.975));
  gate_objective empty(2);
  REQUIRE(empty.add(std::vector<double>(4, 0.0)));
  static_cast<void>(solve_gates(empty, best));
  CHECK(best == std::vector<double>{0, 0});
}

namespace {
/// Passes around an anchor: the state that heads alone and pairs of them make, as a model would; D [5][5] of four heads.
struct little_model {
  static constexpr std::uint32_t heads = 4, tokens = 2, channels = 3, n = tokens * channels;
  std::vector<float> own = differences(heads, tokens, channels, 11), pair = differences(heads * heads, tokens, channels, 12);

  std::vector<double> state(const std::vector<std::uint8_t>& whole) const {
    std::vector<double> h(n, 0.0);
    for (std::uint32_t i = 0; i < heads; ++i)
      for (std::uint32_t k = 0; k < n && whole[i]; ++k) {
        h[k] += static_cast<double>(own[i * n + k]);
        for (std::uint32_t j = 0; j < i; ++j) h[k] += whole[j] ? static_cast<double>(pair[(i * heads + j) * n + k]) : 0.0;
      }
    return h;
  }
  double distance(const std::vector<std::uint8_t>& whole) const {
    const auto a = state(std::vector<std::uint8_t>(heads, 1)), b = state(whole);
    double sum = 0;
    for (std::uint32_t k = 0; k < n; ++k) sum += (a[k] - b[k]) * (a[k] - b[k]) / n;
    return sum;
  }
  std::vector<double> around(const std::vector<std::uint8_t>& anchor) const {
    const auto base = state(anchor), full = state(std::vector<std::uint8_t>(heads, 1));
    std::vector<float> moves;
    for (std::uint32_t i = 0; i < heads; ++i) {
      auto other = anchor;
      other[i] ^= 1;
      const auto to = state(other);
      for (std::uint32_t k = 0; k < n; ++k) moves.push_back(static_cast<float>(anchor[i] ? base[k] - to[k] : to[k] - base[k]));
    }
    for (std::uint32_t k = 0; k < n; ++k) moves.push_back(static_cast<float>(full[k] - base[k]));
    std::vector<double> d((heads + 1) * (heads + 1));
    gate_gram(moves.data(), heads + 1, tokens, channels, d.data());
    return d;
  }
};
}  // namespace

TEST_CASE("around an anchor the loss is the distance to the full cache, at it and one head away") {
  const little_model m;
  for (const std::vector<std::uint8_t>& anchor : {std::vector<std::uint8_t>{0, 1, 0, 1}, {0, 0, 0, 0}, {1, 1, 1, 1}}) {
    gate_objective o(4, {.lambda = 0, .scale = gate_scale::none}, anchor);
    CHECK(o.width() == 5);
    CHECK(describe(o.add(std::vector<double>(16))) == "out_of_range: D (how many elements) is 16, allowed 25 to 25");
    REQUIRE(o.add(m.around(anchor)));
    for (std::uint32_t flip = 0; flip <= 4; ++flip) {
      auto heads = anchor;
      if (flip < 4) heads[flip] ^= 1;
      const std::vector<double> alpha(heads.begin(), heads.end());
      CHECK(o.value(view(alpha)) == Approx(m.distance(heads)).epsilon(1e-5).margin(1e-9));
    }
    std::vector<double> best, gradient(4), alpha{0.2, 0.7, 0.4, 0.9};
    o.gradient(0, view(alpha), std::span<double>(gradient));
    for (std::size_t h = 0; h < 4; ++h) {
      auto up = alpha, down = alpha;
      up[h] += 1e-5, down[h] -= 1e-5;
      CHECK(gradient[h] == Approx((o.value(view(up)) - o.value(view(down))) / 2e-5).epsilon(1e-6).margin(1e-10));
    }
    o.set_lambda(0.1);
    static_cast<void>(solve_gates(o, best));
    for (const double g : best) CHECK((g >= 0 && g <= 1));
    for (std::size_t h = 0; h < 4; ++h)
      for (const double step : {-1e-4, 1e-4}) {
        auto moved = best;
        moved[h] = std::clamp(moved[h] + step, 0.0, 1.0);
        CHECK(o.value(view(moved)) >= o.value(view(best)) - 1e-12);
      }
  }
  // all whole is the paper's loss
  const std::vector<std::uint8_t> whole(4, 1);
  const auto wide = m.around(whole);
  std::vector<double> d;
  for (std::size_t i = 0; i < 4; ++i) d.insert(d.end(), wide.begin() + static_cast<std::ptrdiff_t>(i * 5), wide.begin() + static_cast<std::ptrdiff_t>(i * 5 + 4));
  gate_objective plain(4), anchored(4, {}, whole);
  REQUIRE(plain.add(d));
  REQUIRE(anchored.add(wide));
  const std::vector<double> alpha{0.1, 0.5, 1, 0};
  CHECK(plain.value(view(alpha)) == Approx(anchored.value(view(alpha))).epsilon(1e-12));
}

TEST_CASE("a budget of heads is what the gates sum to") {
  auto o = objective(12, 3);
  for (const double keep : {1.0, 3.0, 6.0, 11.0}) {
    set_budget(o, keep);
    std::vector<double> best;
    static_cast<void>(solve_gates(o, best));
    double sum = 0;
    for (const double g : best) sum += g;
    CHECK(sum == Approx(keep).margin(2e-3));
  }
}

TEST_CASE("training reaches the optimum with any optimizer and schedule, in double and float") {
  const auto o = objective(12, 5, {.lambda = 1});
  std::vector<double> best;
  static_cast<void>(solve_gates(o, best));
  const double least = o.value(view(best)), start = o.value(view(std::vector<double>(12, 1.0)));
  REQUIRE(start - least > 0.1);
  const auto reach = [&](auto optimizer, const auto& rates) {
    trained_gates out;
    REQUIRE(train_gates(o, optimizer, rates, {.steps = rates.steps, .seed = 1, .history_every = 100}, out));
    CHECK(out.gates.size() == 12);
    for (const double g : out.gates) CHECK((g >= 0 && g <= 1));
    CHECK(out.objective.front() == Approx(start));
    CHECK(out.at.back() == rates.steps);
    CHECK(out.objective.back() - least < 0.01 * (start - least));
    CHECK(out.objective.back() >= least - 1e-7);
  };
  reach(adamw<double>(12), rate_schedule<profile::linear>{.peak = 0.02, .steps = 3000});
  reach(adamw<float>(12), rate_schedule<profile::rex>{.peak = 0.02, .steps = 3000});
  reach(sgd<double>(12, {.momentum = 0.9}), rate_schedule<profile::cosine>{.peak = 0.1, .steps = 3000});
  reach(sgd<float>(12), rate_schedule<profile::one_cycle>{.peak = 1, .steps = 3000});
}

TEST_CASE("training is a function of its seed, and the recorder sees it") {
  const auto o = objective(6, 4);
  const rate_schedule<profile::linear> rates{.peak = 0.05, .steps = 50};
  norm_recorder seen(64);
  const auto train = [&](std::uint64_t seed, std::uint64_t every) {
    adamw<double> a(6);
    trained_gates out;
    seen.clear();
    REQUIRE(train_gates(o, a, rates, {.steps = 50, .seed = seed, .history_every = every, .recorder = &seen}, out));
    return out;
  };
  const auto a = train(1, 0), b = train(1, 7), c = train(2, 0);
  CHECK(a.gates == b.gates);
  CHECK(a.gates != c.gates);
  CHECK(a.at == std::vector<std::uint64_t>{0, 50});
  CHECK(b.at == std::vector<std::uint64_t>{0, 7, 14, 21, 28, 35, 42, 49, 50});
  CHECK(seen.steps() == 50);
  CHECK(seen.l1()[0] > 0);
  adamw<double> none(6);
  trained_gates still;
  REQUIRE(train_gates(o, none, rates, {.steps = 0}, still));
  CHECK(still.gates == std::vector<double>(6, 1.0));
}

TEST_CASE("samples that are no Gram matrices, and training without any, are refused") {
  gate_objective o(2);
  CHECK(describe(o.add(std::vector<double>(3))) == "out_of_range: D (how many elements) is 3, allowed 4 to 4");
  CHECK(o.add(std::vector<double>{1, 0, 0, std::nan("")}) == status{errc::not_finite, "element of D", 3});
  CHECK(o.add(std::vector<double>{1, 0.5, 0.4, 1}).code == errc::corrupt);
  CHECK(o.add(std::vector<double>{1, 2, 2, 1}).code == errc::corrupt);
  CHECK(o.add(std::vector<double>{-1, 0, 0, 1}).code == errc::corrupt);
  CHECK(o.samples() == 0);
  adamw<double> a(2), wrong(3);
  trained_gates out;
  const rate_schedule<profile::linear> rates{.peak = 1, .steps = 5};
  CHECK(describe(train_gates(o, a, rates, {}, out)) == "out_of_range: samples is 0, allowed 1 to 1073741824");
  REQUIRE(o.add(std::vector<double>{1, 0, 0, 1}));
  CHECK(describe(train_gates(o, wrong, rates, {}, out)) == "out_of_range: optimizer size is 3, allowed 2 to 2");
  CHECK(out.gates.empty());
}
