// SPDX-License-Identifier: Apache-2.0
// Quality against bytes: every cache sees the same tokens, one cache at a time, against the f32 cache's logits.
#include "compare.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include "quality.hpp"
#include "quire/core/checksum.hpp"
#include "quire/core/random.hpp"
#include "quire/evaluate/summary.hpp"
#include "retrieval.hpp"

namespace quire_lm {
namespace {

namespace ev = quire::evaluate;
using ev::row_score;

constexpr std::uint32_t chunk = 256, logit_rows = 128;          // rows of a step; of a step whose logits are read
constexpr std::uint32_t most_text_rows = 4096;                  // whose reference logits are held: 805 MB at a vocabulary of 49152
constexpr std::uint32_t drift_prompts = 4, drift_steps = 256, drift_bins = 16;
constexpr std::uint32_t stretch = 64;                           // rows of a text that are resampled together

void note(const std::string& what) { std::fprintf(stderr, "compare: %s\n", what.c_str()); }

/// Tokens whose rows [first, tokens.size() − 1) are scored: row i says what token i + 1 was.
struct passage {
  std::vector<token> tokens;
  std::uint32_t first = 0;
  bool whole = false;  ///< the tokens up to the first scored row are a prompt that is read whole
  std::uint32_t rows() const { return static_cast<std::uint32_t>(tokens.size()) - 1 - first; }
};

/// The reference's logits of all passages' rows, one after the other, kept so that no cache computes them again.
struct held_rows {
  std::vector<float> logits;  ///< [rows][vocabulary]
  std::vector<double> norm;   ///< [rows]
};

/// Scores of all passages' rows. With `fills`, the rows become the reference that later calls compare with.
std::vector<row_score> score_passages(backend& b, std::span<const passage> passages, held_rows& reference, bool fills, std::uint32_t threads,
                                      const std::function<void(double)>& progress) {
  const std::size_t width = b.vocabulary();
  std::size_t rows = 0;
  for (const passage& p : passages) rows += p.rows();
  if (fills) reference.logits.resize(rows * width), reference.norm.resize(rows);
  std::vector<float> own(fills ? 0 : logit_rows * width);
  std::vector<row_score> scores(rows);
  std::size_t row = 0;
  double done = 0;
  for (const passage& p : passages) {
    std::uint32_t s = 0;
    require(b.open(s));
    if (p.whole) require(b.read_whole_until(s, p.first + 1));
    const auto last = static_cast<std::uint32_t>(p.tokens.size()) - 1;
    for (std::uint32_t at = 0; at < last;) {
      const bool scored = at >= p.first;
      const std::uint32_t n = std::min(scored ? std::min(logit_rows, b.max_rows()) : b.max_rows(), (scored ? last : p.first) - at);
      float* logits = fills ? reference.logits.data() + row * width : own.data();
      step_rows(b, s, std::span<const token>(p.tokens).subspan(at, n), scored ? 0 : n, logits);
      if (scored) {
        each_index(n, threads, [&](std::size_t i) {
          const std::span<const float> x(logits + i * width, width), ref(reference.logits.data() + (row + i) * width, width);
          if (fills) reference.norm[row + i] = ev::log_sum_exp(x);
          scores[row + i] = ev::score_row(ref, reference.norm[row + i], x, static_cast<std::size_t>(p.tokens[at + i + 1]));
        });
        row += n;
      }
      at += n;
      if (progress) progress(done += n);
    }
    b.close(s);
  }
  return scores;
}

/// The prompt and `steps` tokens that the backend generates after it. Drawn, not the likeliest: a small model's likeliest tokens soon go
/// round in circles (here 24 different ones in 256), and what repeats is predicted alike from any cache.
passage continued(backend& b, std::span<const token> prompt, std::uint32_t steps, std::uint64_t seed) {
  sampler choose({.temperature = 1, .top_p = 0.9f, .seed = seed}, b.vocabulary());
  passage p{{prompt.begin(), prompt.end()}, static_cast<std::uint32_t>(prompt.size()) - 1, false};
  std::vector<float> logits(b.vocabulary());
  std::uint32_t s = 0;
  require(b.open(s));
  for (std::uint32_t at = 0; p.tokens.size() < prompt.size() + steps;) {
    const std::uint32_t n = std::min(b.max_rows(), static_cast<std::uint32_t>(p.tokens.size()) - at);
    step_rows(b, s, std::span<const token>(p.tokens).subspan(at, n), n - 1, logits.data());
    at += n;
    if (at == p.tokens.size()) p.tokens.push_back(choose(logits));
  }
  b.close(s);
  return p;
}

/// What every cache is asked.
struct tasks {
  std::vector<passage> text, drift;  ///< drift is filled by the f32 cache
  bool whole_prompts = false;
  retrieval_plan plans[2];
  std::vector<retrieval_prompt> prompts[2];  ///< by retrieval_kind
};
constexpr const char* task_names[2] = {"needle", "line_retrieval"};

json interval_of(const ev::interval& i) { return {i.low, i.high}; }

/// Trials of one part: how many, how many hit, the mean likelihood.
json part_of(const std::vector<answer_score>& s, const std::vector<std::size_t>& chosen) {
  std::vector<double> nll;
  std::size_t hits = 0;
  for (const std::size_t i : chosen) nll.push_back(s[i].nll), hits += s[i].hit;
  return {{"trials", chosen.size()}, {"hit_rate", chosen.empty() ? NAN : static_cast<double>(hits) / static_cast<double>(chosen.size())}, {"answer_nll", ev::mean(nll)}};
}

/// One task's results; `reference` are the f32 cache's answers to the same questions.
json retrieval_report(const std::vector<retrieval_prompt>& prompts, const retrieval_plan& plan, const std::vector<answer_score>& s, const std::vector<answer_score>& reference) {
  std::vector<double> nll, hit, nll_reference, hit_reference;
  std::vector<std::uint32_t> context, length;
  std::vector<double> depth;
  for (std::size_t c = 0; c < prompts.size(); ++c)
    for (const retrieval_trial& t : prompts[c].trials)
      context.push_back(static_cast<std::uint32_t>(c)), length.push_back(prompts[c].length), depth.push_back(t.depth);
  std::size_t hits = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    nll.push_back(s[i].nll), hit.push_back(s[i].hit), hits += s[i].hit;
    nll_reference.push_back(reference[i].nll), hit_reference.push_back(reference[i].hit);
  }
  const auto d_nll = ev::compare_paired(nll, nll_reference, context), d_hit = ev::compare_paired(hit, hit_reference, context);
  json by_length = json::array(), by_depth = json::array();
  const auto chosen = [&](auto&& keep) {
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < s.size(); ++i)
      if (keep(i)) out.push_back(i);
    return out;
  };
  for (const std::uint32_t n : plan.lengths) {
    json j{{"tokens", n}};
    j.update(part_of(s, chosen([&](std::size_t i) { return length[i] == n; })));
    by_length.push_back(std::move(j));
  }
  for (int bin = 0; bin < 5; ++bin) {
    json j{{"from", bin / 5.0}, {"to", (bin + 1) / 5.0}};
    j.update(part_of(s, chosen([&](std::size_t i) { return std::min(4, static_cast<int>(depth[i] * 5)) == bin; })));
    by_depth.push_back(std::move(j));
  }
  return {{"trials", s.size()},
          {"hit_rate", ev::mean(hit)},
          {"hit_interval", interval_of(ev::wilson(hits, s.size()))},
          {"answer_nll", ev::mean(nll)},
          {"answer_nll_interval", interval_of(ev::bootstrap_mean(nll, context))},
          {"hit_rate_less_f32", d_hit.mean},
          {"hit_rate_less_f32_interval", interval_of(d_hit.within)},
          {"answer_nll_less_f32", d_nll.mean},
          {"answer_nll_less_f32_interval", interval_of(d_nll.within)},
          {"by_length", by_length},
          {"by_depth", by_depth},
          {"nll", nll},
          {"hit", hit}};
}

std::vector<double> kl_of(const std::vector<row_score>& s) {
  std::vector<double> out;
  for (const row_score& r : s) out.push_back(r.kl);
  return out;
}
std::vector<std::uint32_t> clusters(std::size_t rows, std::uint32_t size) {
  std::vector<std::uint32_t> out;
  for (std::size_t i = 0; i < rows; ++i) out.push_back(static_cast<std::uint32_t>(i / size));
  return out;
}

/// Everything of one cache. `text_reference`, `drift_reference` are filled by the f32 cache, `answers` are its answers.
json measure_arm(backend& b, const cache_name& name, const model_config& config, const tasks& t, std::uint32_t depth, held_rows& text_reference, held_rows& drift_reference,
                 std::vector<answer_score> (&answers)[2], bool first, std::uint32_t threads, progress_line& line) {
  const double start = now();
  const std::string what = "compare: " + std::string(name.name) + ": ";
  double total = 0;
  for (const passage& p : t.text) total += static_cast<double>(p.tokens.size() - 1);
  line.rename(what + "text");
  const auto text = score_passages(b, t.text, text_reference, first, threads, [&](double done) { line.at(done, total); });
  line.rename(what + "drift");
  const auto drift = score_passages(b, t.drift, drift_reference, first, threads, [&](double done) { line.at(done, drift_prompts * static_cast<double>(t.drift[0].tokens.size())); });
  const auto kl = kl_of(text), drift_kl = kl_of(drift);
  double nll = 0, agreed = 0;
  for (const row_score& r : text) nll += r.nll / static_cast<double>(text.size()), agreed += r.agrees;
  json retrieval[2];
  for (int k = 0; k < 2; ++k) {
    total = 0;
    for (const retrieval_prompt& p : t.prompts[k]) {
      total += static_cast<double>(p.context.size());
      for (const retrieval_trial& q : p.trials) total += static_cast<double>(q.ask.size() + q.answer.size());
    }
    line.rename(what + task_names[k]);
    const auto scores = score_answers(b, t.prompts[k], threads, t.whole_prompts, [&](double done) { line.at(done, total); });
    if (first) answers[k] = scores;
    retrieval[k] = retrieval_report(t.prompts[k], t.plans[k], scores, answers[k]);
  }
  line.rename(what + "size and speed");
  const footprint f = measure_footprint(b, depth);
  if (f.bytes != f.formula)
    note(std::string(name.name) + " holds " + std::to_string(f.bytes) + " bytes at " + std::to_string(depth) + " tokens, the formula says " + std::to_string(f.formula));
  const double elements = 2.0 * config.layers * config.kv_heads * config.head_dim * depth;
  const auto d = ev::summarize(kl);
  const auto drift_clusters = clusters(drift_kl.size(), drift_steps);
  std::vector<double> early, late;  // of the first and the last quarter of each continuation
  std::vector<std::uint32_t> quarter_cluster;
  for (std::size_t i = 0; i < drift_kl.size(); ++i)
    if (i % drift_steps < drift_steps / 4) early.push_back(drift_kl[i]), late.push_back(drift_kl[i + drift_steps * 3 / 4]), quarter_cluster.push_back(drift_clusters[i]);
  const auto rise = ev::compare_paired(late, early, quarter_cluster);
  line.clear();
  return {{"kv", name.name},
          {"what", name.what},
          {"bytes_per_token", b.bytes_per_token()},
          {"cache_bytes", f.bytes},
          {"cache_bytes_formula", f.formula},
          {"bits_per_element", 8.0 * static_cast<double>(f.bytes) / elements},
          {"perplexity", std::exp(nll)},
          {"kl_mean", d.mean},
          {"kl_mean_interval", interval_of(ev::bootstrap_mean(kl, clusters(kl.size(), stretch)))},
          {"kl_p50", d.p50},
          {"kl_p90", d.p90},
          {"kl_p99", d.p99},
          {"top1", agreed / static_cast<double>(text.size())},
          {"drift",
           {{"kl_mean", ev::mean(drift_kl)}, {"kl", ev::mean_by_position(drift_kl, drift_steps, drift_bins)}, {"rise", rise.mean}, {"rise_interval", interval_of(rise.within)}}},
          {task_names[0], retrieval[0]},
          {task_names[1], retrieval[1]},
          {"prefill_tokens_per_second", f.prefill},
          {"decode_tokens_per_second", f.decode},
          {"seconds", now() - start}};
}

/// The report on disk is whole at every moment: a stopped run keeps the rows it had.
void write_report(const std::string& path, const json& report) {
  const std::string partial = path + ".partial";
  std::ofstream out(partial, std::ios::binary);
  out << report.dump(1) << "\n";
  out.close();
  if (!out || std::rename(partial.c_str(), path.c_str()) != 0)
    throw bad_input("--report is " + quire_lm::quoted(path) + ", which can't be written: " + std::strerror(errno));
}

/// Rows of an earlier run with the same settings. fails: bad_input naming the first that differs.
json kept_rows(const std::string& path, const json& settings, bool whole_prompts) {
  json old = json::parse(read_text(path, "--report"), nullptr, false);
  if (!old.is_object() || !old.contains("rows") || !old["rows"].is_array())
    throw bad_input("--report is " + quire_lm::quoted(path) + ", which is no report, allowed with --resume a report or no file");
  for (const auto& [key, value] : settings.items())
    if (!old.contains(key) || old[key] != value)
      throw bad_input("--report is " + quire_lm::quoted(path) + ", whose " + key + " is " + (old.contains(key) ? old[key].dump() : "absent") + " and not " + value.dump() +
                      ", allowed with --resume a report of the same settings");
  if (old.value("whole_prompts", false) != whole_prompts)
    throw bad_input("--report is " + quire_lm::quoted(path) + ", whose prompts were read " + (whole_prompts ? "without" : "with") + " --whole-prompts, allowed with --resume a report of the same settings");
  return old["rows"];
}

/// Says whether two reports are of the same text.
std::string hash_of(std::span<const token> tokens) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(quire::fnv1a(std::as_bytes(tokens))));
  return text;
}

/// How many different tokens a continuation has, as a share: low where it went round in circles.
double variety(std::span<const passage> passages) {
  double sum = 0;
  for (const passage& p : passages) sum += static_cast<double>(std::set<token>(p.tokens.begin() + p.first + 1, p.tokens.end()).size()) / p.rows();
  return sum / static_cast<double>(passages.size());
}

std::string percent(const json& rate) { return rate.is_number() ? fixed(100 * rate.get<double>(), 0) : "-"; }
std::string digits(const json& x, int n) { return x.is_number() ? fixed(x.get<double>(), n) : "-"; }

void print_table(const json& rows) {
  table shown({"cache", "bits/element", "MB", "perplexity", "mean KL", "99 % KL", "top-1 %", "drift KL", "needle %", "needle NLL", "line %", "line NLL", "decode tok/s"});
  for (const json& r : rows)
    shown.row({r["kv"].get<std::string>(), digits(r["bits_per_element"], 2), fixed(r["cache_bytes"].get<double>() / 1e6, 2), digits(r["perplexity"], 3), digits(r["kl_mean"], 5),
               digits(r["kl_p99"], 4), digits(r["top1"].get<double>() * 100, 1), digits(r["drift"]["kl_mean"], 5), percent(r["needle"]["hit_rate"]),
               digits(r["needle"]["answer_nll"], 3), percent(r["line_retrieval"]["hit_rate"]), digits(r["line_retrieval"]["answer_nll"], 3), digits(r["decode_tokens_per_second"], 1)});
  shown.print(stdout);
}

}  // namespace

int compare_suite(const compare_options& o) {
  if (o.report.empty()) throw bad_input("--report is absent, needed by --suite");
  for (const auto& [wrong, flag] : {std::pair(!o.prompt.empty(), "--prompt"), std::pair(!o.output.empty(), "--output")})
    if (wrong) throw bad_input(std::string(flag) + " is given with --suite, allowed only without it");
  const std::uint32_t context = o.context == 0 ? 4096 : o.context, trials = o.trials.value_or(50);
  const std::uint64_t seed = o.seed.value_or(0);
  for (const std::uint32_t n : o.lengths)
    if (n > context) throw bad_input("--lengths is " + std::to_string(n) + ", allowed at most --context " + std::to_string(context));
  if (context < 1024) throw bad_input("--context is " + std::to_string(context) + ", allowed with --suite 1024 to the model's");
  const std::string text = o.file.empty() ? own_texts() : read_text(o.file, "--file");
  const instruction_set isa = pick_instruction_set(o.isa);
  const loaded_model m = load_model(o);
  const model_config& config = m.config();
  if (context > config.context) throw bad_input("--context is " + std::to_string(context) + ", allowed with --suite 1024 to the model's " + std::to_string(config.context));
  const std::vector<token> tokens = encode_text(*m.tok, text, "--file", false);
  const std::uint32_t drift_prompt = std::min(1024u, context / 4);
  if (tokens.size() < std::max(context, drift_prompt * drift_prompts))
    throw bad_input("--file has " + std::to_string(tokens.size()) + " tokens, allowed at least " + std::to_string(std::max(context, drift_prompt * drift_prompts)) + " for --context " + std::to_string(context));

  tasks t;
  t.whole_prompts = o.whole_prompts;
  const auto bos = m.tok->adds_bos() ? m.tok->bos() : std::nullopt;
  const auto piece = [&](std::size_t at, std::uint32_t n) {
    std::vector<token> out(tokens.begin() + static_cast<std::ptrdiff_t>(at), tokens.begin() + static_cast<std::ptrdiff_t>(at + n));
    if (bos) out[0] = *bos;
    return out;
  };
  const std::size_t windows = std::min<std::size_t>(tokens.size() / context, std::max(1u, most_text_rows / (context / 2)));
  for (std::size_t w = 0; w < windows; ++w) t.text.push_back({piece(w * context, context), context / 2, false});
  for (const retrieval_kind k : {retrieval_kind::needle, retrieval_kind::line}) {
    retrieval_plan& plan = t.plans[static_cast<int>(k)];
    plan = {.kind = k, .lengths = o.lengths.empty() ? std::vector<std::uint32_t>{context / 4, context / 2, context} : o.lengths, .trials = trials, .seed = seed};
    if (k == retrieval_kind::needle) plan.facts = 3, plan.digits = 5;
    else plan.facts = 4, plan.digits = 4;
    if (o.facts) plan.facts = *o.facts;
    const std::string_view name = k == retrieval_kind::needle ? "needle" : "line";
    if (o.tasks.empty() || std::find(o.tasks.begin(), o.tasks.end(), name) != o.tasks.end()) t.prompts[static_cast<int>(k)] = make_prompts(*m.tok, plan);
  }
  const std::uint32_t depth = std::min(context, config.context - footprint_steps);

  json report{{"suite", "kv"}, {"version", 1}, {"model", config.name}, {"text", o.file.empty() ? "own" : std::filesystem::path(o.file).filename().string()},
              {"text_tokens", tokens.size()}, {"text_hash", hash_of(tokens)}, {"context", context}, {"seed", seed}, {"trials", trials},
              {"isa", isa.name}, {"threads", o.threads},
              {"layers", config.layers}, {"kv_heads", config.kv_heads}, {"head_dim", config.head_dim},
              {"text_rows", windows * t.text[0].rows()}, {"drift", {{"prompts", drift_prompts}, {"prompt_tokens", drift_prompt}, {"steps", drift_steps}, {"temperature", 1.0}, {"top_p", 0.9}}}};
  if (o.whole_prompts) report["whole_prompts"] = true;
  for (int k = 0; k < 2; ++k) {
    json& j = report[task_names[k]];
    j = {{"lengths", t.plans[k].lengths}, {"facts", t.plans[k].facts}, {"digits", t.plans[k].digits}, {"context", json::array()}, {"tokens", json::array()}, {"depth", json::array()}};
    for (std::size_t c = 0; c < t.prompts[k].size(); ++c)
      for (const retrieval_trial& q : t.prompts[k][c].trials) j["context"].push_back(c), j["tokens"].push_back(t.prompts[k][c].length), j["depth"].push_back(std::round(q.depth * 1e4) / 1e4);
  }
  json rows = json::array();
  if (o.resume && std::filesystem::exists(o.report)) rows = kept_rows(o.report, report, o.whole_prompts);
  report["depth"] = depth;
  report["rows"] = rows;
  write_report(o.report, report);

  const std::vector<cache_name> names = chosen_caches(o.kvs);
  const auto kept = [&](std::string_view name) -> const json* {
    for (const json& r : report["rows"])
      if (r["kv"] == name) return &r;
    return nullptr;
  };
  held_rows text_reference, drift_reference;
  std::vector<answer_score> answers[2];
  progress_line line("compare");
  std::uint32_t longest = depth + footprint_steps;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const cache_name& c = names[i];
    const bool first = i == 0;
    if (kept(c.name) != nullptr && !first) continue;
    note(std::string(c.name) + " (" + std::to_string(i + 1) + " of " + std::to_string(names.size()) + ")");
    const auto model = isa.make(*m.weights, {.kv = c.name, .threads = o.threads, .max_rows = chunk, .sequences = 2, .max_tokens = longest, .whole_prompts = o.whole_prompts});
    if (first) {
      line.rename("compare: f32: what every cache continues");
      for (std::uint32_t p = 0; p < drift_prompts; ++p) t.drift.push_back(continued(*model, piece(std::size_t{p} * drift_prompt, drift_prompt), drift_steps, quire::splitmix64(seed).part(p)()));
      for (passage& p : t.drift) p.whole = o.whole_prompts;
      report["drift_variety"] = variety(t.drift);
    }
    if (const json* r = kept(c.name)) {  // the reference itself: its logits are needed again, its results are not
      static_cast<void>(score_passages(*model, t.text, text_reference, true, o.threads, {}));
      static_cast<void>(score_passages(*model, t.drift, drift_reference, true, o.threads, {}));
      for (int k = 0; k < 2; ++k)
        for (std::size_t q = 0; q < (*r)[task_names[k]]["nll"].size(); ++q)
          answers[k].push_back({(*r)[task_names[k]]["nll"][q].get<double>(), (*r)[task_names[k]]["hit"][q].get<double>() != 0});
      continue;
    }
    report["rows"].push_back(measure_arm(*model, c, config, t, depth, text_reference, drift_reference, answers, first, o.threads, line));
    write_report(o.report, report);
    note(std::string(c.name) + ": " + fixed(report["rows"].back()["seconds"].get<double>(), 0) + " s, mean KL " + digits(report["rows"].back()["kl_mean"], 5));
  }
  if (o.as_json) {
    std::printf("%s\n", report.dump(1).c_str());
  } else {
    print_table(report["rows"]);
  }
  return 0;
}

}  // namespace quire_lm
