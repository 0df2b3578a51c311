// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <algorithm>

#include "quire/serve/engine.hpp"

namespace quire_lm {
namespace {

using quire::status;

/// A backend that counts what its sequences hold.
class metered {
 public:
  metered(backend& b, std::uint32_t sequences) : backend_(b), held_(sequences, 0) {}

  status open(std::uint32_t& s) { return backend_.open(s); }
  status announce(std::uint32_t s, std::uint32_t prompt) { return backend_.announce(s, prompt); }
  status reserve(std::uint32_t s, std::uint32_t n) { return backend_.reserve(s, n); }
  status commit(std::uint32_t s, std::uint32_t n) {
    const status done = backend_.commit(s, n);
    hold(s, backend_.bytes(s));
    return done;
  }
  void close(std::uint32_t s) {
    if (backend_.bytes(s) != backend_.formula_bytes(backend_.length(s))) as_formula_ = false;
    hold(s, 0);
    backend_.close(s);
  }
  std::uint32_t length(std::uint32_t s) const { return backend_.length(s); }

  std::uint32_t vocabulary() const { return backend_.vocabulary(); }
  status step(metered&, std::span<const quire::serve::model_input> inputs, float* logits) { return backend_.step(backend_, inputs, logits); }

  std::size_t most() const { return most_; }
  bool as_formula() const { return as_formula_; }

 private:
  void hold(std::uint32_t s, std::size_t bytes) {
    total_ = total_ - held_[s] + bytes;
    held_[s] = bytes;
    most_ = std::max(most_, total_);
  }
  backend& backend_;
  std::vector<std::size_t> held_;
  std::size_t total_ = 0, most_ = 0;
  bool as_formula_ = true;
};
static_assert(quire::serve::Model<metered, metered>);

struct source {
  std::string text, flag;
};

std::vector<source> read_sources(const generate_options& o) {
  std::vector<source> out;
  for (const std::string& p : o.prompts) out.push_back({p, "--prompt"});
  for (const std::string& f : o.prompt_files) out.push_back({read_text(f, "--prompt-file"), "--prompt-file"});
  if (out.empty()) throw bad_input("--prompt is absent, allowed once or more, or --prompt-file");
  for (const source& s : out) {
    if (s.text.empty()) throw bad_input(s.flag + " is '', allowed at least one character");
    require_utf8(s.text, s.flag);
  }
  return out;
}

json report(const run_result& r, const std::string& text, const backend& b) {
  const double decoded = static_cast<double>(r.generated.empty() ? 0 : r.generated.size() - 1);
  return {{"text", text},
          {"tokens", r.generated},
          {"prompt_tokens", r.prompt_tokens},
          {"stopped", r.stopped},
          {"prefill_tokens_per_second", rate(r.prompt_tokens, r.first_token)},
          {"decode_tokens_per_second", rate(decoded, r.last_token - r.first_token)},
          {"kv_bytes", b.formula_bytes(r.rows)}};
}

}  // namespace

std::vector<run_result> run_prompts(backend& model, const tokenizer& tok, const std::vector<std::vector<token>>& prompts, std::uint32_t tokens,
                                    const sampler_options& sampling, std::uint32_t seats,
                                    const std::function<void(std::size_t, token)>& on_token, std::size_t& kv_bytes) {
  namespace serve = quire::serve;
  std::vector<token> ends;
  for (token t = 0; static_cast<std::size_t>(t) < tok.size(); ++t)
    if (tok.is_end(t)) ends.push_back(t);

  metered store(model, seats);
  serve::engine<metered, metered> engine(store, store, quire::schedule::policy<>{.batching = {.tau = model.max_rows()}},
                                         {.max_running = std::min(seats, model.max_rows()), .max_requests = static_cast<std::uint32_t>(prompts.size())});
  std::vector<run_result> results(prompts.size());
  std::string failure;
  double start = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    run_result& r = results[i];
    r.prompt_tokens = static_cast<std::uint32_t>(prompts[i].size());
    auto chooser = std::make_shared<sampler>(sampling, model.vocabulary());
    for (const token t : prompts[i]) chooser->accept(t);
    serve::generation g;
    g.prompt = prompts[i];
    g.max_new_tokens = tokens;
    g.stop = ends;
    g.sampler = [chooser](std::span<const float> logits, std::span<const std::int32_t>) {
      const token t = (*chooser)(logits);
      chooser->accept(t);
      return t;
    };
    g.on_token = [&, i](serve::request_id, token t) {
      results[i].last_token = now() - start;
      if (results[i].generated.empty()) results[i].first_token = results[i].last_token;
      results[i].generated.push_back(t);
      if (on_token) on_token(i, t);
    };
    g.on_done = [&, i](serve::request_id, const serve::result& done) {
      const auto n = static_cast<std::uint32_t>(done.generated.size());
      results[i].stopped = done.ending == serve::ending::stop;
      results[i].rows = results[i].prompt_tokens + n - (done.ending == serve::ending::length);
      if (n == 0) results[i].first_token = results[i].last_token = now() - start;
      if (!done.why) failure = "prompt " + std::to_string(i + 1) + ": " + quire::describe(done.why);
    };
    serve::request_id id = 0;
    require(engine.submit(std::move(g), id));
  }
  start = now();
  engine.run();
  if (!failure.empty()) throw std::runtime_error(failure);
  if (!store.as_formula()) throw std::runtime_error("a sequence's cache bytes differ from the formula's");
  kv_bytes = store.most();
  return results;
}

int generate(const generate_options& o) {
  const std::vector<source> sources = read_sources(o);
  validate(o.sampling);
  const instruction_set isa = pick_device(o);
  const loaded_model m = load_model(o);
  if (o.chat && !m.chat) throw bad_input("--chat: " + m.no_chat);

  std::vector<std::vector<token>> prompts;
  std::uint64_t longest = 0, total = 0;
  const std::uint64_t most = o.context != 0 ? o.context : m.config().context;
  if (most > m.config().context) throw bad_input("--context is " + std::to_string(most) + ", allowed 1 to the model's " + std::to_string(m.config().context));
  for (const source& s : sources) {
    if (o.chat) {
      const message ask{"user", s.text};
      prompts.push_back(encode_chat(*m.tok, format_chat(*m.chat, {&ask, 1})));
    } else {
      prompts.push_back(encode_text(*m.tok, s.text, s.flag, true));
    }
    const std::uint64_t n = prompts.back().size();
    if (n == 0) throw bad_input(s.flag + " is " + quire_lm::quoted(s.text) + ", which has no tokens in this vocabulary, allowed at least one");
    if (n + o.tokens > most)
      throw bad_input(s.flag + " has " + std::to_string(n) + " tokens and --tokens is " + std::to_string(o.tokens) + ", allowed together at most " +
                      std::to_string(most) + (o.context != 0 ? " (--context)" : " (the model's context)"));
    longest = std::max(longest, n + o.tokens);
    total += n + o.tokens;
  }
  const auto seats = static_cast<std::uint32_t>(std::min<std::size_t>({prompts.size(), 64, o.chunk}));
  const auto model = isa.make(*m.weights, {.kv = o.kv, .threads = o.threads, .max_rows = o.chunk, .sequences = seats,
                                           .max_tokens = static_cast<std::uint32_t>(o.context != 0 ? most : longest), .total_tokens = total, .whole_prompts = o.whole_prompts});

  const bool streams = prompts.size() == 1 && !o.as_json;
  std::vector<utf8_stream> decoders(prompts.size());
  std::vector<std::string> texts(prompts.size());
  const auto show = [&](std::size_t i, const std::string& part) {
    texts[i] += part;
    if (streams && !part.empty()) std::fwrite(part.data(), 1, part.size(), stdout), std::fflush(stdout);
  };
  std::size_t kv_bytes = 0;
  const auto results = run_prompts(
      *model, *m.tok, prompts, o.tokens, o.sampling, seats, [&](std::size_t i, token t) { show(i, decoders[i].push(m.tok->bytes(t))); }, kv_bytes);
  for (std::size_t i = 0; i < texts.size(); ++i) show(i, decoders[i].finish());

  if (!o.as_json) {
    if (streams) std::fputs("\n", stdout);
    for (std::size_t i = 0; !streams && i < texts.size(); ++i) std::printf("%s[%zu] %s\n", i == 0 ? "" : "\n", i + 1, texts[i].c_str());
    return 0;
  }
  json out;
  if (results.size() == 1) {
    out = report(results[0], texts[0], *model);
  } else {
    double prefilled = 0, begin = 0, end = 0;
    std::uint64_t prompt_tokens = 0, generated = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const run_result& r = results[i];
      out["results"].push_back(report(r, texts[i], *model));
      prompt_tokens += r.prompt_tokens;
      generated += r.generated.size();
      prefilled = std::max(prefilled, r.first_token);
      begin = i == 0 ? r.first_token : std::min(begin, r.first_token);
      end = std::max(end, r.last_token);
    }
    const auto firsts = std::count_if(results.begin(), results.end(), [](const run_result& r) { return !r.generated.empty(); });
    out["prompt_tokens"] = prompt_tokens;
    out["generated_tokens"] = generated;
    out["prefill_tokens_per_second"] = rate(static_cast<double>(prompt_tokens), prefilled);
    out["decode_tokens_per_second"] = rate(static_cast<double>(generated) - static_cast<double>(firsts), end - begin);
    out["kv_bytes"] = kv_bytes;
  }
  out["load_seconds"] = m.load_seconds;
  out["peak_rss_bytes"] = peak_rss_bytes();
  out["kv"] = o.kv;
  out["isa"] = isa.name;
  out["threads"] = o.threads;
  std::printf("%s\n", out.dump(2).c_str());
  return 0;
}

}  // namespace quire_lm
