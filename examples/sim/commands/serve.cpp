// SPDX-License-Identifier: Apache-2.0
#include "serve.hpp"

#include <unistd.h>

#include <chrono>
#include <memory>

#include "../report.hpp"
#include "plot.hpp"
#include "setup.hpp"

namespace quire_sim {

namespace sim = quire::serve::simulate;

int serve(const serve_command& o) {
  const setup s = make_setup(o);
  workload_options wo = o.workload;
  wo.first_token = o.first_token;
  const named_workload w = make_workload(wo);
  std::unique_ptr<perfetto_file> trace;
  if (!o.perfetto.empty()) trace = std::make_unique<perfetto_file>(o.perfetto);
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  auto last = std::chrono::steady_clock::now();
  std::vector<outcome> all;
  for (const policy_spec& p : s.policies) {
    if (trace) trace->begin(p.name);
    all.push_back(simulate(p, w.work, s.cost, s.engine, [&](const sim::step_event& e) {
      if (trace) trace->step(e);
      if (!terminal || e.step->number % 256 != 0 || std::chrono::steady_clock::now() - last < std::chrono::milliseconds(100)) return;
      last = std::chrono::steady_clock::now();
      std::fprintf(stderr, "\r\033[K%s: step %llu, %.1f s, %u running, %u waiting", p.name.c_str(), static_cast<unsigned long long>(e.step->number), e.end, e.running, e.waiting);
    }));
    if (terminal) std::fputs("\r\033[K", stderr);
  }
  if (trace) trace->finish();
  std::printf("%s, %zu requests, %s (%s), %u rows\n", w.name.c_str(), w.work.jobs.size(), o.cost.c_str(), s.cost.source.c_str(), s.engine.rows);
  print_table(all, s.level, stdout);
  if (o.json.empty() && o.plot.empty()) return 0;
  nlohmann::ordered_json report{{"workload", w.name}, {"requests", w.work.jobs.size()}, {"seed", o.workload.seed}, {"rate", o.workload.rate}, {"cost_model", o.cost},
                                {"memory_rows", s.engine.rows}, {"tau", s.engine.tau}, {"max_running", s.engine.max_running}, {"launch_seconds", s.engine.launch},
                                {"policies", nlohmann::ordered_json::array()}};
  for (outcome& x : all) report["policies"].push_back(to_json(x, s.level, s.engine.row_bytes));
  if (!o.json.empty()) write_json(report, o.json, "--json");
  if (!o.plot.empty()) plot(all, w.name, o.plot);
  return 0;
}

}  // namespace quire_sim
