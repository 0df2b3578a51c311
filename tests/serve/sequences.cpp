// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/sequences.hpp"

#include "catch.hpp"
#include "hooked_store.hpp"
#include "quire/schedule/memory.hpp"

using namespace quire;
using namespace quire::serve;
using schedule::preemption_kind;

static_assert(SequenceStore<test::token_store> && ForkingStore<test::token_store>);
static_assert(!PrefixStore<test::token_store> && !SwappingStore<test::token_store> && !CountedStore<test::token_store>);
static_assert(PrefixStore<test::hooked_store> && SwappingStore<test::hooked_store> && CountedStore<test::hooked_store>);
static_assert(schedule::Memory<sequences<test::token_store>> && schedule::AdmittingMemory<sequences<test::token_store>>);
static_assert(!schedule::PreemptingMemory<sequences<test::token_store>> && !schedule::ReadyMemory<sequences<test::token_store>>);
static_assert(schedule::PreemptingMemory<sequences<test::hooked_store>> && schedule::ReadyMemory<sequences<test::hooked_store>> &&
              schedule::CountedMemory<sequences<test::hooked_store>> && schedule::ResidentMemory<sequences<test::hooked_store>> &&
              schedule::LeavingMemory<sequences<test::hooked_store>>);

namespace {

struct bench {
  job_map jobs;
  test::hooked_store store;
  sequences<test::hooked_store> memory{jobs, store};
  explicit bench(test::hooked_store::troubles t = {}, std::uint32_t pages = 16) : store(pages, t) {}
  job& add(request_id id, std::vector<std::int32_t> prompt, std::uint32_t group = 0, std::uint32_t shared = 0) {
    const auto n = static_cast<std::uint32_t>(prompt.size());
    job& j = jobs.emplace(id, job{{.prompt = std::move(prompt), .group = group, .shared_tokens = shared}, n}).first->second;
    memory.joined(j);
    return j;
  }
  /// Computes `n` rows of an admitted request.
  void grow(request_id id, std::uint32_t n) {
    job& j = jobs.at(id);
    REQUIRE(memory.reserve(id, n));
    for (std::uint32_t i = 0; i < n; ++i) store.row(j.sequence, store.length(j.sequence) + i) = j.g.prompt[store.length(j.sequence) + i];
    REQUIRE(store.commit(j.sequence, n));
    memory.committed(j);
  }
};

const std::vector<std::int32_t> words{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

}  // namespace

TEST_CASE("who will share a prefix waits until it is computed and then begins behind it") {
  bench b;
  b.add(1, words), b.add(2, words);
  REQUIRE(b.memory.admit(1));
  REQUIRE(b.memory.resident(1) == 0);
  REQUIRE(b.memory.admit(2).code == errc::not_ready);
  b.grow(1, 4);
  REQUIRE(b.memory.admit(2).code == errc::not_ready);  // the next tile is on its way too
  b.grow(1, 4);
  REQUIRE(b.memory.admit(2));
  REQUIRE(b.memory.resident(2) == 8);
  b.memory.release(2);
  b.memory.release(1);
  REQUIRE(b.store.free_pages() == 16);
}

TEST_CASE("a swapped request comes back with its rows when they have arrived") {
  bench b;
  job& j = b.add(1, words);
  REQUIRE(b.memory.admit(1));
  b.grow(1, 9);
  REQUIRE(b.memory.preempt(1, preemption_kind::swap) == preemption_kind::swap);
  REQUIRE(b.memory.preempt(1, preemption_kind::swap) == preemption_kind::swap);  // found no room at admission: stays where it is
  REQUIRE(b.memory.admit(1).code == errc::not_ready);                           // its pages are still leaving
  REQUIRE(b.memory.free_tokens() == 16 * 4);
  for (int i = 0; i < 3; ++i) b.store.poll();
  REQUIRE(b.store.free_pages() == 16);
  REQUIRE(b.memory.free_tokens() == 16 * 4);
  REQUIRE(b.memory.admit(1));
  REQUIRE(b.memory.resident(1) == 9);
  REQUIRE_FALSE(b.memory.ready(1));
  for (int i = 0; i < 3; ++i) b.store.poll();
  REQUIRE(b.memory.ready(1));
  REQUIRE(b.store.row(j.sequence, 8) == 9);
  b.grow(1, 1);
}

TEST_CASE("a prompt is announced when its sequence opens, and what was generated is no prompt when rows are computed again") {
  bench b;
  job& j = b.add(1, words);
  REQUIRE(b.memory.admit(1));
  REQUIRE(b.store.prompts == std::vector{std::pair{j.sequence, 10u}});
  b.grow(1, 10);
  j.g.prompt.push_back(11);
  REQUIRE(b.memory.preempt(1, preemption_kind::swap) == preemption_kind::swap);
  for (int i = 0; i < 3; ++i) b.store.poll();
  REQUIRE(b.memory.admit(1));  // it comes back as it was: nothing to announce
  for (int i = 0; i < 3; ++i) b.store.poll();
  REQUIRE(b.memory.ready(1));
  REQUIRE(b.store.prompts.size() == 1);
  REQUIRE(b.memory.preempt(1, preemption_kind::recompute) == preemption_kind::recompute);
  REQUIRE(b.memory.admit(1));
  REQUIRE(b.store.prompts.size() == 2);
  REQUIRE(b.store.prompts[1] == std::pair{j.sequence, 10u});
}

TEST_CASE("a full host pool and lost rows mean computing again, never failure") {
  bench b({.host_rows = 5});
  b.add(1, words);
  REQUIRE(b.memory.admit(1));
  b.grow(1, 9);
  REQUIRE(b.memory.preempt(1, preemption_kind::swap) == preemption_kind::recompute);
  REQUIRE(b.store.free_pages() == 16);

  bench c({.delay = 1, .lose_one_in = 1});
  c.add(1, words);
  REQUIRE(c.memory.admit(1));
  c.grow(1, 9);
  REQUIRE(c.memory.preempt(1, preemption_kind::recompute) == preemption_kind::recompute);
  REQUIRE(c.memory.admit(1));
  REQUIRE(c.memory.resident(1) == 8);  // what was computed is remembered all the same
  REQUIRE(c.memory.preempt(1, preemption_kind::swap) == preemption_kind::swap);
  c.store.poll();
  REQUIRE(c.memory.admit(1));
  REQUIRE(c.store.lost == 1);
  REQUIRE(c.memory.ready(1));
  REQUIRE(c.memory.resident(1) == 8);
}

TEST_CASE("a group's prefix is pinned once and let go with its last member") {
  bench b;
  b.add(1, words, 7, 8), b.add(2, words, 7, 8), b.add(3, words, 7, 8);
  REQUIRE(b.memory.admit(1));
  b.grow(1, 4);
  REQUIRE(b.store.pins == 0);
  b.grow(1, 4);
  b.grow(1, 1);
  REQUIRE(b.memory.admit(2));
  b.grow(2, 1);
  REQUIRE(b.store.pins == 1);
  REQUIRE(b.store.pinned_tokens == 8);
  b.memory.left(b.jobs.at(1));
  b.memory.left(b.jobs.at(3));  // one that never ran
  REQUIRE(b.store.unpins == 0);
  b.memory.left(b.jobs.at(2));
  REQUIRE(b.store.unpins == 1);
}

TEST_CASE("forks that wait give way to those who need the room") {
  bench b({}, 4);
  job& root = b.add(1, words);
  REQUIRE(b.memory.admit(1));
  b.grow(1, 7);
  job& copy = b.add(2, words);
  b.memory.fork(root, 2, copy);
  REQUIRE(copy.open);
  REQUIRE(b.store.free_pages() == 0);
  b.grow(1, 3);
  REQUIRE_FALSE(copy.open);
  REQUIRE(b.memory.admit(2).code == errc::out_of_pages);
  b.memory.release(1);
  REQUIRE(b.memory.admit(2));
  REQUIRE(b.memory.resident(2) == 8);
}
