// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "quire/calibrate/gate_samples.hpp"
#include "quire/calibrate/gates.hpp"
#include "quire/core/random.hpp"
#include "schedules.hpp"

namespace bench {

/// Heads whose importance falls over two orders of magnitude, that share directions with others of their layer, seen through samples
/// that differ: Gram matrices of vectors, as a model would give.
inline cal::gate_samples synthetic_gates(std::uint64_t seed) {
  constexpr std::uint32_t tokens = 8, channels = 24, n = tokens * channels;
  cal::gate_samples out{.layers = 30, .kv_heads = 3, .samples = 16, .d = {}};
  quire::splitmix64 random(seed);
  const auto normal = [&] {  // sum of uniforms: the same everywhere
    double x = -6;
    for (int i = 0; i < 12; ++i) x += random.unit();
    return x;
  };
  std::vector<double> size(out.heads()), lean(out.heads());
  for (double& s : size) s = std::exp(1.2 * normal());
  for (double& l : lean) l = normal();
  for (std::uint32_t s = 0; s < out.samples; ++s) {
    std::vector<float> vectors;
    for (std::uint32_t layer = 0; layer < out.layers; ++layer) {
      std::vector<double> shared(n);
      for (double& x : shared) x = normal();
      for (std::uint32_t h = layer * out.kv_heads; h < (layer + 1) * out.kv_heads; ++h) {
        const double own = size[h] * std::exp(0.5 * normal());
        for (const double x : shared) vectors.push_back(static_cast<float>(own * (normal() + lean[h] * x)));
      }
    }
    std::vector<double> d(out.heads() * out.heads());
    cal::gate_gram(vectors.data(), static_cast<std::uint32_t>(out.heads()), tokens, channels, d.data());
    out.d.insert(out.d.end(), d.begin(), d.end());
  }
  return out;
}

/// For each budget and schedule the share of the way from gates of 1 to the optimum that is still left, at the schedule's best rate.
inline int compare_gates(const char* file) {
  cal::gate_samples samples = synthetic_gates(5);
  if (file) {
    std::ifstream in(file, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (const quire::status s = cal::gate_file::read(std::as_bytes(std::span(bytes)), samples); !s) {
      std::fprintf(stderr, "bench_calibrate: %s: %s\n", file, describe(s).c_str());
      return 2;
    }
  }
  const auto heads = static_cast<std::uint32_t>(samples.heads());
  auto list = plain_candidates();
  list.push_back({"trapezoid of the paper", {.profile = cal::profile::wsd<>{.cool = 0.25}, .warmup = 0.2, .warmup_start = 0, .floor = 0.1}});
  list.push_back({"refined", {}});
  for (const double lambda : {0.05, 1.0}) {
    cal::gate_objective objective(heads, {.lambda = lambda});
    for (std::uint32_t s = 0; s < samples.samples; ++s)
      if (const quire::status ok = objective.add(samples.sample(s)); !ok) {
        std::fprintf(stderr, "bench_calibrate: sample %u: %s\n", s, describe(ok).c_str());
        return 2;
      }
    std::vector<double> best(heads), ones(heads, 1.0);
    static_cast<void>(cal::solve_gates(objective, best));
    const double least = objective.value(std::span<const double>(best)), start = objective.value(std::span<const double>(ones));
    std::printf("{\"what\": \"gate objective\", \"source\": \"%s\", \"heads\": %u, \"samples\": %u, \"lambda\": %g, \"start\": %.8g, \"optimum\": %.8g, \"streaming\": %lld}\n",
                file ? "recorded" : "synthetic", heads, samples.samples, lambda, start, least, static_cast<long long>(std::count_if(best.begin(), best.end(), [](double a) { return a < 0.5; })));
    for (const std::uint64_t steps : {25u, 50u, 100u, 200u, 400u, 800u, 1600u}) {
      double linear_rate = 0;
      for (auto& [who, schedule] : list) {
        const auto run = [&, &s = schedule](double rate, std::uint64_t seed, cal::norm_recorder* seen = nullptr) {
          cal::adamw<double> adam(heads);
          cal::trained_gates out;
          if (!cal::train_gates(objective, adam, at(s, rate, steps), {.steps = steps, .seed = seed, .history_every = 0, .recorder = seen}, out))
            return std::numeric_limits<double>::infinity();
          return (out.objective.back() - least) / (start - least);
        };
        cal::refined_profile refined;
        if (who == "refined") {  // from linear's run of the same budget
          cal::norm_recorder seen;
          schedule = {.profile = cal::profile::linear{}};
          static_cast<void>(run(linear_rate, 1000, &seen));
          if (!cal::refine(seen.l1(), {.exponent = 1}, refined)) return 1;
          schedule = {.profile = refined.profile};
        }
        const tuned best_rate = tune(-10, 0, 2, [&](double rate, std::uint64_t seed) { return run(rate, seed); });
        if (who == "linear") linear_rate = best_rate.rate;
        std::vector<double> gaps;
        for (std::uint64_t seed = 0; seed < 10; ++seed) gaps.push_back(run(best_rate.rate, seed));
        const summary s = summarise(gaps);
        std::printf("{\"what\": \"gates\", \"source\": \"%s\", \"lambda\": %g, \"steps\": %llu, \"schedule\": \"%s\", \"rate\": %.10g, \"rate_at_edge\": %s, "
                    "\"gap\": %.6g, \"standard_error\": %.3g%s}\n",
                    file ? "recorded" : "synthetic", lambda, static_cast<unsigned long long>(steps), who.c_str(), best_rate.rate, best_rate.at_edge ? "true" : "false", s.mean, s.error,
                    who != "refined" ? "" : refined.outcome == cal::refinement::refined ? ", \"outcome\": \"refined\"" : ", \"outcome\": \"linear\"");
        std::fflush(stdout);
      }
    }
  }
  return 0;
}

}  // namespace bench
