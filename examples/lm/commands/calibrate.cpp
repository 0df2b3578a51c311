// SPDX-License-Identifier: Apache-2.0
// Head scores of a model from forward passes: echo and induction on repeated random tokens (RazorAttention), gates from what
// the last hidden state loses when one head streams (DuoAttention's objective, linearised; see quire/calibrate/gates.hpp).
#include "compare.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quire/calibrate/gate_samples.hpp"
#include "quire/calibrate/gates.hpp"
#include "quire/calibrate/profile.hpp"
#include "quire/calibrate/repeat_scores.hpp"
#include "quire/calibrate/sampling.hpp"
#include "quire/calibrate/select_heads.hpp"
#include "quire/core/random.hpp"

namespace quire_lm {
namespace {

constexpr std::uint32_t chunk_rows = 256;

namespace cal = quire::calibrate;
using quire::serve::model_input;

/// A text to remember: haystack with numbered passkeys, then every question with its answer. Labels are the questions' part.
struct gate_text {
  std::vector<token> tokens;
  std::uint32_t labels_from = 0;
};

constexpr const char* ordinals[] = {"first", "second", "third", "fourth", "fifth", "sixth"};

std::vector<token> plain(const tokenizer& tok, const std::string& text) { return tok.encode(text, {.add_special = false, .parse_special = false}); }

gate_text make_gate_text(const tokenizer& tok, const std::vector<token>& haystack, std::uint32_t length, std::uint64_t seed) {
  quire::splitmix64 random(seed);
  std::vector<token> questions;
  std::vector<std::vector<token>> needles;
  for (const char* which : ordinals) {
    std::string key;
    for (int i = 0; i < 5; ++i) key += static_cast<char>('0' + random.below(10));
    needles.push_back(plain(tok, " Remember this: the " + std::string(which) + " passkey is " + key + "."));
    const auto asked = plain(tok, "\nWhat is the " + std::string(which) + " passkey? The " + which + " passkey is " + key + ".");
    questions.insert(questions.end(), asked.begin(), asked.end());
  }
  std::size_t taken = questions.size();
  for (const auto& n : needles) taken += n.size();
  if (taken >= length) throw bad_input("--length is " + std::to_string(length) + ", allowed at least " + std::to_string(taken + 1));
  const std::size_t straw = length - taken, start = random.below(haystack.size() - std::min(haystack.size() - 1, straw));
  std::vector<std::size_t> depths;
  for (std::size_t i = 0; i < needles.size(); ++i) depths.push_back(static_cast<std::size_t>(static_cast<double>(straw) * (0.05 + 0.9 * static_cast<double>(random.below(1000)) / 1000)));
  std::sort(depths.begin(), depths.end());
  gate_text out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < straw; ++i) {
    while (next < depths.size() && depths[next] == i) out.tokens.insert(out.tokens.end(), needles[next].begin(), needles[next].end()), ++next;
    out.tokens.push_back(haystack[(start + i) % haystack.size()]);
  }
  for (; next < needles.size(); ++next) out.tokens.insert(out.tokens.end(), needles[next].begin(), needles[next].end());
  out.labels_from = static_cast<std::uint32_t>(out.tokens.size());
  out.tokens.insert(out.tokens.end(), questions.begin(), questions.end());
  if (tok.bos() && tok.adds_bos()) out.tokens[0] = *tok.bos();
  return out;
}

/// Last hidden states of the labels, [labels][width].
std::vector<float> hidden_of(backend& b, const gate_text& text) {
  const auto n = static_cast<std::uint32_t>(text.tokens.size());
  std::vector<float> out(std::size_t{n - text.labels_from} * b.width());
  std::uint32_t s = 0;
  require(b.open(s));
  for (std::uint32_t at = 0; at < n;) {
    const std::uint32_t rows = std::min(b.max_rows(), n - at), from = std::min(rows, text.labels_from > at ? text.labels_from - at : 0);
    const model_input in{s, at, std::span(text.tokens).subspan(at, rows), false};
    require(b.reserve(s, rows));
    require(b.step_hidden(in, from, out.data() + std::size_t{at + from - std::min(at + from, text.labels_from)} * b.width()));
    require(b.commit(s, rows));
    at += rows;
  }
  b.close(s);
  return out;
}

/// Echo and induction scores, averaged over several probes.
cal::repeat_scores look_back(const instruction_set& isa, const loaded_model& m, const calibrate_options& o) {
  const model_config& c = m.config();
  const cal::repeat_probe probe{.period = o.period, .repeats = o.repeats};
  if (const quire::status s = cal::check(probe); !s) throw bad_input("--period and --repeats: " + quire::describe(s));
  if (probe.tokens() > c.context) throw bad_input("--period times --repeats is " + std::to_string(probe.tokens()) + " tokens, allowed at most the model's " + std::to_string(c.context));
  cal::repeat_scores scores({.layers = c.layers, .q_heads = c.q_heads, .kv_heads = c.kv_heads, .probe = probe});
  const auto b = isa.make(*m.weights, {.kv = "bf16", .threads = o.threads, .max_rows = chunk_rows, .sequences = 1, .max_tokens = probe.tokens()});
  const auto ids_from = static_cast<std::int32_t>(std::min<std::uint32_t>(c.vocabulary / 8, 1000));  // past control tokens and single bytes
  progress_line line("calibrate: echo and induction");
  std::vector<token> ids;
  for (std::uint32_t p = 0; p < o.probes; ++p) {
    const token lead = m.tok->bos().value_or(ids_from);
    if (const quire::status s = cal::make_repeat_tokens(probe, lead, ids_from, c.vocabulary - static_cast<std::uint32_t>(ids_from), o.seed + p, ids); !s) throw bad_input("--period: " + quire::describe(s));
    std::uint32_t sequence = 0;
    require(b->open(sequence));
    for (std::uint32_t at = 0; at < ids.size();) {
      const std::uint32_t n = std::min<std::uint32_t>(b->max_rows(), static_cast<std::uint32_t>(ids.size()) - at);
      require(b->reserve(sequence, n));
      require(b->probe({sequence, at, std::span<const token>(ids).subspan(at, n), false}, scores));
      require(b->commit(sequence, n));
      at += n;
      line.at(static_cast<double>(p) + static_cast<double>(at) / static_cast<double>(ids.size()), o.probes);
    }
    b->close(sequence);
    require(scores.collect());
  }
  line.clear();
  return scores;
}

/// Passes over a calibration text with some heads whole and the others streaming.
class head_passes {
 public:
  head_passes(const instruction_set& isa, const loaded_model& m, const calibrate_options& o, const gate_text& text)
      : isa_(isa), m_(m), text_(text), heads_(m.config().cache_extents().heads()), cache_("split:sinks=" + std::to_string(o.sinks) + ":window=" + std::to_string(o.window)),
        options_{.kv = cache_, .threads = o.threads, .max_rows = chunk_rows, .sequences = 1, .max_tokens = static_cast<std::uint32_t>(text.tokens.size())},
        full_(hidden(std::vector<std::uint8_t>(heads_, 1))) {}

  /// D around `anchor` as gate_objective takes it, r included. `done` is called after each head.
  template <class F>
  std::vector<double> around(const std::vector<std::uint8_t>& anchor, F&& done) const {
    const std::vector<float> base = hidden(anchor);
    std::vector<float> moves(full_.size() * (heads_ + 1));
    std::vector<std::uint8_t> whole = anchor;
    for (std::uint32_t h = 0; h < heads_; ++h) {
      whole[h] ^= 1;
      const std::vector<float> other = hidden(whole);
      whole[h] ^= 1;
      for (std::size_t k = 0; k < full_.size(); ++k) moves[h * full_.size() + k] = anchor[h] != 0 ? base[k] - other[k] : other[k] - base[k];
      done();
    }
    for (std::size_t k = 0; k < full_.size(); ++k) moves[heads_ * full_.size() + k] = full_[k] - base[k];
    std::vector<double> d(std::size_t{heads_ + 1} * (heads_ + 1));
    cal::gate_gram(moves.data(), heads_ + 1, tokens(), m_.config().width, d.data());
    return d;
  }
  /// The mean square by which the last hidden state is off when only these heads are whole.
  double distance(const std::vector<std::uint8_t>& whole) const {
    std::vector<float> moves = hidden(whole);
    for (std::size_t k = 0; k < full_.size(); ++k) moves[k] -= full_[k];
    double d = 0;
    cal::gate_gram(moves.data(), 1, tokens(), m_.config().width, &d);
    return d;
  }

 private:
  std::uint32_t tokens() const { return static_cast<std::uint32_t>(full_.size() / m_.config().width); }
  std::vector<float> hidden(const std::vector<std::uint8_t>& whole) const {
    backend_options these = options_;
    these.whole_heads = whole;
    return hidden_of(*isa_.make(*m_.weights, these), text_);
  }

  const instruction_set& isa_;
  const loaded_model& m_;
  const gate_text& text_;
  std::uint32_t heads_;
  std::string cache_;
  backend_options options_;
  std::vector<float> full_;
};

/// One D matrix a sample: a pass with the whole cache and one with each head alone streaming.
cal::gate_samples leave_one_out(const instruction_set& isa, const loaded_model& m, const calibrate_options& o, const std::vector<gate_text>& texts) {
  const model_config& c = m.config();
  const std::uint32_t heads = c.cache_extents().heads();
  cal::gate_samples out{.layers = c.layers, .kv_heads = c.kv_heads, .samples = o.samples, .d = {}};
  progress_line line("calibrate: one head at a time");
  double done = 0;
  for (const gate_text& text : texts) {
    const std::vector<double> d = head_passes(isa, m, o, text).around(std::vector<std::uint8_t>(heads, 1), [&] { line.at(++done, static_cast<double>(o.samples) * heads); });
    for (std::uint32_t h = 0; h < heads; ++h) out.d.insert(out.d.end(), d.begin() + h * (heads + std::ptrdiff_t{1}), d.begin() + h * (heads + std::ptrdiff_t{1}) + heads);  // r is 0
  }
  line.clear();
  return out;
}

struct learned_gates {
  cal::trained_gates trained;
  double least = 0;   ///< what the best gates reach
};
learned_gates learn(const cal::gate_objective& objective, const calibrate_options& o) {
  cal::adamw<double> optimizer(objective.heads(), {.weight_decay = 0});
  const cal::rate_schedule<cal::profile::linear> rates{.peak = 0.02, .steps = o.steps};
  learned_gates out;
  require(cal::train_gates(objective, optimizer, rates, {.steps = o.steps, .seed = o.seed}, out.trained));
  std::vector<double> best;
  static_cast<void>(cal::solve_gates(objective, best));
  out.least = objective.value(std::span<const double>(best));
  return out;
}

/// Gates for keeping a share of all heads: first from the passes around all, then from passes around the heads kept so far. The ones whose heads
/// leave the hidden state nearest to the full cache's are returned, and how far off each round was.
head_scores::budget learn_budget(const instruction_set& isa, const loaded_model& m, const calibrate_options& o, const std::vector<gate_text>& texts, const cal::gate_samples& whole, double keep,
                                 std::vector<double>& off) {
  const auto heads = static_cast<std::uint32_t>(whole.heads());
  head_scores::budget best{.keep = keep, .gates = {}};
  double least = std::numeric_limits<double>::infinity();
  std::vector<std::uint8_t> kept;
  const auto choose = [&](cal::gate_objective& objective) {
    cal::set_budget(objective, keep * heads);
    const std::vector<double> gates = learn(objective, o).trained.gates;
    require(cal::select_by_sparsity(gates, 1 - keep, kept));
    return gates;
  };
  const auto score = [&](double distance, const std::vector<double>& gates) {
    off.push_back(distance);
    if (distance < least) least = distance, best.gates = gates;
  };
  cal::gate_objective first(heads, {.lambda = o.lambda});
  for (std::uint32_t i = 0; i < whole.samples; ++i) require(first.add(whole.sample(i)));
  std::vector<double> gates = choose(first);
  progress_line line("calibrate: " + fixed(100 * keep, 1) + " % of the heads");
  std::vector<head_passes> passes;
  for (const gate_text& text : texts) passes.emplace_back(isa, m, o, text);
  double done = 0;
  for (std::uint32_t round = 0; round < o.rounds; ++round) {
    cal::gate_objective objective(heads, {.lambda = o.lambda}, kept);
    for (const head_passes& p : passes) require(objective.add(p.around(kept, [&] { line.at(++done, static_cast<double>(texts.size()) * heads * o.rounds); })));
    score(objective.mean().back(), gates);
    gates = choose(objective);
  }
  double distance = 0;
  for (const head_passes& p : passes) distance += p.distance(kept) / static_cast<double>(passes.size());
  score(distance, gates);
  line.clear();
  return best;
}

/// What an earlier run recorded. fails: bad_input naming --from.
cal::gate_samples recorded(const std::string& path, const model_config& c) {
  const std::string text = read_text(path, "--from");
  cal::gate_samples out;
  if (const quire::status s = cal::gate_file::read(std::as_bytes(std::span(text)), out); !s) throw bad_input("--from is " + quire_lm::quoted(path) + ", which can't be used: " + quire::describe(s));
  if (out.layers != c.layers || out.kv_heads != c.kv_heads)
    throw bad_input("--from is " + quire_lm::quoted(path) + " of " + std::to_string(out.layers) + " x " + std::to_string(out.kv_heads) + " heads, allowed the model's " +
                    std::to_string(c.layers) + " x " + std::to_string(c.kv_heads));
  return out;
}

}  // namespace

int calibrate(const calibrate_options& given) {
  calibrate_options o = given;
  o.wide = true;  // the rounding of 8-bit activations moves hidden states more than most single heads do
  const std::string text = o.file.empty() ? own_texts() : read_text(o.file, "--file");
  std::ofstream file(o.output);
  if (!file) throw bad_input("--output is " + quire_lm::quoted(o.output) + ", which can't be written: " + std::strerror(errno));
  const instruction_set isa = pick_instruction_set(o.isa);
  const loaded_model m = load_model(o);
  const std::vector<token> haystack = encode_text(*m.tok, text, "--file", false);
  if (haystack.empty()) throw bad_input("--file has no tokens, allowed at least one");
  if (o.length > m.config().context) throw bad_input("--length is " + std::to_string(o.length) + ", allowed at most the model's " + std::to_string(m.config().context));
  std::vector<gate_text> texts;
  for (std::uint32_t i = 0; i < o.samples; ++i) texts.push_back(make_gate_text(*m.tok, haystack, o.length, o.seed + i));

  const double start = now();
  const cal::repeat_scores repeats = look_back(isa, m, o);
  const cal::gate_samples samples = o.from.empty() ? leave_one_out(isa, m, o, texts) : recorded(o.from, m.config());
  if (!o.record.empty()) {
    std::vector<std::byte> bytes;
    require(cal::gate_file::write(samples, bytes));
    std::ofstream to(o.record, std::ios::binary);
    to.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!to) throw bad_input("--record is " + quire_lm::quoted(o.record) + ", which can't be written: " + std::strerror(errno));
  }
  const auto heads = static_cast<std::uint32_t>(samples.heads());
  cal::gate_objective objective(heads, {.lambda = o.lambda});
  for (std::uint32_t i = 0; i < samples.samples; ++i) require(objective.add(samples.sample(i)));
  const learned_gates general = learn(objective, o);
  std::vector<head_scores::budget> budgets;
  std::vector<std::vector<double>> off(o.keeps.size());
  for (std::size_t k = 0; k < o.keeps.size(); ++k) budgets.push_back(learn_budget(isa, m, o, texts, samples, o.keeps[k], off[k]));
  const double passes = now() - start;

  head_scores scores{.gates = general.trained.gates, .induction = repeats.induction(), .echo = repeats.echo(), .how = {}, .budgets = std::move(budgets)};
  scores.how = "quire-lm calibrate: " + std::to_string(o.probes) + " probes of " + std::to_string(o.repeats) + " x " + std::to_string(o.period) + " random tokens; " +
               std::to_string(samples.samples) + " passkey texts of " + std::to_string(o.length) + " tokens, sinks " + std::to_string(o.sinks) + ", window " + std::to_string(o.window) +
               ", lambda " + fixed(o.lambda, 3) + ", AdamW 0.02 with linear decay, " + std::to_string(o.steps) + " steps; " +
               (o.keeps.empty() ? "" : "budgets in " + std::to_string(o.rounds) + " rounds around the heads kept; ") + "seed " + std::to_string(o.seed);
  write_head_scores(file, scores, m.config());
  file.close();
  if (!file) throw bad_input("--output is " + quire_lm::quoted(o.output) + ", which can't be written: " + std::strerror(errno));

  const auto above = [&](double x) { return std::count_if(scores.gates.begin(), scores.gates.end(), [&](double g) { return g > x; }); };
  const double reached = general.trained.objective.back(), least = general.least;
  if (o.as_json) {
    std::printf("%s\n", json{{"output", o.output}, {"heads", heads}, {"seconds", passes}, {"gates_above_half", above(0.5)}, {"objective", reached}, {"objective_least", least},
                             {"objective_start", general.trained.objective.front()}, {"keep", o.keeps}, {"off", off}, {"isa", isa.name}, {"threads", o.threads}}.dump(2).c_str());
    return 0;
  }
  table shown({"layer", "kv head", "gate", "induction", "echo"});
  std::vector<std::uint32_t> order(heads);
  for (std::uint32_t h = 0; h < heads; ++h) order[h] = h;
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return scores.induction[a] > scores.induction[b]; });
  for (std::uint32_t i = 0; i < std::min(heads, 16u); ++i) {
    const std::uint32_t h = order[i];
    shown.row({std::to_string(h / m.config().kv_heads), std::to_string(h % m.config().kv_heads), fixed(scores.gates[h], 3), fixed(scores.induction[h], 3), fixed(scores.echo[h], 3)});
  }
  shown.print(stdout);
  for (std::size_t k = 0; k < off.size(); ++k) {
    std::string rounds;
    for (const double x : off[k]) rounds += (rounds.empty() ? "" : ", ") + fixed(x, 4);
    std::printf("%s of the heads whole: the last hidden state is off by a mean square of %s\n", fixed(o.keeps[k], 3).c_str(), rounds.c_str());
  }
  std::printf("the %u heads with the highest induction scores of %u; %td gates above 0.5; gate objective %.5f after %u steps, %.5f at best; passes took %.0f s\nwritten to %s\n",
              std::min(heads, 16u), heads, above(0.5), reached, o.steps, least, passes, o.output.c_str());
  return 0;
}

}  // namespace quire_lm
