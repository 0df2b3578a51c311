// SPDX-License-Identifier: Apache-2.0
#include "quire/evaluate/retrieval.hpp"

#include <algorithm>
#include <set>

#include "catch.hpp"

using namespace quire;
using namespace quire::evaluate;

namespace {

/// Two counters of tokens, as different as tokenizers are.
std::size_t words_of(std::string_view text) { return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return c == ' ' || c == '\n'; })) + 1; }
std::size_t characters_of(std::string_view text) { return text.size(); }

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

const auto build_needle = [](const retrieval_options& o, const auto& count, retrieval_task& t) { return needle(o, count, t); };
const auto build_line = [](const retrieval_options& o, const auto& count, retrieval_task& t) { return line_retrieval(o, count, t); };

template <class Build, class Count>
void holds_its_answers(const Build& build, const Count& count, std::size_t sentence) {
  for (const std::size_t tokens : {sentence * 8, sentence * 40, sentence * 171})
    for (const std::uint32_t facts : {1u, 3u, 8u})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        retrieval_task t;
        REQUIRE(build({.tokens = tokens, .facts = facts, .digits = 5, .seed = seed}, count, t));
        REQUIRE(t.tokens == count(t.context));
        REQUIRE(t.tokens <= tokens);
        REQUIRE(t.tokens + sentence > tokens);  // as long as it can be
        REQUIRE(t.questions.size() == facts);
        std::set<std::string> answers, asks;
        double last = -1;
        for (std::size_t i = 0; i < facts; ++i) {
          const question& q = t.questions[i];
          REQUIRE(occurrences(t.context, q.lead + q.answer) == 1);  // the fact, and in the words of the lead
          REQUIRE(occurrences(t.context, q.lead) == 1);
          REQUIRE(q.answer.size() == 6);
          REQUIRE((q.answer[0] == ' ' && q.answer[1] != '0'));
          REQUIRE(q.answer.find_first_not_of("0123456789", 1) == q.answer.npos);
          REQUIRE((q.depth >= 0 && q.depth <= 1 && q.depth > last));
          const double place = static_cast<double>(t.context.find(q.lead)) / static_cast<double>(t.context.size());
          if (tokens >= sentence * 40) REQUIRE(place == Approx(q.depth).margin(0.12));
          last = q.depth;
          answers.insert(q.answer), asks.insert(q.ask);
        }
        REQUIRE((answers.size() == facts && asks.size() == facts));
      }
}

}  // namespace

TEST_CASE("every answer stands once in the context, which has the length asked for") {
  holds_its_answers(build_needle, words_of, 20);
  holds_its_answers(build_needle, characters_of, 110);
  holds_its_answers(build_line, words_of, 20);
  holds_its_answers(build_line, characters_of, 110);
}

TEST_CASE("the same seed gives the same task, another seed another") {
  retrieval_task a, b, c;
  REQUIRE(needle({.tokens = 400, .seed = 7}, words_of, a));
  REQUIRE(needle({.tokens = 400, .seed = 7}, words_of, b));
  REQUIRE(needle({.tokens = 400, .seed = 8}, words_of, c));
  REQUIRE(a.context == b.context);
  REQUIRE(a.context != c.context);
  REQUIRE(a.questions[0].answer != c.questions[0].answer);
  REQUIRE(line_retrieval({.tokens = 400, .seed = 7}, words_of, c));
  REQUIRE(a.questions[0].answer != c.questions[0].answer);
}

TEST_CASE("facts reach every depth") {
  for (const bool lines : {false, true}) {
    std::vector<int> bins(10, 0);
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      retrieval_task t;
      const retrieval_options o{.tokens = 600, .facts = 3, .seed = seed};
      REQUIRE((lines ? line_retrieval(o, words_of, t) : needle(o, words_of, t)));
      for (const question& q : t.questions) ++bins[std::min<std::size_t>(9, static_cast<std::size_t>(q.depth * 10))];
    }
    for (const int n : bins) REQUIRE((n >= 6 && n <= 36));  // 18 each if even
  }
}

TEST_CASE("what can't be built says why and leaves the task as it was") {
  retrieval_task t;
  t.context = "as it was";
  const auto refused = [&](const status& s, const char* what) {
    REQUIRE(s.code == errc::out_of_range);
    REQUIRE(std::string(s.what) == what);
    REQUIRE(t.context == "as it was");
    REQUIRE(t.questions.empty());
  };
  refused(needle({.tokens = 12, .facts = 3}, words_of, t), "tokens of a retrieval context");
  refused(needle({.tokens = 0}, words_of, t), "tokens of a retrieval context");
  refused(needle({.facts = 0}, words_of, t), "facts of a retrieval context");
  refused(needle({.tokens = 100000, .facts = 257}, words_of, t), "facts of a retrieval context");
  refused(line_retrieval({.tokens = 100000, .facts = 49}, words_of, t), "facts of a retrieval context");
  refused(line_retrieval({.digits = 2}, words_of, t), "digits of an answer");
  refused(needle({.digits = 19}, words_of, t), "digits of an answer");
  REQUIRE(needle({.tokens = 100000, .facts = 256, .digits = 3}, words_of, t));
  REQUIRE(line_retrieval({.tokens = 10000, .facts = 48, .digits = 18}, words_of, t));
}
