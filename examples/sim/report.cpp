// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "error.hpp"

namespace quire_sim {
namespace {

using json = nlohmann::ordered_json;
namespace sim = quire::serve::simulate;

/// NaN has no JSON: null.
json number(double x) { return std::isfinite(x) ? json(x) : json(nullptr); }

json quantiles(sim::samples& s) {
  return {{"count", s.size()}, {"mean", number(s.mean())}, {"p50", number(s.quantile(0.5))}, {"p90", number(s.quantile(0.9))}, {"p95", number(s.quantile(0.95))},
          {"p99", number(s.quantile(0.99))}, {"p999", number(s.quantile(0.999))}, {"max", number(s.worst())}};
}
sim::samples preempted_for(const sim::report& r) {
  sim::samples s;
  for (const sim::lifeline& l : r.lives)
    if (l.finished >= 0) s.add(l.preempted_for);
  return s;
}
std::string text(double x, const char* format) {
  if (!std::isfinite(x)) return "-";
  char out[64];
  std::snprintf(out, sizeof out, format, x);
  return out;
}
/// Seconds in a unit that leaves three digits.
std::string time(double x) {
  if (!std::isfinite(x)) return "-";
  return x >= 1 || x == 0 ? text(x, "%.3g s") : x >= 1e-3 ? text(x * 1e3, "%.3g ms") : text(x * 1e6, "%.3g us");
}

}  // namespace

json to_json(outcome& o, const sim::service_level& level, std::uint64_t row_bytes) {
  sim::report& r = o.report;
  sim::samples lost = preempted_for(r);
  json out{{"policy", o.policy.name},
           {"order", o.policy.order},
           {"batching", o.policy.batching},
           {"admission", o.policy.admission},
           {"victim", o.policy.victim},
           {"preemption", o.policy.preemption},
           {"makespan", r.makespan},
           {"finished", r.finished},
           {"failed", r.failed},
           {"steps", r.steps},
           {"output_tokens_per_second", r.output_rate()},
           {"requests_per_second", r.request_rate()},
           {"goodput", r.goodput(level)},
           {"ttft", quantiles(r.first_token)},
           {"tbt", quantiles(r.gap)},
           {"delay", quantiles(r.delay)},
           {"latency", quantiles(r.latency)}};
  out["tbt"]["worst_tenth_mean"] = number(r.gap.worst_tenth());
  out.update({{"busy", r.busy},
              {"stalled", r.stalled},
              {"preempted_for", quantiles(lost)},
              {"tokens_per_step", {{"mean", r.step_tokens.mean()}, {"cv", r.step_tokens.variation()}, {"max", r.most_tokens}}},
              {"running", {{"mean", r.running.mean()}, {"max", r.most_running}}},
              {"prompt_tokens", r.prompt_tokens},
              {"output_tokens", r.output_tokens},
              {"computed_tokens", r.computed_tokens},
              {"recomputed_tokens", r.recomputed_tokens},
              {"preempted", r.preempted},
              {"yielded", r.yielded},
              {"swapped", o.scheduler.swapped},
              {"relegated", o.scheduler.relegated},
              {"jain", r.jain},
              {"service_gap", r.service_gap},
              {"cache", {{"hit_tokens", o.cache.hit}, {"evicted_blocks", o.cache.evicted}, {"evicted_pins", o.cache.evicted_pins}, {"waits", o.cache.waits}, {"most_held_blocks", o.cache.most_held}}},
              {"plan", {{"groups", o.groups}, {"saves_tokens", o.plan_saves}}},
              {"swap", {{"bytes", o.swap.bytes_out + o.swap.bytes_in}, {"bytes_out", o.swap.bytes_out}, {"bytes_in", o.swap.bytes_in}, {"copies", o.swap.copies_out + o.swap.copies_in},
                        {"blocks", o.swap.blocks_out + o.swap.blocks_in}, {"spared_blocks", o.swap.spared}, {"degraded", o.swap.degraded}, {"evicted_host_blocks", o.swap.evicted}, {"row_bytes", row_bytes}}},
              {"wall_seconds", o.wall_seconds}});
  return out;
}

void print_table(std::vector<outcome>& all, const sim::service_level& level, std::FILE* to) {
  std::vector<std::vector<std::string>> rows{{""}};
  for (const outcome& o : all) rows[0].push_back(o.policy.name);
  const auto add = [&](const char* name, auto value) {
    std::vector<std::string> row{name};
    bool any = false;
    for (outcome& o : all) row.push_back(value(o)), any |= row.back() != "0" && row.back() != "-" && row.back() != "0 s";
    if (any) rows.push_back(std::move(row));
  };
  add("finished", [](outcome& o) { return std::to_string(o.report.finished); });
  add("failed", [](outcome& o) { return std::to_string(o.report.failed); });
  add("makespan", [](outcome& o) { return time(o.report.makespan); });
  add("output tok/s", [](outcome& o) { return text(o.report.output_rate(), "%.1f"); });
  add("requests/s", [](outcome& o) { return text(o.report.request_rate(), "%.3f"); });
  if (std::isfinite(level.gap) || std::isfinite(level.first_token)) add("goodput/s", [&](outcome& o) { return text(o.report.goodput(level), "%.3f"); });
  add("TTFT P50", [](outcome& o) { return time(o.report.first_token.quantile(0.5)); });
  add("TTFT P99", [](outcome& o) { return time(o.report.first_token.quantile(0.99)); });
  add("TTFT P99.9", [](outcome& o) { return time(o.report.first_token.quantile(0.999)); });
  add("TBT P50", [](outcome& o) { return time(o.report.gap.quantile(0.5)); });
  add("TBT P99", [](outcome& o) { return time(o.report.gap.quantile(0.99)); });
  add("TBT P99.9", [](outcome& o) { return time(o.report.gap.quantile(0.999)); });
  add("TBT worst tenth", [](outcome& o) { return time(o.report.gap.worst_tenth()); });
  add("TBT worst", [](outcome& o) { return time(o.report.gap.worst()); });
  add("delay P50", [](outcome& o) { return time(o.report.delay.quantile(0.5)); });
  add("delay P99", [](outcome& o) { return time(o.report.delay.quantile(0.99)); });
  add("stalled", [](outcome& o) { return time(o.report.stalled); });
  add("steps", [](outcome& o) { return std::to_string(o.report.steps); });
  add("tokens/step", [](outcome& o) { return text(o.report.step_tokens.mean(), "%.1f"); });
  add("  variation", [](outcome& o) { return text(o.report.step_tokens.variation(), "%.2f"); });
  add("running", [](outcome& o) { return text(o.report.running.mean(), "%.1f"); });
  add("computed tokens", [](outcome& o) { return std::to_string(o.report.computed_tokens); });
  add("recomputed", [](outcome& o) { return std::to_string(o.report.recomputed_tokens); });
  add("found in cache", [](outcome& o) { return std::to_string(o.cache.hit); });
  add("evicted blocks", [](outcome& o) { return std::to_string(o.cache.evicted); });
  add("planned groups", [](outcome& o) { return std::to_string(o.groups); });
  add("preempted", [](outcome& o) { return std::to_string(o.report.preempted); });
  add("gave way", [](outcome& o) { return std::to_string(o.report.yielded); });
  add("GB moved", [](outcome& o) { return o.swap.bytes_out + o.swap.bytes_in == 0 ? "0" : text(static_cast<double>(o.swap.bytes_out + o.swap.bytes_in) * 1e-9, "%.2f"); });
  add("copies", [](outcome& o) { return std::to_string(o.swap.copies_out + o.swap.copies_in); });
  add("swaps refused", [](outcome& o) { return std::to_string(o.swap.degraded); });
  add("Jain index", [](outcome& o) { return o.report.jain == 1 ? "-" : text(o.report.jain, "%.3f"); });
  add("service gap", [](outcome& o) { return o.report.service_gap == 0 ? "-" : text(o.report.service_gap, "%.0f"); });
  std::vector<std::size_t> width(rows[0].size());
  for (const auto& r : rows)
    for (std::size_t c = 0; c < r.size(); ++c) width[c] = std::max(width[c], r[c].size());
  for (const auto& r : rows) {
    std::string line = r[0] + std::string(width[0] - r[0].size(), ' ');
    for (std::size_t c = 1; c < r.size(); ++c) line += "  " + std::string(width[c] - r[c].size(), ' ') + r[c];
    std::fprintf(to, "%s\n", line.c_str());
  }
}

void write_json(const json& what, const std::string& path, const std::string& flag) {
  std::ofstream file(path);
  file << what.dump(2) << "\n";
  file.close();
  if (!file) throw std::runtime_error(flag + " " + legible(path) + " can't be written: " + std::strerror(errno));
}

perfetto_file::perfetto_file(const std::string& path) : path_(path), out_(path) {
  if (!out_) throw bad_input("--perfetto is " + legible(path) + ", which can't be opened: " + std::strerror(errno));
  out_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
}
void perfetto_file::event(const json& e) {
  out_ << (first_ ? "" : ",\n") << e.dump();
  first_ = false;
}
void perfetto_file::begin(const std::string& policy) {
  ++process_;
  event({{"ph", "M"}, {"name", "process_name"}, {"pid", process_}, {"tid", 1}, {"args", {{"name", policy}}}});
  event({{"ph", "M"}, {"name", "thread_name"}, {"pid", process_}, {"tid", 1}, {"args", {{"name", "steps"}}}});
}
void perfetto_file::step(const sim::step_event& e) {
  const auto& w = e.work;
  const char* kind = w.prefills == 0 ? "decode" : w.decodes == 0 ? "prefill" : "mixed";
  if (e.begin > e.planned) event({{"ph", "X"}, {"name", "wait for copies"}, {"pid", process_}, {"tid", 1}, {"ts", e.planned * 1e6}, {"dur", (e.begin - e.planned) * 1e6}});
  event({{"ph", "X"}, {"name", kind}, {"pid", process_}, {"tid", 1}, {"ts", e.begin * 1e6}, {"dur", (e.end - e.begin) * 1e6},
         {"args", {{"step", e.step->number}, {"prompt tokens", w.prefill_tokens}, {"chunks", w.prefills}, {"decodes", w.decodes}, {"rows read", w.decode_context}}}});
  event({{"ph", "C"}, {"name", "requests"}, {"pid", process_}, {"ts", e.begin * 1e6}, {"args", {{"running", e.running}, {"waiting", e.waiting}}}});
  event({{"ph", "C"}, {"name", "tokens"}, {"pid", process_}, {"ts", e.begin * 1e6}, {"args", {{"prompt", w.prefill_tokens}, {"decode", w.decodes}}}});
}
void perfetto_file::finish() {
  out_ << "\n]}\n";
  out_.close();
  if (!out_) throw std::runtime_error("--perfetto " + legible(path_) + " can't be written: " + std::strerror(errno));
}

}  // namespace quire_sim
