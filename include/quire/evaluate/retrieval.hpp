// SPDX-License-Identifier: Apache-2.0
// Questions whose answers stand somewhere in a long text: what a cache that forgets, or keeps keys too coarsely, gets wrong.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/random.hpp"
#include "../core/status.hpp"
#include "filler.hpp"

namespace quire::inline v0::evaluate {

/// One question about a context. A prompt is context + ask + lead, in the words of whatever format the model was taught;
/// `lead` is how the answer begins, so that the next tokens can only be `answer` or wrong.
struct question {
  std::string ask;     ///< a sentence
  std::string lead;    ///< without a space at its end
  std::string answer;  ///< with the space before it
  double depth = 0;    ///< of the fact: pieces of text before it / all pieces, in [0, 1]
};

/// A text and questions about it. All questions share the context, so one prefill serves them all; their outcomes are
/// correlated for the same reason, and statistics resample contexts (summary.hpp).
struct retrieval_task {
  std::string context;
  std::vector<question> questions;
  std::size_t tokens = 0;  ///< of the context, by the counter that was given
};

struct retrieval_options {
  std::size_t tokens = 1024;  ///< of the context, at most; it falls short by less than a sentence
  std::uint32_t facts = 5;    ///< in one context, each asked for once
  std::uint32_t digits = 5;   ///< of an answer
  std::uint64_t seed = 0;
};

namespace detail {

inline constexpr std::string_view colours[] = {"amber", "brown", "coral", "dusty", "frosty", "golden", "hazel", "ivory",
                                               "jade",  "lilac", "misty", "olive", "pale",   "rusty",  "silver", "violet"};
inline constexpr std::string_view animals[] = {"badger", "beetle", "camel", "donkey", "falcon", "gecko",  "heron",  "lemur",
                                               "magpie", "otter",  "panda", "rabbit", "salmon", "spider", "turtle", "walrus"};
inline constexpr std::string_view words[] = {
    "anchor", "apple", "arrow", "banjo", "barrel", "bottle", "bridge", "bucket", "button", "candle", "carpet", "castle", "cherry",
    "circle", "copper", "cotton", "desert", "dragon", "engine", "feather", "flower", "forest", "garlic", "hammer", "island", "jacket",
    "ladder", "lemon", "magnet", "marble", "meadow", "mirror", "needle", "orange", "palace", "pepper", "pillow", "planet", "pocket",
    "puzzle", "rocket", "saddle", "shadow", "temple", "ticket", "tunnel", "velvet", "window"};

/// `count` numbers of `digits` digits, all different, none starting with 0.
inline std::vector<std::string> numbers(splitmix64& draw, std::uint32_t count, std::uint32_t digits) {
  std::vector<std::string> out;
  while (out.size() < count) {
    std::string n;
    for (std::uint32_t i = 0; i < digits; ++i) n += static_cast<char>('0' + (i == 0 ? 1 + draw.below(9) : draw.below(10)));
    if (std::find(out.begin(), out.end(), n) == out.end()) out.push_back(std::move(n));
  }
  return out;
}
/// `count` different values of [0, n) in a drawn order.
inline std::vector<std::uint32_t> choose(splitmix64& draw, std::uint32_t n, std::uint32_t count) {
  std::vector<std::uint32_t> all(n);
  for (std::uint32_t i = 0; i < n; ++i) all[i] = i;
  draw.shuffle(std::span<std::uint32_t>(all));
  all.resize(count);
  return all;
}

/// `facts` spread through filler: fact i falls somewhere in the i-th of equal parts, so every depth is asked for.
/// The longest such text of at most `most` tokens. fails: out_of_range when the facts alone are longer.
template <class Count>
status spread(const std::string& opening, const std::vector<std::string>& facts, std::size_t most, splitmix64& draw, const Count& count,
              std::string_view joint, retrieval_task& out) {
  const splitmix64 filler = draw.part(0), places_of = draw.part(1);
  const auto build = [&](std::size_t sentences, std::vector<double>* depths) {
    splitmix64 prose = filler, at = places_of;
    std::vector<std::size_t> before(facts.size());  // filler sentences before each fact
    for (std::size_t i = 0; i < facts.size(); ++i)
      before[i] = static_cast<std::size_t>((static_cast<double>(i) + at.unit()) * static_cast<double>(sentences + 1) / static_cast<double>(facts.size()));
    std::string text = opening;
    std::size_t next = 0;
    const double pieces = static_cast<double>(std::max<std::size_t>(1, sentences + facts.size() - 1));
    for (std::size_t s = 0; s <= sentences; ++s) {
      for (; next < facts.size() && before[next] <= s; ++next) {
        text += joint;
        text += facts[next];
        if (depths) depths->push_back(static_cast<double>(s + next) / pieces);
      }
      if (s < sentences) text += joint, text += filler_sentence(prose);
    }
    return text;
  };
  std::size_t low = 0, high = 1;  // sentences: build(low) fits, build(high) does not
  if (const std::size_t least = count(build(0, nullptr)); least > most)
    return {errc::out_of_range, "tokens of a retrieval context", static_cast<std::int64_t>(most), static_cast<std::int64_t>(least), INT64_MAX};
  while (high <= most && count(build(high, nullptr)) <= most) low = high, high *= 2;  // a sentence has a token at least
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (count(build(middle, nullptr)) <= most ? low : high) = middle;
  }
  std::vector<double> depths;
  out.context = build(low, &depths);
  out.tokens = count(out.context);
  for (std::size_t i = 0; i < facts.size(); ++i) out.questions[i].depth = depths[i];
  return {};
}

inline status check_retrieval(const retrieval_options& o, std::int64_t most_facts) {
  if (o.facts < 1 || o.facts > most_facts) return {errc::out_of_range, "facts of a retrieval context", o.facts, 1, most_facts};
  if (o.digits < 3 || o.digits > 18) return {errc::out_of_range, "digits of an answer", o.digits, 3, 18};
  return {};
}

}  // namespace detail

// The forms below were chosen with the full cache alone (SmolLM2-135M-Instruct, contexts of 1 to 4 thousand tokens): a name that
// stands right before its number is found more often than one with a common phrase between them.

/// Numbers of named animals, in prose: every question asks for one of them. `count(text)` gives its tokens.
/// unit: tokens; cost: some dozen counts of the whole text; allocates. fails: out_of_range (facts 1 to 256, digits 3 to 18,
/// tokens too few for the facts), and `out` is as it was.
/// from: passkey retrieval (arXiv:2305.16300), with several keys as DuoAttention (arXiv:2410.10819); test: tests/evaluate/retrieval.cpp
template <class Count>
status needle(const retrieval_options& o, const Count& count, retrieval_task& out) {
  constexpr std::uint32_t all = std::size(detail::colours) * std::size(detail::animals);
  if (const status s = detail::check_retrieval(o, all); !s) return s;
  splitmix64 draw(o.seed ^ 0x6e6565646c65u);
  const auto numbers = detail::numbers(draw, o.facts, o.digits);
  const auto names = detail::choose(draw, all, o.facts);
  retrieval_task t;
  std::vector<std::string> facts;
  for (std::uint32_t i = 0; i < o.facts; ++i) {
    const std::string colour(detail::colours[names[i] / std::size(detail::animals)]), animal(detail::animals[names[i] % std::size(detail::animals)]);
    const std::string name = colour + " " + animal;
    facts.push_back("The " + name + " is number " + numbers[i] + ".");
    t.questions.push_back({"What is the number of the " + name + "?", "The " + name + " is number", " " + numbers[i]});
  }
  constexpr const char* opening = "Some animals in this text have a number. Remember the numbers.";
  if (const status s = detail::spread(opening, facts, o.tokens, draw, count, " ", t); !s) return s;
  out = std::move(t);
  return {};
}

/// A record of lines, `line anchor: 1234`, with lines of prose between them up to the length. As `needle` otherwise; facts 1 to 48.
/// from: the line retrieval of LongEval, by which MiKV (arXiv:2402.18096) is judged; test: tests/evaluate/retrieval.cpp
template <class Count>
status line_retrieval(const retrieval_options& o, const Count& count, retrieval_task& out) {
  if (const status s = detail::check_retrieval(o, std::size(detail::words)); !s) return s;
  splitmix64 draw(o.seed ^ 0x6c696e65u);
  const auto contents = detail::numbers(draw, o.facts, o.digits);
  const auto names = detail::choose(draw, std::size(detail::words), o.facts);
  retrieval_task t;
  std::vector<std::string> facts;
  for (std::uint32_t i = 0; i < o.facts; ++i) {
    const std::string line = "line " + std::string(detail::words[names[i]]) + ":";
    facts.push_back(line + " " + contents[i]);
    t.questions.push_back({"What is the content of line " + std::string(detail::words[names[i]]) + "?", line, " " + contents[i]});
  }
  constexpr const char* opening = "Below is a record of lines. Remember the content of each line.";
  if (const status s = detail::spread(opening, facts, o.tokens, draw, count, "\n", t); !s) return s;
  out = std::move(t);
  return {};
}

}  // namespace quire::inline v0::evaluate
