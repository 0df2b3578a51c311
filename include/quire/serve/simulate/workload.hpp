// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "../../schedule/request.hpp"
#include "random.hpp"

namespace quire::inline v0::serve::simulate {

/// One request of a workload, and which of its rows are equal to rows of others. Its id is its index.
/// Rows are equal when they continue the same text at the same place: all turns of a conversation are one text; the
/// first `shared_tokens` belong to text `shared_text` instead; or the trace names its blocks one by one.
struct job {
  static constexpr std::uint32_t none = 0xffffffffu;
  schedule::request request{};  ///< `arrival` in seconds; for a later turn it is set when the turn comes
  std::uint64_t text = 0;
  std::uint64_t shared_text = 0;
  std::uint32_t shared_tokens = 0;
  std::uint32_t group_tokens = 0;             ///< rows that a plan gives to request::group as a whole
  std::uint32_t first_block = 0, blocks = 0;  ///< of `workload::blocks`; none: `text` says it all
  std::uint32_t next_turn = none;             ///< the job that comes when this one has finished and a pause has passed
  double pause = 0;                           ///< seconds before a later turn
};

struct workload {
  std::vector<job> jobs;
  std::vector<std::uint64_t> blocks;  ///< names of the leading stretches of prompts, each of `block_tokens` tokens
  std::uint32_t block_tokens = 512;

  /// Name of rows [index·tokens, (index+1)·tokens) of job `j`: equal names, equal rows and equal rows before them.
  /// precondition: `tokens` divides block_tokens when the job has blocks.
  std::uint64_t block(const job& j, std::uint32_t index, std::uint32_t tokens) const noexcept {
    const std::uint64_t begin = std::uint64_t{index} * tokens;
    if (j.blocks != 0) {
      const std::uint64_t at = begin / block_tokens;
      if (at < j.blocks) return mix(blocks[j.first_block + at], (begin % block_tokens) / tokens + 1);
    }
    return begin + tokens <= j.shared_tokens ? mix(j.shared_text ^ 0x5bd1e995u << 16, index) : mix(~j.text, index);
  }
  /// Leading rows that another job may have as well, as far as the workload knows.
  std::uint32_t sharable_tokens(const job& j) const noexcept {
    const std::uint64_t named = std::uint64_t{j.blocks} * block_tokens;
    return std::max(j.shared_tokens,
                    static_cast<std::uint32_t>(std::min<std::uint64_t>(named, j.request.prompt_tokens)));
  }

 private:
  static constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
    std::uint64_t x = a * 0x9e3779b97f4a7c15u + (b + 1) * 0xd1342543de82ef95u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
};

/// A prompt and an answer, in tokens.
struct lengths {
  std::uint32_t prompt = 1, output = 1;
};

/// How requests come.
struct arrivals {
  double per_second = 1;  ///< above 0
  double cv = 1;          ///< of the time between two: 1 is Poisson, 0 a fixed beat, larger in bursts
};

/// `count` requests with lengths drawn from `from`, each a text of its own. The same seed gives the same lengths and,
/// but for their scale, the same arrivals at every rate, so two rates differ in nothing else.
/// precondition: `from` is not empty. test: tests/serve/simulate/workload.cpp
inline workload open_loop(std::span<const lengths> from, std::uint32_t count, const arrivals& a, std::uint64_t seed) {
  draws lengths_of(seed), gaps(~seed);
  workload w;
  w.jobs.reserve(count);
  double at = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    at += (a.cv == 0 ? 1.0 : a.cv == 1 ? gaps.exponential(1) : gaps.gamma(1, a.cv)) / a.per_second;
    const lengths n = from[lengths_of.below(from.size())];
    w.jobs.push_back(
        {.request = {.id = i, .arrival = at, .prompt_tokens = n.prompt, .max_new_tokens = n.output}, .text = i + 1});
  }
  return w;
}

/// All requests are there at time 0: `prompts` prompts in groups of `degree` that share their first `prefix` tokens,
/// shuffled unless `grouped`. Group numbers start at 1.
struct grid {
  std::uint32_t prompts = 6400, degree = 16, prefix = 2000, tail = 200, output = 100;
  bool shuffled = true;
};
inline workload prefix_grid(const grid& g, std::uint64_t seed) {
  draws r(seed);
  std::vector<std::uint32_t> order(g.prompts);
  for (std::uint32_t i = 0; i < g.prompts; ++i) order[i] = i;
  if (g.shuffled)
    for (std::uint32_t i = g.prompts; i > 1; --i) std::swap(order[i - 1], order[r.below(i)]);
  workload w;
  w.jobs.reserve(g.prompts);
  for (std::uint32_t i = 0; i < g.prompts; ++i) {
    const std::uint32_t group = order[i] / std::max(g.degree, 1u) + 1;
    w.jobs.push_back({.request = {.id = i, .prompt_tokens = g.prefix + g.tail, .max_new_tokens = g.output},
                      .text = i + 1,
                      .shared_text = group,
                      .shared_tokens = g.prefix});
  }
  return w;
}

/// Conversations: each drawn pair of lengths is cut into 1 + geometric turns of equal parts, a turn's prompt is all
/// that was said before and its share of new text, and the next turn comes a pause after the answer. Turns of a
/// conversation follow each other in `jobs`; tenant is the conversation.
struct conversations {
  std::uint32_t count = 1000;
  arrivals first{};                             ///< turns
  double mean_turns = 5.5;                      ///< at least 1
  double shortest_pause = 10, mean_pause = 20;  ///< seconds: shortest + exponential, cut at `longest`
  double longest_pause = 30;
  std::uint32_t most_tokens = 8192;  ///< of a conversation; longer ones stop early
};
inline workload multi_turn(std::span<const lengths> from, const conversations& c, std::uint64_t seed) {
  draws r(seed), gaps(~seed);
  workload w;
  double at = 0;
  for (std::uint32_t i = 0; i < c.count; ++i) {
    at += (c.first.cv == 0   ? 1.0
           : c.first.cv == 1 ? gaps.exponential(1)
                             : gaps.gamma(1, c.first.cv)) /
          c.first.per_second;
    const lengths n = from[r.below(from.size())];
    const std::uint32_t turns = 1 + r.geometric(c.mean_turns - 1);
    const std::uint32_t fresh = std::max(1u, n.prompt / turns), answer = std::max(1u, n.output / turns);
    std::uint64_t said = 0;
    for (std::uint32_t t = 0; t < turns; ++t) {
      const double pause = std::min(c.longest_pause, c.shortest_pause + r.exponential(c.mean_pause - c.shortest_pause));
      if (t != 0 && said + fresh + answer > c.most_tokens) break;
      const auto id = static_cast<std::uint32_t>(w.jobs.size());
      if (t != 0) w.jobs.back().next_turn = id;
      w.jobs.push_back({.request = {.id = id,
                                    .arrival = t == 0 ? at : 0,
                                    .prompt_tokens = static_cast<std::uint32_t>(said) + fresh,
                                    .max_new_tokens = answer,
                                    .tenant = i},
                        .text = i + 1,
                        .pause = pause});
      said += fresh + answer;
    }
  }
  return w;
}

}  // namespace quire::inline v0::serve::simulate
