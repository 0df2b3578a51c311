// SPDX-License-Identifier: Apache-2.0
// quire-sim: its command line. Exit status 0: done; 2: something given can't be used; 1: the machine refused.
#include <CLI/CLI.hpp>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "commands/prefixes.hpp"
#include "commands/serve.hpp"
#include "error.hpp"

namespace {

using namespace quire_sim;

/// A whole number of [low, high]; the message of a refusal follows the flag's name.
CLI::Validator whole(std::uint64_t low, std::uint64_t high) {
  return {[low, high](std::string& s) -> std::string {
            std::uint64_t x = 0;
            const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), x);
            if (!s.empty() && error == std::errc() && end == s.data() + s.size() && x >= low && x <= high) return {};
            return "is " + legible(s) + ", allowed a whole number from " + std::to_string(low) + " to " + std::to_string(high);
          },
          "", ""};
}
CLI::Validator real(const char* range, double low, double high, bool above) {
  return {[range, low, high, above](std::string& s) -> std::string {
            double x = NAN;
            const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), x);
            if (!s.empty() && error == std::errc() && end == s.data() + s.size() && (above ? x > low : x >= low) && x <= high) return {};
            return "is " + legible(s) + ", allowed " + range;
          },
          "", ""};
}
CLI::Validator not_empty() {
  return {[](std::string& s) { return s.empty() ? std::string("is '', allowed at least one character") : std::string(); }, "", ""};
}
constexpr std::uint64_t most_tokens = std::uint64_t{1} << 24;

/// What serve and capacity are told alike.
void add_common(CLI::App& c, serve_options& o) {
  c.add_option("--trace", o.workload.trace, "Trace file, or sharegpt, arxiv: lengths with the quantiles of those data sets")->check(not_empty())->type_name("FILE");
  c.add_option("--policy", o.policies, "Policies, with commas (default: prefill-first,chunked); an unknown name lists them")->allow_extra_args(false)->delimiter(',')->check(not_empty())->type_name("NAME,...");
  c.add_option("--cost-model", o.cost, "What a step costs: " + known_costs() + ", vidur:FILE, bench:FILE (default: a100-mistral-7b)")->check(not_empty())->type_name("NAME");
  c.add_option("--layers", o.costs.layers, "With vidur:FILE: layers of the model (default: 32)")->check(whole(1, 1024))->type_name("N");
  c.add_option("--requests", o.workload.requests, "Requests, or conversations with --turns (default: all of a trace with times, else 1000)")->check(whole(1, 1 << 24))->type_name("N");
  c.add_option("--cv", o.workload.cv, "Spread of the time between arrivals: 1 Poisson (default), 0 a beat, above 1 bursts (gamma)")->check(real("0 to 100", 0, 100, false))->type_name("C");
  c.add_option("--most-tokens", o.workload.most_tokens, "Leave out requests with more tokens, prompt and output")->check(whole(2, most_tokens))->type_name("N");
  c.add_option("--tenants", o.workload.tenants, "Tenants: the first sends half of the requests, the others the rest (default: 1)")->check(whole(1, 4096))->type_name("N");
  c.add_option("--classes", o.workload.classes, "Priorities, drawn for each request, for --order priority (default: 1)")->check(whole(1, 1 << 20))->type_name("N");
  c.add_option("--seed", o.workload.seed, "Of lengths, arrivals and priorities (default: 0)")->check(whole(0, UINT64_MAX))->type_name("S");
  c.add_option("--slo-ttft", o.first_token, "Service level: seconds to the first token")->check(real("above 0 to 1e6", 0, 1e6, true))->type_name("S");
  c.add_option("--slo-tbt", o.gap, "Service level: seconds between tokens")->check(real("above 0 to 1e6", 0, 1e6, true))->type_name("S");
  c.add_option("--memory", o.rows, "Rows of keys and values that memory holds (default: as the cost model's machine)")->check(whole(1, 1u << 30))->type_name("N");
  c.add_option("--block", o.engine.block, "Rows of a block (default: 16)")->check(whole(1, 512))->type_name("N");
  c.add_option("--max-running", o.engine.max_running, "Sequences at once (default: 128)")->check(whole(1, 65536))->type_name("N");
  c.add_option("--tau", o.engine.tau, "Tokens of a step with chunks (default: 512)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--max-batched", o.engine.max_batched, "Tokens of a step with whole prompts (default: 8192)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--guard", o.engine.guard, "Tokens of a step with memory-centric batching (default: 8192)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--most-running", o.engine.most_running, "Sequences at once with memory-centric batching (default: 1024)")->check(whole(1, 65536))->type_name("N");
  c.add_option("--theta", o.engine.theta, "Share of memory it fills (default: 0.95)")->check(real("above 0 to 1", 0, 1, true))->type_name("T");
  c.add_option("--horizon", o.engine.horizon, "Steps ahead for which it has room (default: 64)")->check(whole(0, 1 << 20))->type_name("N");
  c.add_flag("!--no-fold", o.engine.fold, "Attention reads the rows that a planned group shares once for each request");
  c.add_option("--order", o.order, "Axis, instead of the policies' own: who enters first")->type_name("NAME");
  c.add_option("--batching", o.batching, "Axis: what a step holds")->type_name("NAME");
  c.add_option("--admission", o.admission, "Axis: who may enter")->type_name("NAME");
  c.add_option("--victim", o.victim, "Axis: who loses its pages")->type_name("NAME");
  c.add_option("--preemption", o.preemption, "Axis: what becomes of its rows")->type_name("NAME");
  c.add_option("--priorities", o.pattern, "How priorities are drawn: independent (default), markov")->type_name("NAME");
  c.add_option("--frequency", o.engine.pattern.frequency, "Draws of priorities per step (default: 0.04)")->check(real("above 0 to 1", 0, 1, true))->type_name("F");
  c.add_option("--host-memory", o.engine.host_rows, "Rows that the host holds (default: 480000)")->check(whole(1, 1u << 30))->type_name("N");
  c.add_option("--row-bytes", o.engine.row_bytes, "Bytes of keys and values of a token (default: as the cost model's machine)")->check(whole(1, 1u << 30))->type_name("N");
  c.add_option("--pieces", o.engine.pieces, "Copies of one run of blocks (default: 64; 1 where a block holds all layers)")->check(whole(1, 4096))->type_name("N");
  c.add_option("--launch", o.engine.launch, "Seconds to launch a copy (default: 5e-6)")->check(real("0 to 1", 0, 1, false))->type_name("S");
  c.add_option("--link", o.engine.link_bandwidth, "Bytes a second between device and host (default: 25e9)")->check(real("above 0 to 1e15", 0, 1e15, true))->type_name("B");
  c.add_option("--json", o.json, "Write all measures to this file")->check(not_empty())->type_name("FILE");
}
void add_serve(CLI::App& app, serve_command& o) {
  CLI::App& c = *app.add_subcommand("serve", "Policies side by side on one workload, in virtual time");
  add_common(c, o);
  c.add_option("--rate", o.workload.rate, "Requests a second (default: the trace's own times)")->check(real("above 0 to 1e6", 0, 1e6, true))->type_name("R");
  c.add_flag("--pile", o.workload.pile, "All requests are there at the start");
  c.add_flag("--turns", o.workload.turns, "Conversations: each pair of lengths in 1 + geometric turns");
  c.add_option("--mean-turns", o.workload.mean_turns, "With --turns (default: 5.5)")->check(real("1 to 1000", 1, 1000, false))->type_name("N");
  c.add_option("--grid", o.workload.grid, "A pile of prompts in groups, instead of a trace; several with ';'")->type_name("PROMPTS,DEGREE,PREFIX,TAIL,OUTPUT");
  c.add_option("--until", o.engine.until, "Stop after so many seconds")->check(real("above 0 to 1e9", 0, 1e9, true))->type_name("S");
  c.add_option("--plot", o.plot, "Draw TTFT and TBT to this PNG (python3 with matplotlib)")->check(not_empty())->type_name("FILE");
  c.add_option("--perfetto", o.perfetto, "Write every step to this file, for ui.perfetto.dev or chrome://tracing")->check(not_empty())->type_name("FILE");
}
void add_capacity(CLI::App& app, capacity_command& o) {
  CLI::App& c = *app.add_subcommand("capacity", "The largest rate at which P99 TBT and the median delay stay in bounds");
  add_common(c, o);
  c.add_option("--start", o.start, "Rate to begin with (default: 1)")->check(real("0.01 to 1e6", 0.01, 1e6, false))->type_name("R");
  c.add_option("--slo-delay", o.delay, "Seconds of median delay that are allowed (default: 2)")->check(real("above 0 to 1e6", 0, 1e6, true))->type_name("S");
  c.add_option("--precision", o.precision, "Stop when the bracket is this share of the rate (default: 0.025)")->check(real("0.001 to 1", 0.001, 1, false))->type_name("P");
  c.add_option("--trials", o.trials, "At most (default: 20)")->check(whole(1, 1000))->type_name("N");
}

/// What is wrong with the command line, in one line.
std::string explain(const CLI::App& app, const CLI::ParseError& e) {
  std::string commands;
  for (const CLI::App* c : app.get_subcommands({})) commands += (commands.empty() ? "" : ", ") + c->get_name();
  const auto chosen = app.get_subcommands();
  if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    const std::vector<std::string> extras = app.remaining(true);
    const std::string extra = extras.empty() ? std::string() : extras[0];
    if (chosen.empty()) return legible(extra) + " is no command, allowed " + commands;
    std::string flags;
    for (const CLI::Option* f : chosen[0]->get_options()) flags += (flags.empty() ? "" : " ") + f->get_name();
    return legible(extra) + " is no flag of " + chosen[0]->get_name() + ", allowed " + flags;
  }
  if (chosen.empty()) return "a command is missing, allowed " + commands;
  return chosen[0]->get_name() + ": " + e.what();
}

void add_prefixes(CLI::App& app, prefixes_options& o) {
  CLI::App& c = *app.add_subcommand("prefixes", "What the prompts of a trace share: planned ahead, and found by an LRU cache");
  c.add_option("--trace", o.trace, "Mooncake trace (JSON lines with hash_ids)")->required()->type_name("FILE");
  c.add_option("--capacity", o.capacities, "Blocks of the LRU cache, several with spaces or commas (default: 500 2000 8000 32000)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 30))
      ->type_name("N");
  c.add_option("--json", o.output, "Write the result to this file as well")->type_name("FILE");
}

int run(int argc, char** argv) {
  CLI::App app("quire-sim: schedulers and prefix plans on request traces", "quire-sim");
  app.require_subcommand(1);
  prefixes_options prefixes_o;
  serve_command serve_o;
  capacity_command capacity_o;
  add_prefixes(app, prefixes_o);
  add_serve(app, serve_o);
  add_capacity(app, capacity_o);
  if (argc > 1 && argv[1][0] != '-') {
    std::string commands;
    bool known = false;
    for (const CLI::App* c : app.get_subcommands({})) commands += (commands.empty() ? "" : ", ") + c->get_name(), known |= c->get_name() == argv[1];
    if (!known) throw bad_input(legible(argv[1]) + " is no command, allowed " + commands);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw bad_input(explain(app, e));
  }
  if (app.got_subcommand("serve")) return serve(serve_o);
  if (app.got_subcommand("capacity")) return capacity(capacity_o);
  return prefixes(prefixes_o);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw std::runtime_error("stdout can't be written: " + std::string(std::strerror(errno)));
    return code;
  } catch (const bad_input& e) {
    std::cerr << "quire-sim: " << e.what() << "\n";
    return 2;
  } catch (const std::bad_alloc&) {
    std::cerr << "quire-sim: not enough memory\n";
    return 1;
  } catch (const std::exception& e) {
    std::cerr << "quire-sim: " << e.what() << "\n";
    return 1;
  }
}
