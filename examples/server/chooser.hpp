// SPDX-License-Identifier: Apache-2.0
// Chooses the tokens of one text: OpenAI's biases and penalties over quire-lm's sampler, and what the logits said of the choice.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../lm/sampler.hpp"
#include "request.hpp"

namespace quire_server {

/// Of a chosen token and of the likeliest ones: natural logarithms of the model's own probabilities, before temperature,
/// penalties and biases.
struct token_logprobs {
  token id = 0;
  float logprob = 0;
  std::vector<std::pair<token, float>> top;  ///< likeliest first, the lower id of equals
};

/// fails: never for finite logits. cost: O(vocabulary), and O(vocabulary log top) for the likeliest.
[[nodiscard]] inline token_logprobs measure(std::span<const float> logits, token chosen, std::uint32_t top) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - static_cast<double>(most));
  const double base = static_cast<double>(most) + std::log(sum);
  const auto of = [&](token t) { return static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(t)]) - base); };
  token_logprobs out{chosen, of(chosen), {}};
  const auto better = [&](token a, token b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::vector<token> best;  // a heap whose front is the worst that is kept
  for (token t = 0; static_cast<std::size_t>(t) < logits.size() && top > 0; ++t) {
    if (best.size() == top && !better(t, best.front())) continue;
    if (best.size() == top) std::pop_heap(best.begin(), best.end(), better), best.pop_back();
    best.push_back(t);
    std::push_heap(best.begin(), best.end(), better);
  }
  std::sort(best.begin(), best.end(), better);
  for (const token t : best) out.top.emplace_back(t, of(t));
  return out;
}

/// One text's chooser. One thread at a time. Holds about twenty bytes for each token of the vocabulary, so it is made when the
/// first token is due.
class chooser {
 public:
  /// fails: bad_input, as sampler. `most` bounds the tokens of prompt and text.
  chooser(const sampling& how, std::uint64_t seed, std::span<const token> prompt, std::uint32_t most, std::size_t vocabulary)
      : how_(how),
        sampler_({.temperature = how.temperature, .top_k = how.top_k, .top_p = how.top_p, .min_p = how.min_p, .repeat_penalty = how.repetition,
                  .repeat_last = static_cast<int>(std::min<std::uint32_t>(most, 1u << 20)), .seed = seed},
                 vocabulary) {
    for (const token t : prompt) sampler_.accept(t);
  }

  /// The next token. fails: bad_input for logits that are not finite.
  token operator()(std::span<const float> logits) {
    const token t = sampler_(adjusted(logits));
    sampler_.accept(t);
    if (penalises()) ++counts_[t];
    return t;
  }

 private:
  bool penalises() const noexcept { return how_.presence != 0 || how_.frequency != 0; }

  std::span<const float> adjusted(std::span<const float> logits) {
    if (!penalises() && how_.bias.empty()) return logits;
    adjusted_.assign(logits.begin(), logits.end());
    for (const auto& [t, by] : how_.bias) adjusted_[static_cast<std::size_t>(t)] += by;
    for (const auto& [t, times] : counts_) adjusted_[static_cast<std::size_t>(t)] -= how_.presence + how_.frequency * static_cast<float>(times);
    return adjusted_;
  }

  sampling how_;
  quire_lm::sampler sampler_;
  std::unordered_map<token, std::uint32_t> counts_;  ///< of generated tokens, where penalties ask
  std::vector<float> adjusted_;
};

}  // namespace quire_server
