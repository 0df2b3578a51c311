// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cmath>

#include "../error.hpp"
#include "../report.hpp"
#include "quire/serve/simulate/capacity.hpp"
#include "serve.hpp"
#include "setup.hpp"

namespace quire_sim {

namespace sim = quire::serve::simulate;

int capacity(const capacity_command& o) {
  const setup s = make_setup(o);
  if (!(o.gap > 0)) throw bad_input("--slo-tbt is missing, allowed a number of seconds above 0");
  if (o.workload.pile || !o.workload.grid.empty()) throw bad_input("--pile or --grid is given, allowed requests that come at a rate");
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  nlohmann::ordered_json report{{"trace", o.workload.trace.substr(o.workload.trace.find_last_of('/') + 1)}, {"cost_model", o.cost}, {"requests", o.workload.requests}, {"seed", o.workload.seed},
                                {"slo_tbt", o.gap}, {"slo_delay", o.delay}, {"tau", s.engine.tau}, {"max_running", s.engine.max_running}, {"memory_rows", s.engine.rows},
                                {"policies", nlohmann::ordered_json::array()}};
  std::printf("%-16s %10s %10s %12s %12s %8s\n", "policy", "requests/s", "fails at", "TBT P99", "delay P50", "trials");
  for (const policy_spec& p : s.policies) {
    auto trials = nlohmann::ordered_json::array();
    const auto r = sim::find_capacity(
        {.gap_limit = o.gap, .delay_limit = o.delay, .start = o.start, .precision = o.precision, .most_trials = o.trials},
        [&](double rate) {
          workload_options wo = o.workload;
          wo.rate = rate;
          outcome x = simulate(p, make_workload(wo).work, s.cost, s.engine);
          const sim::trial_result t{x.report.gap.quantile(0.99), x.report.delay.quantile(0.5)};
          trials.push_back({{"rate", rate}, {"p99_tbt", t.p99_gap}, {"p50_delay", t.median_delay}, {"p50_ttft", x.report.first_token.quantile(0.5)}, {"requests_per_second", x.report.request_rate()}});
          return t;
        },
        [&](const sim::capacity_result& c, double rate, bool held) {
          if (terminal) std::fprintf(stderr, "\r\033[K%s: trial %u, %.2f requests/s %s", p.name.c_str(), c.trials, rate, held ? "holds" : "does not hold");
        });
    if (terminal) std::fputs("\r\033[K", stderr);
    std::printf("%-16s %10.2f %10.2f %9.1f ms %10.3f s %8u\n", p.name.c_str(), r.per_second, r.refused, r.at.p99_gap * 1e3, r.at.median_delay, r.trials);
    report["policies"].push_back({{"policy", p.name}, {"capacity", r.per_second}, {"refused", std::isfinite(r.refused) ? nlohmann::ordered_json(r.refused) : nullptr}, {"p99_tbt", r.at.p99_gap},
                                  {"p50_delay", r.at.median_delay}, {"trials", trials}});
  }
  if (!o.json.empty()) write_json(report, o.json, "--json");
  return 0;
}

}  // namespace quire_sim
