// SPDX-License-Identifier: Apache-2.0
#include "workloads.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "error.hpp"
#include "traces.hpp"

namespace quire_sim {
namespace {

namespace sim = quire::serve::simulate;

/// Where the normal distribution function reaches p, by bisection on erfc.
double normal_quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 100; ++i) {
    const double z = (low + high) / 2;
    (std::erfc(-z / std::sqrt(2.0)) / 2 < p ? low : high) = z;
  }
  return (low + high) / 2;
}

std::vector<std::uint32_t> numbers(const std::string& text, std::size_t count, const std::string& flag) {
  std::vector<std::uint32_t> out;
  const auto refuse = [&] { throw bad_input(flag + " is " + legible(text) + ", allowed PROMPTS,DEGREE,PREFIX,TAIL,OUTPUT: five whole numbers from 1 to 1048576"); };
  for (const std::string_view field : detail::fields(text)) {
    std::uint32_t x = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), x);
    if (error != std::errc() || end != field.data() + field.size() || x == 0 || x > 1u << 20) refuse();
    out.push_back(x);
  }
  if (out.size() != count) refuse();
  return out;
}

sim::workload from_grids(const workload_options& o) {
  sim::workload all;
  std::size_t begin = 0;
  std::vector<sim::job> jobs;
  std::uint64_t text = 0, shared = 0, part = 0;
  while (begin <= o.grid.size()) {
    const std::size_t end = std::min(o.grid.find(';', begin), o.grid.size());
    const auto n = numbers(o.grid.substr(begin, end - begin), 5, "--grid");
    sim::workload w = sim::prefix_grid({.prompts = n[0], .degree = n[1], .prefix = n[2], .tail = n[3], .output = n[4]}, o.seed + part++);
    for (sim::job& j : w.jobs) j.text += text, j.shared_text += shared, jobs.push_back(j);
    text += n[0], shared += n[0] / n[1] + 1;
    begin = end + 1;
  }
  if (part > 1) {  // one pile: mix the parts
    sim::draws r(o.seed);
    for (std::size_t i = jobs.size(); i > 1; --i) std::swap(jobs[i - 1], jobs[r.below(i)]);
  }
  for (std::size_t i = 0; i < jobs.size(); ++i) jobs[i].request.id = i;
  all.jobs = std::move(jobs);
  return all;
}

bool is_synthetic(const std::string& name) { return name == "sharegpt" || name == "arxiv"; }

}  // namespace

std::vector<sim::lengths> synthetic_lengths(const std::string& name) {
  const bool chat = name == "sharegpt";
  const double z90 = normal_quantile(0.9);
  const auto law = [&](double p50, double p90, double p) { return p50 * std::exp(std::log(p90 / p50) / z90 * normal_quantile(p)); };
  std::vector<sim::lengths> out;
  constexpr std::uint32_t n = 2048;
  const std::uint32_t most = chat ? 8192 : 4096;
  for (std::uint32_t i = 0; i < n; ++i) {
    const double p = (i + 0.5) / n, q = ((i * 797u) % n + 0.5) / n;  // 797 is prime to 2048: prompts and answers as good as independent
    const double prompt = chat ? law(1730, 5696, p) : law(2730, 3702, p), output = chat ? law(415, 834, q) : law(167, 372, q);
    const auto answer = static_cast<std::uint32_t>(std::clamp(output, 1.0, most - 1.0));
    out.push_back({static_cast<std::uint32_t>(std::clamp(prompt, 1.0, static_cast<double>(most - answer))), answer});
  }
  return out;
}

named_workload make_workload(const workload_options& o) {
  named_workload out;
  sim::workload& w = out.work;
  if (!o.grid.empty()) {
    if (!o.trace.empty()) throw bad_input("--grid and --trace are both given, allowed one of them");
    w = from_grids(o);
    out.name = "grid " + o.grid;
  } else if (o.trace.empty()) {
    throw bad_input("--trace is missing, allowed a file, sharegpt or arxiv; or --grid");
  } else {
    trace t;
    std::vector<sim::lengths> from;
    out.name = o.trace.substr(o.trace.find_last_of('/') + 1);
    if (is_synthetic(o.trace)) from = synthetic_lengths(o.trace), out.name += " (synthetic)";
    else t = read_trace(o.trace);
    for (const trace_request& r : t.requests) from.push_back({r.prompt_tokens, r.output_tokens});
    if (o.most_tokens != 0) {
      std::erase_if(from, [&](const sim::lengths& n) { return n.prompt + n.output > o.most_tokens; });
      std::erase_if(t.requests, [&](const trace_request& r) { return r.prompt_tokens + r.output_tokens > o.most_tokens; });
    }
    if (from.empty()) throw bad_input("--most-tokens is " + std::to_string(o.most_tokens) + ", which leaves no request of " + legible(o.trace));
    const std::uint32_t count = o.requests != 0 ? o.requests : t.requests.empty() || !t.timed ? 1000 : static_cast<std::uint32_t>(t.requests.size());
    if (o.turns) {
      w = sim::multi_turn(from, {.count = count, .first = {.per_second = o.rate > 0 ? o.rate : 1, .cv = o.cv}, .mean_turns = o.mean_turns}, o.seed);
      out.name += " in turns";
    } else if (t.timed && (o.rate == 0 || t.block_tokens != 0)) {
      w.block_tokens = t.block_tokens == 0 ? 512 : t.block_tokens;
      w.blocks = t.ids;
      const std::size_t n = std::min<std::size_t>(count, t.requests.size());
      const double last = n < 2 ? 0 : t.requests[n - 1].arrival, scale = o.rate > 0 && last > 0 ? (static_cast<double>(n) / o.rate) / last : 1;
      for (std::size_t i = 0; i < n; ++i) {
        const trace_request& r = t.requests[i];
        w.jobs.push_back({.request = {.id = i, .arrival = r.arrival * scale, .prompt_tokens = r.prompt_tokens, .max_new_tokens = r.output_tokens},
                          .text = i + 1, .first_block = static_cast<std::uint32_t>(r.first_block), .blocks = static_cast<std::uint32_t>(r.blocks)});
      }
    } else {
      if (o.rate <= 0 && !o.pile) throw bad_input("--rate is missing, allowed a number above 0: " + legible(o.trace) + " has no times (or --pile: all at once)");
      w = sim::open_loop(from, count, {.per_second = o.rate > 0 ? o.rate : 1, .cv = o.cv}, o.seed);
    }
  }
  sim::draws d(o.seed ^ 0x7e4a7u);
  for (sim::job& j : w.jobs) {
    if (o.pile) j.request.arrival = 0;
    if (o.tenants > 1 && !o.turns) j.request.tenant = d.unit() < 0.5 ? 0 : 1 + static_cast<std::uint32_t>(d.below(o.tenants - 1));
    if (o.classes > 1) j.request.priority = static_cast<std::int32_t>(d.below(o.classes));
    if (o.first_token > 0 && !o.turns) j.request.deadline = j.request.arrival + o.first_token;
  }
  return out;
}

}  // namespace quire_sim
