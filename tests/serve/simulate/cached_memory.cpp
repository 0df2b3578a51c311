// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/cached_memory.hpp"

#include "catch.hpp"
#include "quire/serve/simulate/run.hpp"

using namespace quire;
using namespace quire::serve::simulate;

static_assert(schedule::AdmittingMemory<cached_memory> && schedule::ResidentMemory<cached_memory> &&
              schedule::PreemptingMemory<cached_memory> && schedule::BoundedMemory<cached_memory> && schedule::CountedMemory<cached_memory>);

namespace {
/// Requests of 40 tokens whose first 24 belong to a text they share.
workload sharing(std::uint32_t count, std::uint32_t group) {
  workload w;
  for (std::uint32_t i = 0; i < count; ++i)
    w.jobs.push_back({.request = {.id = i, .prompt_tokens = 40, .max_new_tokens = 9, .group = group}, .text = i + 1, .shared_text = 77, .shared_tokens = 24, .group_tokens = group == 0 ? 0u : 24u});
  return w;
}
void compute(cached_memory& m, schedule::request_id id, std::uint32_t rows) {
  REQUIRE(m.reserve(id, rows - m.resident(id)));
  m.computed(id, rows);
}
}  // namespace

TEST_CASE("full blocks are found by name as soon as they are computed, never all that is known") {
  const workload w = sharing(3, 0);
  cached_memory m(w, {.rows = 160, .block = 8});
  REQUIRE(m.admit(0));
  REQUIRE(m.resident(0) == 0);
  compute(m, 0, 20);
  REQUIRE(m.admit(1));
  REQUIRE(m.resident(1) == 16);
  compute(m, 1, 40);
  REQUIRE(m.free_tokens() == 160 - 24 - 24);
  m.preempt(1, schedule::preemption_kind::recompute);
  REQUIRE(m.admit(1));
  REQUIRE(m.resident(1) == 40);  // its first new token is known too, and was not computed
  m.release(0);
  m.release(1);
  REQUIRE(m.free_tokens() == 160);
  workload same = sharing(2, 0);
  same.jobs[1].text = same.jobs[0].text;
  cached_memory n(same, {.rows = 160, .block = 8});
  REQUIRE(n.admit(0));
  compute(n, 0, 40);
  REQUIRE(n.admit(1));
  REQUIRE(n.resident(1) == 32);  // the last row is computed again for its logits
  REQUIRE(m.counters().hit == 16 + 40);
  REQUIRE(m.consistent());
}

TEST_CASE("a reservation gets all or nothing, and evicts what was used longest ago, ends first") {
  const workload w = sharing(4, 0);
  cached_memory m(w, {.rows = 80, .block = 8});
  REQUIRE(m.admit(0));
  compute(m, 0, 40);
  m.release(0);  // five blocks in the cache
  REQUIRE(m.admit(1));
  REQUIRE(m.resident(1) == 24);
  REQUIRE_FALSE(m.reserve(1, 64));
  REQUIRE(m.reserve(1, 56));  // five free ones and the two private blocks of the first
  REQUIRE(m.counters().evicted == 2);
  REQUIRE(m.free_tokens() == 0);
  m.release(1);
  REQUIRE(m.admit(0));
  REQUIRE(m.resident(0) == 24);
  m.release(0);
  REQUIRE(m.consistent());
}

TEST_CASE("pins hold a group's shared blocks until its last request ends, then free them at once") {
  workload w = sharing(2, 1);
  w.jobs.push_back({.request = {.id = 2, .prompt_tokens = 70, .max_new_tokens = 1}, .text = 9});
  w.jobs.push_back({.request = {.id = 3, .prompt_tokens = 1, .max_new_tokens = 1}, .text = 10});
  for (const bool pins : {false, true}) {
    cached_memory m(w, {.rows = 96, .block = 8, .pin_groups = pins});
    REQUIRE(m.admit(3));
    compute(m, 3, 1);
    REQUIRE(m.admit(0));
    compute(m, 0, 40);
    m.release(0), m.ended(0);
    REQUIRE(m.admit(2));
    REQUIRE(static_cast<bool>(m.reserve(2, 64)) == true);
    REQUIRE(static_cast<bool>(m.reserve(2, 6)) == !pins);
    m.release(2), m.ended(2);
    REQUIRE(m.admit(1));
    REQUIRE(m.resident(1) == (pins ? 24u : 16u));  // without pins the end of the shared part was evicted
    compute(m, 1, 40);
    m.release(1), m.ended(1);
    REQUIRE(m.counters().evicted_pins == 0);
    m.release(3);
    if (pins) {
      REQUIRE(m.admit(0));
      REQUIRE(m.resident(0) == 0);
      m.release(0);
    }
    REQUIRE(m.consistent());
  }
}

TEST_CASE("pins give way only when a request is alone with them") {
  workload w = sharing(2, 1);
  w.jobs.push_back({.request = {.id = 2, .prompt_tokens = 80, .max_new_tokens = 1}, .text = 9});
  cached_memory m(w, {.rows = 80, .block = 8, .pin_groups = true});
  REQUIRE(m.admit(0));
  compute(m, 0, 40);
  REQUIRE(m.admit(2));
  REQUIRE_FALSE(m.reserve(2, 80));
  m.preempt(0, schedule::preemption_kind::recompute);
  REQUIRE(m.reserve(2, 80));
  REQUIRE(m.counters().evicted_pins == 3);
  m.release(2), m.ended(2);
  REQUIRE(m.consistent());
}

TEST_CASE("who would compute rows that another computes waits for them") {
  const workload w = sharing(3, 0);
  cached_memory m(w, {.rows = 400, .block = 8, .wait_for = 16});
  REQUIRE(m.admit(0));
  REQUIRE(m.admit(1).code == errc::not_ready);
  compute(m, 0, 8);
  REQUIRE(m.admit(1).code == errc::not_ready);  // 16 rows are still to come
  REQUIRE(m.reserve(0, 8));
  m.computed(0, 16);
  REQUIRE(m.admit(1));  // 8 rows are not worth the wait
  REQUIRE(m.resident(1) == 16);
  m.release(1);
  m.preempt(0, schedule::preemption_kind::recompute);  // whoever computed it is gone: nobody waits for a ghost
  REQUIRE(m.admit(2));
  REQUIRE(m.resident(2) == 16);
  m.release(2);
  REQUIRE(m.counters().waits == 2);
  REQUIRE(m.consistent());
}
