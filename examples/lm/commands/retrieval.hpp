// SPDX-License-Identifier: Apache-2.0
// Retrieval tasks as tokens, and how likely a model on a cache is to answer them.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "../backend.hpp"
#include "../tokenizer.hpp"

namespace quire_lm {

enum class retrieval_kind : std::uint8_t { needle, line };

/// What to build.
struct retrieval_plan {
  retrieval_kind kind = retrieval_kind::needle;
  std::vector<std::uint32_t> lengths;  ///< tokens of a prompt, question and answer included, at most; contexts take turns
  std::uint32_t trials = 1, facts = 1, digits = 5;
  std::uint64_t seed = 0;
};

struct retrieval_trial {
  std::vector<token> ask, answer;  ///< ask ends where the answer begins
  double depth = 0;
};
/// A context and what is asked about it: read once, forked for each question.
struct retrieval_prompt {
  std::uint32_t length = 0;  ///< of the plan
  std::vector<token> context;
  std::vector<retrieval_trial> trials;
};
/// `trials` questions over as many contexts as they need. The same tokens for the same plan and tokenizer.
/// fails: bad_input naming --context when a length is too short for its facts.
std::vector<retrieval_prompt> make_prompts(const tokenizer& tok, const retrieval_plan& plan);

struct answer_score {
  double nll = 0;    ///< mean over the answer's tokens, each given the right ones before it, nats
  bool hit = false;  ///< greedy decoding gives the answer's tokens, all of them
};
/// One score for each trial, in order. The answer is fed, not decoded: by the read rule a step of several rows equals decoding them one
/// by one, and greedy decoding gives the answer exactly when every row's likeliest token is the answer's next.
/// `whole_prompts`: prompts, questions included, are read whole and cut down before the answer.
/// needs: room for two sequences of the longest prompt. `progress` is told the tokens read so far.
std::vector<answer_score> score_answers(backend& b, std::span<const retrieval_prompt> prompts, std::uint32_t threads, bool whole_prompts,
                                        const std::function<void(double)>& progress);

}  // namespace quire_lm
