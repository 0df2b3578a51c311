// SPDX-License-Identifier: Apache-2.0
#include "sim/report.hpp"

#include <sstream>

#include "catch.hpp"
#include "sim/error.hpp"
#include "sim/workloads.hpp"
#include "written_file.hpp"

using namespace quire_sim;
namespace sim = quire::serve::simulate;

namespace {
outcome some(const watcher& watch = {}) {
  return simulate(find_policy("swap-sync", "--policy"), make_workload({.trace = "sharegpt", .rate = 1, .requests = 20, .most_tokens = 1000, .turns = true}).work,
                  make_cost("a10-llama3-8b", {}, "--cost-model"), {.rows = 2000, .host_rows = 9000, .row_bytes = 131072}, watch);
}
}  // namespace

TEST_CASE("JSON holds what the report holds, and null where there is nothing") {
  outcome o = some();
  const auto j = to_json(o, {.gap = 1}, 131072);
  REQUIRE(j["policy"] == "swap-sync");
  REQUIRE(j["order"] == "drawn");
  REQUIRE(j["makespan"] == o.report.makespan);
  REQUIRE(j["ttft"]["count"] == o.report.first_token.size());
  REQUIRE(j["tbt"]["p999"] == o.report.gap.quantile(0.999));
  REQUIRE(j["goodput"] == o.report.goodput({.gap = 1}));
  REQUIRE(j["swap"]["bytes"] == o.swap.bytes_in + o.swap.bytes_out);
  REQUIRE(j["swap"]["bytes"] > 0);
  outcome nothing{.policy = o.policy, .report = {}};
  const auto empty = to_json(nothing, {}, 1);
  REQUIRE(empty["tbt"]["p99"].is_null());
  REQUIRE(nlohmann::json::accept(empty.dump()));
}

TEST_CASE("the table has a column for each policy and leaves out what nobody has") {
  std::vector<outcome> all;
  all.push_back(some());
  const written_file file("");
  std::FILE* out = std::fopen(file.path().c_str(), "w");
  REQUIRE(out != nullptr);
  print_table(all, {}, out);
  std::fclose(out);
  std::ifstream in(file.path());
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  REQUIRE_THAT(text, Catch::Contains("swap-sync") && Catch::Contains("TTFT P99") && Catch::Contains("GB moved"));
  REQUIRE_THAT(text, !Catch::Contains("planned groups") && !Catch::Contains("goodput"));
}

TEST_CASE("a Perfetto trace is JSON in which steps follow each other") {
  const written_file file("");
  perfetto_file trace(file.path());
  trace.begin("swap-sync");
  const outcome o = some([&](const sim::step_event& e) { trace.step(e); });
  trace.finish();
  std::ifstream in(file.path());
  const auto j = nlohmann::json::parse(in);
  double end = 0;
  std::uint64_t steps = 0;
  for (const auto& e : j["traceEvents"]) {
    if (e["ph"] != "X") continue;
    REQUIRE(e["ts"].get<double>() >= end - 1e-3);
    end = e["ts"].get<double>() + e["dur"].get<double>();
    steps += e["name"] != "wait for copies";
  }
  REQUIRE(steps == o.report.steps);
  REQUIRE(end == Approx(o.report.makespan * 1e6));
  REQUIRE_THROWS_AS(perfetto_file("/nowhere/at/all"), bad_input);
}
