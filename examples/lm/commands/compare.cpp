// SPDX-License-Identifier: Apache-2.0
#include "compare.hpp"

#include <algorithm>
#include <filesystem>

#include "bench.hpp"
#include "generate.hpp"
#include "perplexity.hpp"
#include "quality.hpp"

namespace quire_lm {
namespace {

constexpr std::uint32_t chunk = 256, decode_steps = footprint_steps;

struct row {
  cache_name name;
  std::size_t bytes = 0;  ///< of one sequence at `depth` tokens
  double bytes_per_token = 0, prefill = 0, decode = 0;
  std::string text;
  quality score;
};

void note(const std::string& what) { std::fprintf(stderr, "compare: %s\n", what.c_str()); }

/// Sizes and speeds of one cache. fails: std::runtime_error when what is held differs from the formula.
row measure(backend& b, const cache_name& name, std::uint32_t depth) {
  const footprint f = measure_footprint(b, depth);
  if (f.bytes != f.formula)
    throw std::runtime_error("cache " + std::string(name.name) + " holds " + std::to_string(f.bytes) + " bytes at " + std::to_string(depth) +
                             " tokens, the formula says " + std::to_string(f.formula));
  row r;
  r.name = name, r.bytes = f.bytes, r.bytes_per_token = b.bytes_per_token(), r.prefill = f.prefill, r.decode = f.decode;
  return r;
}

}  // namespace

std::string own_texts() {
  std::vector<std::string> paths;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(QUIRE_LM_DATA, ignored))
    if (entry.path().extension() == ".txt") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  if (paths.empty()) throw bad_input("--file is absent and there are no texts under " QUIRE_LM_DATA ", allowed a text file");
  std::string text;
  for (const std::string& p : paths) text += (text.empty() ? "" : "\n\n") + read_text(p, "--file");
  return text;
}

footprint measure_footprint(backend& b, std::uint32_t depth) {
  footprint f;
  std::uint32_t s = 0;
  require(b.open(s));
  const double start = now();
  fill(b, s, depth, 0);
  f.prefill = rate(depth, now() - start);
  f.bytes = b.bytes(s), f.formula = b.formula_bytes(depth);
  f.decode = rate(footprint_steps, decode(b, {&s, 1}, footprint_steps));
  b.close(s);
  return f;
}

int compare(const compare_options& given) {
  if (!given.suite.empty() && given.device != "cpu") throw bad_input("--device is " + quire_lm::quoted(given.device) + " with --suite, allowed cpu: the suite is not for a GPU yet");
  if (!given.suite.empty()) return compare_suite(given);
  for (const auto& [wrong, flag] : {std::pair(!given.report.empty(), "--report"), std::pair(given.trials.has_value(), "--trials"),
                                    std::pair(given.seed.has_value(), "--seed"), std::pair(given.resume, "--resume"), std::pair(given.whole_prompts, "--whole-prompts"), std::pair(given.facts.has_value(), "--facts"),
                                    std::pair(!given.lengths.empty(), "--lengths"), std::pair(!given.tasks.empty(), "--tasks")})
    if (wrong) throw bad_input(std::string(flag) + " is given without --suite, allowed only with it");
  compare_options o = given;
  if (o.context == 0) o.context = 2048;
  const std::string text = o.file.empty() ? own_texts() : read_text(o.file, "--file");
  require_utf8(o.prompt, "--prompt");
  const instruction_set isa = pick_device(o);
  const loaded_model m = load_model(o);
  const std::vector<token> tokens = window_tokens(m, text, o.context);
  std::vector<token> prompt;
  if (!o.prompt.empty()) {
    prompt = encode_text(*m.tok, o.prompt, "--prompt", true);
    if (prompt.empty() || prompt.size() + o.tokens > m.config().context)
      throw bad_input("--prompt has " + std::to_string(prompt.size()) + " tokens and --tokens is " + std::to_string(o.tokens) + ", allowed together at most " + std::to_string(m.config().context));
  }
  std::ofstream file;
  if (!o.output.empty()) {
    file.open(o.output);
    if (!file) throw bad_input("--output is " + quire_lm::quoted(o.output) + ", which can't be written: " + std::strerror(errno));
  }
  std::vector<std::string> asked = o.kvs;
  if (asked.empty()) {  // one of each kind; those that need head scores where there are some
    asked = {"bf16", "fp8", "int8", "int4-hadamard", "kivi-2", "gear-2", "mikv-4", "h2o", "streaming"};
    if (m.weights->heads) asked.insert(asked.end(), {"duo", "duo-int4", "razor"});
  }
  const std::vector<cache_name> names = chosen_caches(asked);

  const std::uint32_t depth = std::min<std::uint32_t>(4096, m.config().context > decode_steps ? m.config().context - decode_steps : 1);
  std::vector<row> rows;
  for (const cache_name& c : names) {
    note(std::string(c.name) + ": speed and size at " + std::to_string(depth) + " tokens (" + std::to_string(rows.size() + 1) + " of " + std::to_string(names.size()) + ")");
    const auto longest = std::max<std::uint32_t>(depth + decode_steps, static_cast<std::uint32_t>(prompt.size()) + o.tokens);
    const auto model = isa.make(*m.weights, {.kv = c.name, .threads = o.threads, .max_rows = chunk, .sequences = 1, .max_tokens = longest, .wide_rows = o.wide_rows});
    rows.push_back(measure(*model, c, depth));
    if (prompt.empty()) continue;
    std::size_t ignored = 0;
    rows.back().text = m.tok->decode(run_prompts(*model, *m.tok, {prompt}, o.tokens, {}, 1, {}, ignored)[0].generated);
    rows.back().text.resize(valid_utf8_prefix(rows.back().text));
  }

  std::vector<std::unique_ptr<backend>> owned;
  std::vector<backend*> backends;
  for (const cache_name& c : names) {
    owned.push_back(isa.make(*m.weights, {.kv = c.name, .threads = o.threads, .max_rows = chunk, .sequences = 1, .max_tokens = o.context, .wide_rows = o.wide_rows}));
    backends.push_back(owned.back().get());
  }
  note("perplexity of all caches on " + std::to_string(tokens.size() / o.context) + " windows of " + std::to_string(o.context) + " tokens");
  progress_line line("compare: perplexity");
  const auto scores = score_windows(backends, tokens, {.context = o.context, .threads = o.threads, .bos = m.tok->adds_bos() ? m.tok->bos() : std::nullopt},
                                    [&](double done, double total) { line.at(done, total); });
  line.clear();
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].score = scores[i];

  const std::string at_depth = "_at_" + std::to_string(depth);
  json out{{"model", m.config().name}, {"isa", isa.name}, {"threads", o.threads}, {"context", o.context}, {"tokens_scored", scores[0].tokens_scored},
           {"depth", depth}, {"load_seconds", m.load_seconds}, {"rows", json::array()}};
  table shown({"cache", "bytes/token", "MB at " + std::to_string(depth), "prefill tok/s", "decode tok/s", "perplexity", "mean KL"});
  for (const row& r : rows) {
    json j{{"kv", r.name.name}, {"what", r.name.what}, {"bytes_per_token", r.bytes_per_token}, {"cache_bytes" + at_depth, r.bytes},
           {"prefill_tokens_per_second", r.prefill}, {"decode_tokens_per_second", r.decode}, {"perplexity", r.score.perplexity}, {"kl_mean", r.score.kl_mean},
           {"kl_p99", r.score.kl_p99}, {"top1_agreement", r.score.top1_agreement}};
    if (!prompt.empty()) j["text"] = r.text;
    out["rows"].push_back(std::move(j));
    shown.row({std::string(r.name.name), fixed(r.bytes_per_token, 0), fixed(static_cast<double>(r.bytes) / 1e6, 2), fixed(r.prefill, 1), fixed(r.decode, 1),
               fixed(r.score.perplexity, 4), fixed(r.score.kl_mean, 6)});
  }
  if (file.is_open()) {
    file << out.dump(2) << "\n";
    file.close();
    if (!file) throw bad_input("--output is " + quire_lm::quoted(o.output) + ", which can't be written: " + std::strerror(errno));
  }
  if (o.as_json) {
    std::printf("%s\n", out.dump(2).c_str());
    return 0;
  }
  shown.print(stdout);
  std::printf("prefill: %u tokens from an empty cache; decode: %u tokens at %u; perplexity and KL against f32: %zu tokens in windows of %u,\n"
              "every query reading sealed tiles as decode would; isa %s, %u threads\n",
              depth, decode_steps, depth, scores[0].tokens_scored, o.context, std::string(isa.name).c_str(), o.threads);
  for (const cache_name& c : names) std::printf("  %-14s %s\n", std::string(c.name).c_str(), std::string(c.what).c_str());
  if (!prompt.empty()) {
    std::printf("\nThe same prompt, continued greedily:\n");
    for (const row& r : rows) std::printf("  %-14s %s\n", std::string(r.name.name).c_str(), json(r.text).dump().c_str());
  }
  return 0;
}

}  // namespace quire_lm
