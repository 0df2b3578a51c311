// SPDX-License-Identifier: Apache-2.0
#include "perplexity.hpp"

#include "quality.hpp"

namespace quire_lm {

std::vector<token> window_tokens(const loaded_model& m, const std::string& text, std::uint32_t context) {
  if (context > m.config().context) throw bad_input("--context is " + std::to_string(context) + ", allowed 4 to the model's " + std::to_string(m.config().context));
  std::vector<token> tokens = encode_text(*m.tok, text, "--file", false);
  if (tokens.size() < context)
    throw bad_input("--file has " + std::to_string(tokens.size()) + " tokens, allowed at least one window of --context " + std::to_string(context));
  return tokens;
}

int perplexity(const perplexity_options& o) {
  const std::string text = read_text(o.file, "--file");
  const instruction_set isa = pick_device(o), reference = pick_instruction_set(o.isa);
  const loaded_model m = load_model(o);
  const std::vector<token> tokens = window_tokens(m, text, o.context);
  std::vector<std::unique_ptr<backend>> owned;
  std::vector<backend*> backends;
  const auto add = [&](const instruction_set& by, const std::string& kv) {
    owned.push_back(by.make(*m.weights, {.kv = kv, .threads = o.threads, .max_rows = o.chunk, .sequences = 1, .max_tokens = o.context, .wide_rows = o.wide_rows}));
    backends.push_back(owned.back().get());
  };
  const bool compares = !o.reference.empty();
  if (compares) add(reference, o.reference);
  add(isa, o.kv);
  progress_line line("perplexity");
  const auto scores = score_windows(backends, tokens, {.context = o.context, .threads = o.threads, .bos = m.tok->adds_bos() ? m.tok->bos() : std::nullopt},
                                    [&](double done, double total) { line.at(done, total); });
  line.clear();
  const quality& q = scores.back();
  if (!o.as_json) {
    std::printf("perplexity %.4f over %zu tokens (kv %s)\n", q.perplexity, q.tokens_scored, o.kv.c_str());
    if (compares) std::printf("against %s (perplexity %.4f): mean KL %.6f, 99 %% KL %.6f, same first choice %.4f\n", o.reference.c_str(), scores[0].perplexity, q.kl_mean, q.kl_p99, q.top1_agreement);
    return 0;
  }
  json out{{"perplexity", q.perplexity}, {"tokens_scored", q.tokens_scored}};
  if (compares) {
    out["kl_mean"] = q.kl_mean;
    out["kl_p99"] = q.kl_p99;
    out["top1_agreement"] = q.top1_agreement;
    out["reference"] = o.reference;
    out["reference_perplexity"] = scores[0].perplexity;
  }
  out["kv"] = o.kv;
  out["context"] = o.context;
  out["isa"] = isa.name;
  out["threads"] = o.threads;
  std::printf("%s\n", out.dump(2).c_str());
  return 0;
}

}  // namespace quire_lm
