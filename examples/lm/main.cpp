// SPDX-License-Identifier: Apache-2.0
// quire-lm: its command line. Exit status 0: done; 2: something given can't be used; 1: the machine refused.
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <thread>

#include "backend.hpp"
#include "commands/options.hpp"
#include "error.hpp"
#include "flags.hpp"

namespace {

using namespace quire_lm;

constexpr std::uint64_t most_tokens = std::uint64_t{1} << 24;

void add_common(CLI::App& c, common_options& o) {
  c.add_option("--model", o.model, "GGUF file of a llama-architecture model")->required()->type_name("FILE");
  c.add_flag("--json", o.as_json, "Print JSON");
  c.add_option("--threads", o.threads, "Threads (default: as the machine has cores)")->check(whole(1, 256))->type_name("N");
  c.add_flag("--wide", o.wide, "Widen all weights to f32: slower and larger, but activations are not rounded to 8 bits");
  c.add_option("--heads", o.heads, "Head scores of the model, as quire-lm calibrate writes them (default: those that came with the program, if any)")->type_name("FILE");
  c.add_option("--isa", o.isa, "Instruction set (default: the best this machine runs)")->type_name("NAME");
}
void add_kv(CLI::App& c, common_options& o) { c.add_option("--kv", o.kv, "Cache (default: bf16)")->check(cache())->type_name("NAME"); }
void add_device(CLI::App& c, common_options& o) {
  c.add_option("--device", o.device, "What computes and holds the cache: cpu or cuda (default: cpu)")->check(one_of({"cpu", "cuda"}))->type_name("NAME");
}
void add_chunk(CLI::App& c, std::uint32_t& to, std::uint64_t most) {
  c.add_option("--chunk", to, "Rows of one step: prompts are taken in pieces of this many tokens (default: " + std::to_string(to) + ")")->check(whole(1, most))->type_name("N");
}

void add_generate(CLI::App& app, generate_options& o) {
  CLI::App& c = *app.add_subcommand("generate", "Continue one prompt, or several at once");
  add_common(c, o), add_kv(c, o), add_device(c, o);
  c.add_option("--prompt", o.prompts, "Text to continue; may be given several times")->allow_extra_args(false)->check(not_empty())->type_name("TEXT");
  c.add_option("--prompt-file", o.prompt_files, "File whose text to continue; may be given several times")->allow_extra_args(false)->type_name("FILE");
  c.add_option("--tokens", o.tokens, "Tokens to generate at most (default: 128)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--context", o.context, "Tokens of a sequence, prompt included (default: as many as needed, up to the model's)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--temperature", o.sampling.temperature, "0: always the likeliest token (default)")->check(real("0 to 100", 0, 100, false))->type_name("T");
  c.add_option("--top-p", o.sampling.top_p, "Keep the likeliest that together reach this probability")->check(real("above 0 to 1", 0, 1, true))->type_name("P");
  c.add_option("--top-k", o.sampling.top_k, "Keep this many; 0: all")->check(whole(0, 0x7fffffff))->type_name("K");
  c.add_option("--min-p", o.sampling.min_p, "Drop those below this share of the likeliest")->check(real("0 to 1", 0, 1, false))->type_name("M");
  c.add_option("--repeat-penalty", o.sampling.repeat_penalty, "Above 1: recent tokens are less likely")->check(real("above 0 to 100", 0, 100, true))->type_name("R");
  c.add_option("--seed", o.sampling.seed, "Of the random choices (default: 0)")->check(whole(0, UINT64_MAX))->type_name("S");
  c.add_flag("--whole-prompts", o.whole_prompts, "Heads that stream see all of a prompt and are cut down when it ends, as DuoAttention and RazorAttention do (default: from the start)");
  c.add_flag("--chat", o.chat, "The prompt is a user's message; the model's chat template is put around it");
  add_chunk(c, o.chunk, 4096);
}
void add_tokenize(CLI::App& app, tokenize_options& o) {
  CLI::App& c = *app.add_subcommand("tokenize", "Print the tokens of a text file");
  add_common(c, o), add_kv(c, o);
  c.add_option("--file", o.file, "UTF-8 text")->required()->type_name("FILE");
}
void add_perplexity(CLI::App& app, perplexity_options& o) {
  CLI::App& c = *app.add_subcommand("perplexity", "How well the model predicts the second half of each window of a text");
  add_common(c, o), add_kv(c, o), add_device(c, o);
  c.add_option("--file", o.file, "UTF-8 text")->required()->type_name("FILE");
  c.add_option("--context", o.context, "Tokens of a window (default: 512)")->check(whole(4, most_tokens))->type_name("N");
  c.add_option("--reference", o.reference, "Cache to compare --kv with, on the CPU: KL divergence and agreement")->check(cache())->type_name("NAME");
  add_chunk(c, o.chunk, 128);
}
void add_bench(CLI::App& app, bench_options& o) {
  CLI::App& c = *app.add_subcommand("bench", "Measure prefill and decode");
  add_common(c, o), add_device(c, o);
  c.add_option("--kv", o.kvs, "Caches, with commas (default: bf16)")->allow_extra_args(false)->delimiter(',')->check(cache())->type_name("NAME,...");
  c.add_option("--prompt", o.prompt, "Tokens of the prompt (default: 512)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--tokens", o.tokens, "Tokens to decode (default: 64)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--depth", o.depths, "Tokens in the cache before, with commas (default: 0,4096)")->allow_extra_args(false)->delimiter(',')->check(whole(0, most_tokens))->type_name("N,...");
  c.add_option("--batch", o.batches, "Sequences that decode at once, with commas (default: 1)")->allow_extra_args(false)->delimiter(',')->check(whole(1, 1024))->type_name("N,...");
  add_chunk(c, o.chunk, 4096);
}
void add_compare(CLI::App& app, compare_options& o) {
  CLI::App& c = *app.add_subcommand("compare", "The same model on composed caches, side by side");
  add_common(c, o);
  c.add_option("--kv", o.kvs, "Caches, with commas (default: one of each kind; with --suite all)")->allow_extra_args(false)->delimiter(',')->check(cache())->type_name("NAME,...");
  c.add_option("--file", o.file, "UTF-8 text to score (default: the project's own texts)")->type_name("FILE");
  c.add_option("--prompt", o.prompt, "Text that every cache continues")->check(not_empty())->type_name("TEXT");
  c.add_option("--tokens", o.tokens, "Tokens of that continuation (default: 32)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--context", o.context, "Tokens of a perplexity window (default: 2048; with --suite 4096, of the longest prompt as well)")->check(whole(4, most_tokens))->type_name("N");
  c.add_option("--output", o.output, "Write JSON to this file as well")->type_name("FILE");
  c.add_option("--suite", o.suite, "Measure quality against bytes instead: kv (docs/kv.md)")->check(one_of({"kv"}))->type_name("NAME");
  c.add_option("--report", o.report, "With --suite: JSON, written anew after each cache")->check(not_empty())->type_name("FILE");
  c.add_option("--trials", o.trials, "With --suite: questions of each retrieval task (default: 50)")->check(whole(1, 100000))->type_name("N");
  c.add_option("--seed", o.seed, "With --suite: of the tasks (default: 0)")->check(whole(0, UINT64_MAX))->type_name("S");
  c.add_option("--tasks", o.tasks, "With --suite: retrieval tasks, with commas: needle, line (default: both)")->allow_extra_args(false)->delimiter(',')->check(one_of({"needle", "line"}))->type_name("NAME,...");
  c.add_option("--facts", o.facts, "With --suite: facts in each retrieval prompt (default: 3 needles, 4 lines)")->check(whole(1, 64))->type_name("N");
  c.add_option("--lengths", o.lengths, "With --suite: tokens of retrieval prompts, with commas (default: a quarter, a half and all of --context)")->allow_extra_args(false)->delimiter(',')->check(whole(256, most_tokens))->type_name("N,...");
  c.add_flag("--whole-prompts", o.whole_prompts, "With --suite: heads that stream see all of a retrieval or drift prompt and are cut down after it, as the papers do (default: from the start)");
  c.add_flag("--resume", o.resume, "With --suite: keep the rows that the report holds already");
}

void add_calibrate(CLI::App& app, calibrate_options& o) {
  CLI::App& c = *app.add_subcommand("calibrate", "Score every kv head: echo, induction, and gates from leaving one head at a time");
  add_common(c, o);
  c.add_option("--output", o.output, "JSON file to write")->required()->check(not_empty())->type_name("FILE");
  c.add_option("--file", o.file, "UTF-8 text that passkeys hide in (default: the project's own texts)")->type_name("FILE");
  c.add_option("--record", o.record, "Write the gates' D matrices to this file as well")->type_name("FILE");
  c.add_option("--from", o.from, "Train gates on the D matrices of an earlier --record; no passes for them")->type_name("FILE");
  c.add_option("--probes", o.probes, "Probes of random tokens (default: 3)")->check(whole(1, 1000))->type_name("N");
  c.add_option("--period", o.period, "Random tokens of a probe (default: 256)")->check(whole(2, 1 << 20))->type_name("N");
  c.add_option("--repeats", o.repeats, "How often they come (default: 4)")->check(whole(2, 64))->type_name("N");
  c.add_option("--samples", o.samples, "Passkey texts (default: 4); a pass for each kv head and text")->check(whole(1, 1000))->type_name("N");
  c.add_option("--length", o.length, "Tokens of a passkey text (default: 1024)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--sinks", o.sinks, "First tokens a streaming head keeps (default: 64)")->check(whole(0, most_tokens))->type_name("N");
  c.add_option("--window", o.window, "Newest tokens it keeps (default: 256)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--steps", o.steps, "Steps of gate training (default: 500)")->check(whole(1, 1000000))->type_name("N");
  c.add_option("--lambda", o.lambda, "Weight of the gates' size (default: 0.5)")->check(real("0 to 100", 0, 100, false))->type_name("L");
  c.add_option("--keep", o.keeps, "Learn gates for keeping these shares of all heads as well, with commas: duo:keep=S and razor:keep=S use them")->allow_extra_args(false)->delimiter(',')->check(real("above 0 to 0.99", 0, 0.99, true))->type_name("S,...");
  c.add_option("--rounds", o.rounds, "With --keep: passes around the heads kept so far (default: 2); each takes as long as those without --keep")->check(whole(0, 20))->type_name("N");
  c.add_option("--seed", o.seed, "Of probes and texts (default: 0)")->check(whole(0, UINT64_MAX))->type_name("S");
}

void add_schedule(CLI::App& app, schedule_options& o) {
  CLI::App& c = *app.add_subcommand("schedule", "Scheduling policies side by side: the stall of a long prompt, shared prefixes, preemption");
  add_common(c, o);
  c.add_option("--kv", o.kv, "Cache (default: bf16)")->check(cache())->type_name("NAME");
  c.add_option("experiment", o.experiment, "stalls, groups or swaps")->required()->check(one_of({"stalls", "groups", "swaps"}))->type_name("NAME");
  c.add_option("--tau", o.taus, "stalls: token budgets, with commas; 0: prefill first (default: 64,256,0)")->allow_extra_args(false)->delimiter(',')->check(whole(0, most_tokens))->type_name("N,...");
  c.add_option("--prompt", o.prompt, "stalls: tokens of the prompt that arrives (default: 4096)")->check(whole(2, most_tokens))->type_name("N");
  c.add_option("--even-depth", o.even_depth, "stalls: position at which a row's attention costs as much as all else of it, for the arms that count by cost (default: as the arm before shows)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--running", o.running, "Texts that run at once (default: 4)")->check(whole(1, 256))->type_name("N");
  c.add_option("--budget", o.tau, "groups, swaps: tokens of a step (default: 256)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--groups", o.groups, "Documents (default: 8)")->check(whole(1, 1024))->type_name("N");
  c.add_option("--members", o.members, "Prompts on each document (default: 8)")->check(whole(1, 1024))->type_name("N");
  c.add_option("--shared", o.shared, "Tokens of a document; swaps: of the longest prompt (default: 512)")->check(whole(2, most_tokens))->type_name("N");
  c.add_option("--own", o.own, "groups: tokens of a prompt after its document (default: 32)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--tokens", o.tokens, "Tokens to generate for each text (default: 32)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--room", o.room, "Rows of the cache (default: groups, of all that run; swaps, half of that)")->check(whole(1, most_tokens))->type_name("N");
  c.add_option("--rounds", o.rounds, "Rounds over all arms; medians are shown (default: 3)")->check(whole(1, 1000))->type_name("N");
  c.add_option("--seed", o.seed, "Of the prompts (default: 1)")->check(whole(0, UINT64_MAX))->type_name("S");
}

/// What is wrong with the command line, in one line.
std::string explain(const CLI::App& app, const CLI::ParseError& e) {
  std::string commands;
  for (const CLI::App* c : app.get_subcommands({})) commands += (commands.empty() ? "" : ", ") + c->get_name();
  const auto chosen = app.get_subcommands();
  if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    std::vector<std::string> extras = app.remaining(true);
    const std::string extra = extras.empty() ? std::string() : extras[0];
    if (chosen.empty()) return quire_lm::quoted(extra) + " is no command, allowed " + commands;
    std::string flags;
    for (const CLI::Option* o : chosen[0]->get_options()) flags += (flags.empty() ? "" : " ") + o->get_name();
    return quire_lm::quoted(extra) + " is no flag of " + chosen[0]->get_name() + ", allowed " + flags;
  }
  if (chosen.empty()) return "a command is missing, allowed " + commands;
  return chosen[0]->get_name() + ": " + e.what();
}

int run(int argc, char** argv) {
  CLI::App app("quire-lm: a language model on composed key-value caches", "quire-lm");
  app.require_subcommand(1);
  generate_options generate_o;
  tokenize_options tokenize_o;
  perplexity_options perplexity_o;
  bench_options bench_o;
  compare_options compare_o;
  calibrate_options calibrate_o;
  schedule_options schedule_o;
  for (common_options* o : {static_cast<common_options*>(&generate_o), static_cast<common_options*>(&tokenize_o), static_cast<common_options*>(&perplexity_o),
                            static_cast<common_options*>(&bench_o), static_cast<common_options*>(&compare_o), static_cast<common_options*>(&calibrate_o),
                            static_cast<common_options*>(&schedule_o)})
    o->threads = std::min(256u, std::max(1u, std::thread::hardware_concurrency()));
  add_generate(app, generate_o);
  add_tokenize(app, tokenize_o);
  add_perplexity(app, perplexity_o);
  add_bench(app, bench_o);
  add_compare(app, compare_o);
  add_calibrate(app, calibrate_o);
  add_schedule(app, schedule_o);
  if (argc > 1 && argv[1][0] != '-') {
    std::string commands;
    bool known = false;
    for (const CLI::App* c : app.get_subcommands({})) commands += (commands.empty() ? "" : ", ") + c->get_name(), known |= c->get_name() == argv[1];
    if (!known) throw bad_input(quire_lm::quoted(argv[1]) + " is no command, allowed " + commands);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw bad_input(explain(app, e));
  }
  if (app.got_subcommand("generate")) return generate(generate_o);
  if (app.got_subcommand("tokenize")) return tokenize(tokenize_o);
  if (app.got_subcommand("perplexity")) return perplexity(perplexity_o);
  if (app.got_subcommand("bench")) return bench(bench_o);
  if (app.got_subcommand("calibrate")) return calibrate(calibrate_o);
  if (app.got_subcommand("schedule")) return quire_lm::schedule(schedule_o);
  return compare(compare_o);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw std::runtime_error("stdout can't be written: " + std::string(std::strerror(errno)));
    return code;
  } catch (const bad_input& e) {
    std::cerr << "quire-lm: " << e.what() << "\n";
    return 2;
  } catch (const std::bad_alloc&) {
    std::cerr << "quire-lm: not enough memory\n";
    return 1;
  } catch (const std::exception& e) {
    std::cerr << "quire-lm: " << e.what() << "\n";
    return 1;
  }
}
