// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/batching/chunked.hpp"

#include "catch.hpp"
#include "quire/schedule/scheduler.hpp"
#include "schedule/fake_memory.hpp"
#include "schedule/run_one.hpp"

using namespace quire;
using namespace quire::schedule;
using counts = std::vector<std::uint32_t>;

namespace {
request prompt(request_id id, std::uint32_t tokens, std::uint32_t out = 1) {
  return {.id = id, .arrival = static_cast<double>(id), .prompt_tokens = tokens, .max_new_tokens = out};
}
}  // namespace

TEST_CASE("decodes come first, chunks fill what they leave and add up to the prompt") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, policy<>{.batching = {.tau = 8}});
  REQUIRE(sched.submit(prompt(0, 2, 50)));
  REQUIRE(sched.submit(prompt(1, 2, 50)));
  REQUIRE(sched.submit(prompt(2, 17)));
  REQUIRE(test::counts(sched) == counts{2, 2, 4});
  REQUIRE(test::counts(sched) == counts{1, 1, 6});
  REQUIRE(test::counts(sched) == counts{1, 1, 6});
  REQUIRE(test::counts(sched) == counts{1, 1, 1});
  REQUIRE(sched.find(2) == nullptr);
}

TEST_CASE("decodes that alone pass the budget are all served and prompts get nothing") {
  test::fake_memory memory{.pages = 1000};
  scheduler sched(memory, policy<>{.batching = {.tau = 4}});
  for (request_id id = 0; id < 4; ++id) REQUIRE(sched.submit(prompt(id, 1, 9)));
  REQUIRE(test::counts(sched) == counts{1, 1, 1, 1});
  sched.policy().batching.tau = 3;
  REQUIRE(sched.submit(prompt(4, 5)));
  for (int i = 0; i < 8; ++i) REQUIRE(test::counts(sched) == counts{1, 1, 1, 1});
  REQUIRE(test::counts(sched) == counts{3});
  REQUIRE(test::counts(sched) == counts{2});
}

TEST_CASE("a chunk that does not end its prompt ends the step at a tile") {
  test::fake_memory memory{.pages = 10000};
  scheduler sched(memory, policy<>{.batching = {.tau = 70, .round_to = 32, .max_chunk = 40}});
  REQUIRE(sched.submit(prompt(0, 3, 50)));
  REQUIRE(test::counts(sched) == counts{3});
  REQUIRE(sched.submit(prompt(1, 100)));
  REQUIRE(test::counts(sched) == counts{1, 31});  // 32 tokens, not 41
  REQUIRE(sched.submit(prompt(2, 100)));
  REQUIRE(test::counts(sched) == counts{1, 31, 32});  // 64, not 70
  REQUIRE(test::counts(sched) == counts{1, 38, 25});  // the end of a prompt is not put off
}

TEST_CASE("a long prompt does not hog the budget unless it is alone") {
  test::fake_memory memory{.pages = 10000};
  scheduler sched(memory, policy<>{.batching = {.tau = 16, .max_chunk = 5}});
  REQUIRE(sched.submit(prompt(0, 100)));
  REQUIRE(test::counts(sched) == counts{16});
  REQUIRE(sched.submit(prompt(1, 8)));
  REQUIRE(test::counts(sched) == counts{5, 5});
}

TEST_CASE("on the ramp chunks shrink from tau to the last by equal spans") {
  test::fake_memory memory{.pages = 10000};
  scheduler sched(memory, policy<>{.batching = {.tau = 64, .round_to = 16, .stages = 4, .last_chunk = 16}});
  REQUIRE(sched.submit(prompt(0, 400)));
  counts chunks;
  std::uint32_t sum = 0;
  while (sched.live() > 0) chunks.push_back(test::counts(sched).at(0)), sum += chunks.back();
  REQUIRE(sum == 400);
  REQUIRE(chunks.front() == 64);
  REQUIRE(chunks == counts{64, 64, 48, 48, 32, 32, 32, 16, 16, 16, 16, 16});
}

TEST_CASE("counted by cost, chunks shrink with depth and steps cost the same") {
  using batching::chunked;
  const chunked by_cost{.tau = 64, .even_depth = 100};
  REQUIRE(by_cost.cost(0, 1) == 1);
  REQUIRE(by_cost.cost(100, 1) == 2);
  REQUIRE(by_cost.cost(50, 10) == 10 + (50 + 51 + 52 + 53 + 54 + 55 + 56 + 57 + 58 + 59) / 100);
  REQUIRE(chunked{}.cost(4000, 7) == 7);
  REQUIRE(by_cost.cost(0xfffffff0u, 15) == 15 + (15ull * 0xfffffff0u + 105) / 100);

  test::fake_memory memory{.pages = 10000};
  scheduler sched(memory, policy<>{.batching = by_cost});
  for (request_id id = 0; id < 3; ++id) REQUIRE(sched.submit(prompt(id, 1, 500)));
  REQUIRE(test::counts(sched) == counts{1, 1, 1});
  REQUIRE(sched.submit(prompt(3, 1000)));
  std::uint32_t sum = 0, smallest = 64;
  while (sched.find(3) != nullptr) {
    const std::vector<entry> step = test::run_one(sched);
    REQUIRE(step.size() == 4);
    const entry chunk = step.back();
    const std::uint64_t spent = 3 + by_cost.cost(chunk.begin, chunk.count);
    REQUIRE(chunk.begin == sum);
    REQUIRE(spent <= 64);
    if (!chunk.wants_logits) {
      REQUIRE(3 + by_cost.cost(chunk.begin, chunk.count + 1) > 64);
      REQUIRE(chunk.count <= smallest);
      smallest = chunk.count;
    }
    sum += chunk.count;
  }
  REQUIRE(sum == 1000);
  REQUIRE(smallest == 5);  // a token at 990 takes 10.9 of 61
}

TEST_CASE("a prompt goes on by one token where the budget pays for none, and nobody goes after it") {
  test::fake_memory memory{.pages = 10000};
  scheduler sched(memory, policy<>{.batching = {.tau = 6, .even_depth = 2}});
  REQUIRE(sched.submit(prompt(0, 20)));
  REQUIRE(sched.submit(prompt(1, 20)));
  REQUIRE(test::counts(sched) == counts{3, 2});  // 3 + (0 + 1 + 2) / 2 and 2 + (0 + 1) / 2
  REQUIRE(test::counts(sched) == counts{2, 1});  // 5, and 2 where 1 is left
  while (sched.find(0)->so_far.computed < 10) REQUIRE(test::counts(sched) == counts{1, 1});
  while (sched.find(0) != nullptr) REQUIRE(test::counts(sched) == counts{1});  // 6 and more
}

TEST_CASE("chunks end at tiles where that takes a third of them at most") {
  test::fake_memory memory{.pages = 10000};
  scheduler sched(memory, policy<>{.batching = {.tau = 40, .end_at = 16}});
  REQUIRE(sched.submit(prompt(0, 100)));
  REQUIRE(test::counts(sched) == counts{32});
  sched.policy().batching.tau = 7;  // three parts of a tile
  for (const std::uint32_t n : {6u, 5u, 5u, 6u, 5u, 5u}) REQUIRE(test::counts(sched) == counts{n});
  sched.policy().batching.tau = 15;  // half a tile would be too little
  REQUIRE(test::counts(sched) == counts{15});
  sched.policy().batching.tau = 20;  // nor is one token worth a step: 79 to 99 instead
  REQUIRE(test::counts(sched) == counts{17});
  REQUIRE(test::counts(sched) == counts{4});  // the end of a prompt is not put off
}

TEST_CASE("chunked parameters that could never work name themselves") {
  using batching::chunked;
  REQUIRE(chunked{}.valid());
  REQUIRE(describe(chunked{.tau = 0}.valid()) == "out_of_range: chunked.tau is 0, allowed 1 to 4294967295");
  REQUIRE(describe(chunked{.tau = 8, .round_to = 9}.valid()) == "out_of_range: chunked.round_to is 9, allowed 1 to 8");
  REQUIRE_FALSE(chunked{.max_chunk = 0}.valid());
  REQUIRE_FALSE(chunked{.tau = 8, .last_chunk = 9}.valid());
  REQUIRE_FALSE(chunked{.end_at = 0}.valid());
  REQUIRE(describe(chunked{.end_at = 65537}.valid()) == "out_of_range: chunked.end_at is 65537, allowed 1 to 65536");
}
