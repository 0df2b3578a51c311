// SPDX-License-Identifier: Apache-2.0
#include "server/chooser.hpp"

#include <cmath>
#include <random>

#include "catch.hpp"

using namespace quire_server;

TEST_CASE("log-probabilities are those of the logits, likeliest first") {
  std::mt19937 random(1);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<float> logits(97);
    for (float& x : logits) x = static_cast<float>(random() % 40) / 4 - 5;  // with equals
    long double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<long double>(x));
    const token chosen = static_cast<token>(random() % logits.size());
    const std::uint32_t top = static_cast<std::uint32_t>(random() % 21);
    const token_logprobs m = measure(logits, chosen, top);
    REQUIRE(m.id == chosen);
    REQUIRE(std::abs(static_cast<long double>(m.logprob) - (static_cast<long double>(logits[static_cast<std::size_t>(chosen)]) - std::log(sum))) < 1e-5L);
    REQUIRE(m.top.size() == top);
    std::vector<token> order(logits.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<token>(i);
    std::stable_sort(order.begin(), order.end(), [&](token a, token b) { return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)]; });
    for (std::uint32_t i = 0; i < top; ++i) REQUIRE(m.top[i].first == order[i]);
  }
}

TEST_CASE("biases and penalties move the likeliest token") {
  const std::vector<float> logits{1, 3, 2.5f, 0};
  sampling greedy;
  greedy.temperature = 0;
  const std::vector<token> prompt{1};
  REQUIRE(chooser(greedy, 0, prompt, 100, 4)(logits) == 1);

  sampling biased = greedy;
  biased.bias = {{3, 100.0f}};
  REQUIRE(chooser(biased, 0, prompt, 100, 4)(logits) == 3);
  biased.bias = {{1, -100.0f}};
  REQUIRE(chooser(biased, 0, prompt, 100, 4)(logits) == 2);

  sampling present = greedy;
  present.presence = 1;  // what was generated, not the prompt
  chooser p(present, 0, prompt, 100, 4);
  REQUIRE(p(logits) == 1);
  REQUIRE(p(logits) == 2);  // 3 - 1 < 2.5
  REQUIRE(p(logits) == 1);  // 2 > 1.5
  REQUIRE(p(logits) == 1);  // once only

  sampling frequent = greedy;
  frequent.frequency = 0.75f;
  chooser f(frequent, 0, prompt, 100, 4);
  std::vector<token> got;
  for (int i = 0; i < 5; ++i) got.push_back(f(logits));
  REQUIRE(got == std::vector<token>{1, 2, 1, 2, 1});

  sampling repeated = greedy;
  repeated.repetition = 2;  // of the prompt as well
  REQUIRE(chooser(repeated, 0, prompt, 100, 4)(logits) == 2);
}

TEST_CASE("a seed fixes the choices") {
  std::vector<float> logits(50);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7);
  const auto draw = [&](std::uint64_t seed) {
    chooser c({}, seed, {}, 100, logits.size());
    std::vector<token> out;
    for (int i = 0; i < 20; ++i) out.push_back(c(logits));
    return out;
  };
  REQUIRE(draw(4) == draw(4));
  REQUIRE(draw(4) != draw(5));
}
