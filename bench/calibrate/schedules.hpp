// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "problem.hpp"
#include "quire/calibrate/refine.hpp"
#include "quire/calibrate/schedule_bound.hpp"
#include "quire/calibrate/schedule_text.hpp"

namespace bench {

using candidate = std::pair<std::string, cal::any_schedule>;

inline std::vector<candidate> plain_candidates() {
  return {{"flat", {.profile = cal::profile::constant{}}},
          {"step 30-60-90", {.profile = cal::profile::step{}}},
          {"exp(-3s)", {.profile = cal::profile::exponential{}}},
          {"one-cycle", {.profile = cal::profile::one_cycle{}}},
          {"cosine", {.profile = cal::profile::cosine{}}},
          {"wsd 20%", {.profile = cal::profile::wsd<>{}}},
          {"linear", {.profile = cal::profile::linear{}}},
          {"rex 0.5", {.profile = cal::profile::rex{}}}};
}
inline cal::any_schedule at(cal::any_schedule s, double peak, std::uint64_t steps) {
  s.peak = peak;
  s.steps = steps;
  return s;
}
inline std::pair<int, int> grid(method m) { return m == method::adam ? std::pair{-12, 1} : std::pair{-9, 5}; }

/// Every schedule at its own best rate; the refined ones from the norms of one linear run at linear's best rate. `refined`
/// is what the library gives (with its fall-back); `refined, no guard` shows what the guard is for.
inline void compare_refined(const table& t, double noise, std::uint64_t seeds) {
  const double epochs = 20;
  const std::uint64_t steps = steps_of(t, epochs), tuning_seeds = 3;
  for (const method m : {method::sgd, method::adam}) {
    const auto [low, high] = grid(m);
    auto list = plain_candidates();
    const auto tune_one = [&, low = low, high = high](const cal::any_schedule& s) {
      return tune(low, high, tuning_seeds, [&](double rate, std::uint64_t seed) { return train(t, m, at(s, rate, steps), steps, seed); });
    };
    const tuned base = tune_one({.profile = cal::profile::linear{}});
    cal::norm_recorder seen;
    static_cast<void>(train(t, m, at({.profile = cal::profile::linear{}}, base.rate, steps), steps, 1000, &seen));
    const auto norms = m == method::adam ? seen.l1() : seen.l2();
    const std::uint32_t q = m == method::adam ? 1 : 2;
    cal::refined_profile guarded, bare;
    const double infinite = std::numeric_limits<double>::infinity();
    if (!cal::refine(norms, {.exponent = q}, guarded) || !cal::refine(norms, {.exponent = q, .floor = 0, .most_spread = infinite}, bare)) return;
    list.push_back({"refined", {.profile = guarded.profile}});
    list.push_back({"refined, no guard", {.profile = bare.profile}});
    for (const auto& [who, schedule] : list) {
      const tuned best = who == "linear" ? base : tune_one(schedule);
      std::vector<double> losses;
      for (std::uint64_t seed = 0; seed < seeds; ++seed) losses.push_back(train(t, m, at(schedule, best.rate, steps), steps, seed));
      const summary s = summarise(losses);
      std::vector<double> rates(norms.size());
      for (std::size_t i = 0; i < rates.size(); ++i) rates[i] = at(schedule, 1, rates.size()).value(i);
      cal::schedule_bound bound;
      static_cast<void>(cal::bound_of(rates, norms, 1, bound));
      std::printf("{\"what\": \"refine\", \"set\": \"%s\", \"label_noise\": %g, \"optimizer\": \"%s\", \"steps\": %llu, \"seeds\": %llu, \"schedule\": \"%s\", "
                  "\"rate\": %.10g, \"rate_at_edge\": %s, \"loss\": %.8g, \"standard_error\": %.3g, \"bound_per_distance\": %.5g",
                  t.name.c_str(), noise, name(m), static_cast<unsigned long long>(steps), static_cast<unsigned long long>(seeds), who.c_str(), best.rate,
                  best.at_edge ? "true" : "false", s.mean, s.error, bound.best_value());
      if (who.starts_with("refined")) {
        const cal::refined_profile& r = who == "refined" ? guarded : bare;
        std::printf(", \"outcome\": \"%s\", \"spread\": %.4g, \"peak_at\": %.4g, \"profile\": [",
                    r.outcome == cal::refinement::refined ? "refined" : "vanishing norms: linear", r.spread, r.peak_at);
        for (int i = 0; i <= 64; ++i) std::printf("%s%.4g", i ? ", " : "", r.profile(i / 64.0));
        std::printf("]");
      }
      std::printf("}\n");
      std::fflush(stdout);
    }
  }
}

/// Each budget is a run of its own with the schedule over all of it, and a rate of its own.
inline void compare_budgets(const table& t, double noise, std::uint64_t seeds) {
  for (const method m : {method::sgdm, method::adam})
    for (const double percent : {1.0, 5.0, 10.0, 25.0, 50.0, 100.0}) {
      const std::uint64_t steps = steps_of(t, percent);
      const auto [low, high] = grid(m);
      for (const auto& [who, schedule] : plain_candidates()) {
        const tuned best = tune(low, high, 2, [&, &s = schedule](double rate, std::uint64_t seed) { return train(t, m, at(s, rate, steps), steps, seed); });
        std::vector<double> losses;
        for (std::uint64_t seed = 0; seed < seeds; ++seed) losses.push_back(train(t, m, at(schedule, best.rate, steps), steps, seed));
        const summary s = summarise(losses);
        std::printf("{\"what\": \"budget\", \"set\": \"%s\", \"label_noise\": %g, \"optimizer\": \"%s\", \"percent\": %g, \"steps\": %llu, \"seeds\": %llu, "
                    "\"schedule\": \"%s\", \"rate\": %.10g, \"rate_at_edge\": %s, \"loss\": %.8g, \"standard_error\": %.3g}\n",
                    t.name.c_str(), noise, name(m), percent, static_cast<unsigned long long>(steps), static_cast<unsigned long long>(seeds), who.c_str(), best.rate,
                    best.at_edge ? "true" : "false", s.mean, s.error);
        std::fflush(stdout);
      }
    }
}

}  // namespace bench
