// SPDX-License-Identifier: Apache-2.0
#include "retrieval.hpp"

#include <algorithm>

#include "common.hpp"
#include "quality.hpp"
#include "quire/core/random.hpp"
#include "quire/evaluate/retrieval.hpp"

namespace quire_lm {

namespace ev = quire::evaluate;

std::vector<retrieval_prompt> make_prompts(const tokenizer& tok, const retrieval_plan& plan) {
  const auto encode = [&](std::string_view text, bool first) { return tok.encode(text, {.add_special = first, .parse_special = false}); };
  const auto count = [&](std::string_view text) { return encode(text, true).size(); };
  const std::uint32_t contexts = (plan.trials + plan.facts - 1) / plan.facts;
  std::vector<retrieval_prompt> out;
  for (std::uint32_t c = 0; c < contexts; ++c) {
    retrieval_prompt p;
    p.length = plan.lengths[c % plan.lengths.size()];
    for (std::uint32_t reserve = 48;;) {  // for the longest question and answer, which is known once they are written
      ev::retrieval_task task;
      const ev::retrieval_options o{.tokens = p.length > reserve ? p.length - reserve : 0, .facts = plan.facts, .digits = plan.digits,
                                    .seed = quire::splitmix64(plan.seed).part(c)()};
      const quire::status built = plan.kind == retrieval_kind::needle ? ev::needle(o, count, task) : ev::line_retrieval(o, count, task);
      if (!built) throw bad_input("--context is too small for the tasks: " + quire::describe(built));
      p.context = encode(task.context, true);
      p.trials.clear();
      std::size_t longest = 0;
      for (const ev::question& q : task.questions) {
        p.trials.push_back({encode("\n\nQuestion: " + q.ask + "\nAnswer: " + q.lead, false), encode(q.answer, false), q.depth});
        longest = std::max(longest, p.trials.back().ask.size() + p.trials.back().answer.size());
      }
      if (longest <= reserve) break;
      reserve = static_cast<std::uint32_t>(longest);
    }
    if (c + 1 == contexts) p.trials.resize(plan.trials - c * plan.facts);
    out.push_back(std::move(p));
  }
  return out;
}

std::vector<answer_score> score_answers(backend& b, std::span<const retrieval_prompt> prompts, std::uint32_t threads, bool whole_prompts,
                                        const std::function<void(double)>& progress) {
  std::size_t longest = 1;
  for (const retrieval_prompt& p : prompts)
    for (const retrieval_trial& t : p.trials) longest = std::max(longest, t.answer.size());
  const std::size_t width = b.vocabulary();
  std::vector<float> logits(longest * width);
  std::vector<double> nll(longest);
  std::vector<std::uint8_t> first(longest);
  std::vector<answer_score> out;
  double done = 0;
  for (const retrieval_prompt& p : prompts) {
    std::uint32_t base = 0;
    require(b.open(base));
    if (whole_prompts) require(b.read_whole_until(base, p.length));
    const auto feed = [&](std::uint32_t sequence, std::span<const token> tokens, std::size_t from) {  // from: the first row whose logits are wanted
      for (std::size_t at = 0; at < tokens.size();) {
        const std::size_t n = std::min<std::size_t>(b.max_rows(), (at < from ? std::min(tokens.size(), from) : tokens.size()) - at);
        step_rows(b, sequence, tokens.subspan(at, n), static_cast<std::uint32_t>(at < from ? n : 0), logits.data() + (at < from ? 0 : at - from) * width);
        at += n;
        if (progress) progress(done += static_cast<double>(n));
      }
    };
    feed(base, p.context, p.context.size());
    for (const retrieval_trial& t : p.trials) {
      std::vector<token> rows(t.ask);
      rows.insert(rows.end(), t.answer.begin(), t.answer.end() - 1);
      std::uint32_t fork = 0;
      require(b.fork(base, fork));
      if (whole_prompts) require(b.read_whole_until(fork, static_cast<std::uint32_t>(p.context.size() + t.ask.size())));
      feed(fork, rows, t.ask.size() - 1);
      b.close(fork);
      each_index(t.answer.size(), threads, [&](std::size_t i) {
        const std::span<const float> row(logits.data() + i * width, width);
        nll[i] = ev::negative_log_likelihood(row, ev::log_sum_exp(row), static_cast<std::size_t>(t.answer[i]));
        first[i] = ev::top1(row) == static_cast<std::size_t>(t.answer[i]);
      });
      answer_score s{0, true};
      for (std::size_t i = 0; i < t.answer.size(); ++i) s.nll += nll[i] / static_cast<double>(t.answer.size()), s.hit &= first[i] != 0;
      out.push_back(s);
    }
    b.close(base);
  }
  return out;
}

}  // namespace quire_lm
