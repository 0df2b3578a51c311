// SPDX-License-Identifier: Apache-2.0
#include "sim/workloads.hpp"

#include <algorithm>

#include "catch.hpp"
#include "sim/error.hpp"
#include "written_file.hpp"

using namespace quire_sim;
namespace sim = quire::serve::simulate;

namespace {
std::string refusal(const workload_options& o) {
  try {
    static_cast<void>(make_workload(o));
  } catch (const bad_input& e) {
    return e.what();
  }
  return {};
}
}  // namespace

TEST_CASE("synthetic lengths have the data sets' quantiles and stay in their limits") {
  const auto check = [](const char* name, double p50, double p90, double o50, double o90, std::uint32_t most) {
    const auto all = synthetic_lengths(name);
    std::vector<double> prompts, outputs;
    for (const sim::lengths& n : all) {
      REQUIRE(n.prompt >= 1);
      REQUIRE(n.output >= 1);
      REQUIRE(n.prompt + n.output <= most);
      prompts.push_back(n.prompt), outputs.push_back(n.output);
    }
    std::sort(prompts.begin(), prompts.end()), std::sort(outputs.begin(), outputs.end());
    const auto at = [](const std::vector<double>& x, double q) { return x[static_cast<std::size_t>(q * static_cast<double>(x.size()))]; };
    REQUIRE(at(prompts, 0.5) == Approx(p50).epsilon(0.02));
    REQUIRE(at(prompts, 0.9) == Approx(p90).epsilon(0.02));
    REQUIRE(at(outputs, 0.5) == Approx(o50).epsilon(0.03));
    REQUIRE(at(outputs, 0.9) == Approx(o90).epsilon(0.05));
  };
  check("sharegpt", 1730, 5696, 415, 834, 8192);
  check("arxiv", 2730, 3702, 167, 372, 4096);
}

TEST_CASE("a timed trace keeps its times, or its rate is changed and nothing else") {
  const written_file file("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00.0,10,2\n2023-11-16 18:00:04.0,20,3\n2023-11-16 18:00:08.0,30,4\n");
  const sim::workload w = make_workload({.trace = file.path()}).work;
  REQUIRE(w.jobs.size() == 3);
  REQUIRE(w.jobs[1].request.arrival == 4);
  REQUIRE(w.jobs[2].request.prompt_tokens == 30);
  REQUIRE(make_workload({.trace = file.path(), .requests = 2}).work.jobs.size() == 2);
  REQUIRE(make_workload({.trace = file.path(), .pile = true}).work.jobs[2].request.arrival == 0);
  REQUIRE(make_workload({.trace = file.path(), .rate = 1, .requests = 50}).work.jobs.size() == 50);  // lengths alone
  REQUIRE(make_workload({.trace = file.path(), .most_tokens = 30}).work.jobs.size() == 2);
  REQUIRE_THAT(refusal({.trace = file.path(), .most_tokens = 5}), Catch::Contains("--most-tokens is 5"));
}

TEST_CASE("a trace with blocks shares what it names") {
  const written_file file(R"({"timestamp":0,"input_length":1024,"output_length":4,"hash_ids":[5,6]})" "\n" R"({"timestamp":2000,"input_length":1000,"output_length":4,"hash_ids":[5,7]})" "\n");
  const sim::workload w = make_workload({.trace = file.path()}).work;
  REQUIRE(w.block_tokens == 512);
  REQUIRE(w.jobs[1].request.arrival == 2);
  for (std::uint32_t i = 0; i < 62; ++i) REQUIRE((w.block(w.jobs[0], i, 16) == w.block(w.jobs[1], i, 16)) == (i < 32));
  const sim::workload fast = make_workload({.trace = file.path(), .rate = 10}).work;
  REQUIRE(fast.jobs[1].request.arrival == Approx(0.2));
}

TEST_CASE("grids, alone and mixed, keep their groups apart") {
  const sim::workload w = make_workload({.grid = "8,4,32,8,2;6,2,64,8,3"}).work;
  REQUIRE(w.jobs.size() == 14);
  std::uint32_t pairs = 0;
  for (std::size_t a = 0; a < 14; ++a) {
    REQUIRE(w.jobs[a].request.id == a);
    for (std::size_t b = 0; b < a; ++b) {
      pairs += w.block(w.jobs[a], 0, 16) == w.block(w.jobs[b], 0, 16);
      REQUIRE(w.jobs[a].text != w.jobs[b].text);
    }
  }
  REQUIRE(pairs == 2 * 6 + 3);
  REQUIRE_THAT(refusal({.grid = "8,4,32,8"}), Catch::Contains("--grid is '8,4,32,8'"));
  REQUIRE_THAT(refusal({.grid = "8,4,32,0,1"}), Catch::Contains("--grid"));
  REQUIRE_THAT(refusal({.trace = "sharegpt", .grid = "8,4,32,8,1"}), Catch::Contains("--grid and --trace"));
}

TEST_CASE("what is missing is named") {
  REQUIRE_THAT(refusal({}), Catch::Contains("--trace is missing"));
  REQUIRE_THAT(refusal({.trace = "sharegpt"}), Catch::Contains("--rate is missing"));
  REQUIRE_THAT(refusal({.trace = "/nowhere/at/all"}), Catch::Contains("can't be opened"));
}

TEST_CASE("tenants: the first sends about half, and deadlines follow arrivals") {
  const sim::workload w = make_workload({.trace = "sharegpt", .rate = 1, .requests = 4000, .tenants = 5, .classes = 3, .first_token = 3}).work;
  std::uint32_t count[5]{};
  for (const sim::job& j : w.jobs) {
    ++count[j.request.tenant];
    REQUIRE(j.request.deadline == j.request.arrival + 3);
    REQUIRE(j.request.priority >= 0);
    REQUIRE(j.request.priority < 3);
  }
  REQUIRE(count[0] == Approx(2000).epsilon(0.05));
  for (int t = 1; t < 5; ++t) REQUIRE(count[t] == Approx(500).epsilon(0.15));
}
