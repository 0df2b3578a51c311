// SPDX-License-Identifier: Apache-2.0
#include "lm/sampler.hpp"

#include <cmath>
#include <random>
#include <set>

#include "catch.hpp"

using namespace quire_lm;
using Catch::Contains;

namespace {

constexpr float banned = -std::numeric_limits<float>::infinity();

/// How often each token comes in `n` draws.
std::vector<int> counts(const sampler_options& o, const std::vector<float>& logits, int n) {
  sampler s(o, logits.size());
  std::vector<int> out(logits.size());
  for (int i = 0; i < n; ++i) ++out[static_cast<std::size_t>(s(logits))];
  return out;
}
std::set<std::size_t> reached(const sampler_options& o, const std::vector<float>& logits) {
  std::set<std::size_t> out;
  const auto n = counts(o, logits, 4000);
  for (std::size_t i = 0; i < n.size(); ++i)
    if (n[i] > 0) out.insert(i);
  return out;
}

}  // namespace

TEST_CASE("temperature zero takes the largest logit and the lowest id of equals") {
  sampler s({}, 5);
  REQUIRE(s(std::vector<float>{0, 3, 1, 3, 2}) == 1);
  REQUIRE(s(std::vector<float>{banned, banned, -5, banned, -5}) == 2);
  REQUIRE(s(std::vector<float>{-3e38f, -3e38f, -3e38f, -3e38f, -2e38f}) == 4);
}

TEST_CASE("draws follow softmax at the temperature") {
  const std::vector<float> logits{0, std::log(2.0f), std::log(5.0f), banned};
  constexpr int n = 80000;
  const auto one = counts({.temperature = 1, .seed = 1}, logits, n);
  const double p[] = {1.0 / 8, 2.0 / 8, 5.0 / 8, 0};
  for (std::size_t i = 0; i < 4; ++i) REQUIRE(std::abs(one[i] - n * p[i]) < 5 * std::sqrt(n * p[i] * (1 - p[i])) + 0.5);
  const auto half = counts({.temperature = 0.5f, .seed = 1}, logits, n);
  REQUIRE(std::abs(half[2] - n * 25.0 / 30) < 5 * std::sqrt(n * 25.0 / 30 * 5 / 30));
}

TEST_CASE("the same seed gives the same tokens and another seed others") {
  std::mt19937 random(5);
  std::vector<float> logits(1000);
  for (float& x : logits) x = static_cast<float>(random() % 1000) / 200;
  const auto run = [&](std::uint64_t seed) {
    sampler s({.temperature = 0.8f, .top_k = 100, .top_p = 0.95f, .min_p = 0.01f, .repeat_penalty = 1.1f, .seed = seed},
              logits.size());
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 50; ++i) s.accept(ids.emplace_back(s(logits)));
    return ids;
  };
  REQUIRE(run(1) == run(1));
  REQUIRE(run(1) != run(2));
  REQUIRE(uniform(1, 0) != uniform(0, 1));
  double sum = 0;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const double u = uniform(9, i);
    REQUIRE((u >= 0 && u < 1));
    sum += u;
  }
  REQUIRE(std::abs(sum / 10000 - 0.5) < 0.02);
}

TEST_CASE("filters keep what they say") {
  const std::vector<float> logits{std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.25f), std::log(0.05f)};
  using set = std::set<std::size_t>;
  REQUIRE(reached({.temperature = 1}, logits) == set{0, 1, 2, 3, 4});
  REQUIRE(reached({.temperature = 1, .top_k = 2}, logits) == set{1, 3});
  REQUIRE(reached({.temperature = 1, .top_k = 1}, logits) == set{1});
  REQUIRE(reached({.temperature = 1, .top_k = 1000}, logits).size() == 5);
  REQUIRE(reached({.temperature = 1, .top_p = 0.6f}, logits) == set{1, 3});
  REQUIRE(reached({.temperature = 1, .top_p = 0.7f}, logits) == set{1, 2, 3});
  REQUIRE(reached({.temperature = 1, .top_p = 1e-9f}, logits) == set{1});
  REQUIRE(reached({.temperature = 1, .min_p = 0.45f}, logits) == set{1, 2, 3});
  REQUIRE(reached({.temperature = 1, .min_p = 1}, logits) == set{1});
  REQUIRE(reached({.temperature = 100, .top_k = 3, .min_p = 0.6f}, logits) == set{1, 3});
  REQUIRE(reached({.temperature = 1, .top_k = 2}, {1, 1, 1, 1}) == set{0, 1});  // of equals the lowest ids
}

TEST_CASE("top-p over a large flat vocabulary keeps its share") {
  std::vector<float> logits(5000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>((i * 2654435761u) % 5000) * 1e-5f;
  std::vector<std::size_t> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
  double total = 0, sum = 0;
  for (const float x : logits) total += std::exp(static_cast<double>(x));
  std::set<std::size_t> nucleus;
  for (const auto i : order) {
    nucleus.insert(i);
    if ((sum += std::exp(static_cast<double>(logits[i]))) >= 0.5 * total) break;
  }
  sampler s({.temperature = 1, .top_p = 0.5f, .seed = 4}, logits.size());
  std::set<std::size_t> hit;
  for (int i = 0; i < 2000; ++i) hit.insert(static_cast<std::size_t>(s(logits)));
  for (const auto i : hit) REQUIRE(nucleus.contains(i));
  REQUIRE(hit.size() > 1000);
}

TEST_CASE("the repeat penalty weighs recent tokens alone") {
  sampler s({.repeat_penalty = 2, .repeat_last = 2}, 3);
  const std::vector<float> logits{4, 3, -1};
  REQUIRE(s(logits) == 0);
  s.accept(0);
  REQUIRE(s(logits) == 1);  // 2, 3, -1
  s.accept(1);
  REQUIRE(s(logits) == 0);  // 2, 1.5, -1
  s.accept(2);
  REQUIRE(s(logits) == 0);  // 0 left the window: 4, 1.5, -2
  s.accept(0);
  s.accept(0);
  s.accept(2);
  REQUIRE(s(std::vector<float>{4, 1, -1}) == 0);    // once counted twice, still penalised by one factor: 2, 1, -2
  REQUIRE(s(std::vector<float>{-4, -9, -5}) == 0);  // -8, -9, -10
  sampler all_banned({.repeat_penalty = 100, .repeat_last = 4}, 1);
  all_banned.accept(0);
  REQUIRE(all_banned(std::vector<float>{-3e38f}) == 0);
  REQUIRE_THROWS_WITH(s.accept(3), Contains("token is 3, allowed 0 to 2"));
  REQUIRE_THROWS_AS(s.accept(-1), bad_input);
}

TEST_CASE("bad options and logits are named") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const float t : {-0.1f, 101.0f, nan, inf})
    REQUIRE_THROWS_WITH(validate({.temperature = t}), Contains("temperature is"));
  REQUIRE_THROWS_WITH(validate({.temperature = -1}), Contains("temperature is -1, allowed 0 to 100"));
  REQUIRE_THROWS_WITH(validate({.top_k = -1}), Contains("top_k is -1, allowed 0 to"));
  for (const float p : {0.0f, 1.1f, nan})
    REQUIRE_THROWS_WITH(validate({.top_p = p}), Contains("top_p is") && Contains("allowed above 0 to 1"));
  for (const float p : {-0.1f, 1.1f, nan}) REQUIRE_THROWS_WITH(validate({.min_p = p}), Contains("min_p is"));
  for (const float p : {0.0f, -1.0f, nan})
    REQUIRE_THROWS_WITH(validate({.repeat_penalty = p}), Contains("repeat_penalty is"));
  REQUIRE_THROWS_WITH(validate({.repeat_last = -1}), Contains("repeat_last is -1"));
  REQUIRE_THROWS_AS(sampler({.top_k = -1}, 4), bad_input);
  REQUIRE_THROWS_WITH(sampler({}, 0), Contains("vocabulary_size is 0"));
  sampler s({.temperature = 1}, 2);
  REQUIRE_THROWS_WITH(s(std::vector<float>{0}), Contains("logits has 1 elements, allowed 2"));
  REQUIRE_THROWS_WITH(s(std::vector<float>{0, nan}), Contains("logits[1] is not finite"));
  REQUIRE_THROWS_WITH(s(std::vector<float>{inf, 0}), Contains("logits[0] is not finite"));
  REQUIRE_THROWS_WITH(s(std::vector<float>{banned, banned}), Contains("bans every token"));
}
