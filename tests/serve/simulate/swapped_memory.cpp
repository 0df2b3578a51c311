// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/swapped_memory.hpp"

#include "catch.hpp"
#include "quire/serve/simulate/run.hpp"

using namespace quire;
using namespace quire::serve::simulate;
using schedule::preemption_kind;

static_assert(schedule::ReadyMemory<swapped_memory> && schedule::PreemptingMemory<swapped_memory> && schedule::LeavingMemory<swapped_memory>);

namespace {
// A block is two pieces of 128 bytes, 1024 bytes a second, a quarter of a second a launch: times are exact. Launches are slower
// than bytes, so a batch of n copies takes n launches and the last copy's bytes.
swapped_memory_options small() {
  return {.rows = 128, .host_rows = 256, .block = 16, .row_bytes = 16, .pieces = 2, .group_blocks = 1, .link = {.bytes_per_second = 1024, .launch = 0.25}};
}
constexpr double batch(int blocks) { return blocks * 2 * 0.25 + 0.125; }

workload texts(std::uint32_t count) {
  workload w;
  for (std::uint32_t i = 0; i < count; ++i) w.jobs.push_back({.request = {.id = i, .prompt_tokens = 40, .max_new_tokens = 50}, .text = i + 1});
  return w;
}
void compute(swapped_memory& m, schedule::request_id id, std::uint32_t from, std::uint32_t rows) {
  if (rows > from) REQUIRE(m.reserve(id, rows - from));
  m.computed(id, rows);
}
}  // namespace

TEST_CASE("block by block, the step waits: launches and bytes, out and in") {
  const workload w = texts(1);
  swapped_memory m(w, small());
  m.at(0);
  REQUIRE(m.admit(0));
  compute(m, 0, 0, 40);
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);
  REQUIRE(m.free_tokens() == 128);
  REQUIRE(m.starts_at(0) == batch(3));
  m.at(10);
  REQUIRE(m.admit(0));
  REQUIRE(m.resident(0) == 40);
  REQUIRE(m.ready(0));
  REQUIRE(m.starts_at(10) == 10);  // nothing moves before the step is settled
  m.settle();
  REQUIRE(m.starts_at(10) == 10 + batch(3));
  m.at(20);
  compute(m, 0, 40, 41);
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);  // all of it again
  REQUIRE(m.counters().blocks_out == 6);
  REQUIRE(m.counters().copies_out == 12);
  REQUIRE(m.counters().bytes_out == 6 * 256);
  REQUIRE(m.counters().bytes_in == 3 * 256);
  m.release(0);
  REQUIRE(m.consistent());
}

TEST_CASE("with groups adjacent blocks are one copy a piece") {
  const workload w = texts(2);
  swapped_memory_options o = small();
  o.groups = true, o.group_blocks = 4;
  swapped_memory m(w, o);
  m.at(0);
  REQUIRE(m.admit(0));
  REQUIRE(m.admit(1));
  for (std::uint32_t rows = 8; rows <= 40; rows += 8) {  // they grow by turns
    compute(m, 0, rows - 8, rows);
    compute(m, 1, rows - 8, rows);
  }
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);
  REQUIRE(m.counters().blocks_out == 3);
  REQUIRE(m.counters().copies_out == 2);
  REQUIRE(m.starts_at(0) == 0.25 + 3 * 0.25);  // one launch, then the bytes of both pieces without a gap
  m.release(0), m.release(1);
  REQUIRE(m.consistent());
}

TEST_CASE("with overlap blocks leave and rows arrive while steps go on") {
  workload w = texts(3);
  w.jobs[2].request.prompt_tokens = 20;
  swapped_memory_options o = small();
  o.overlap = true, o.rows = 80;
  swapped_memory m(w, o);
  m.at(0);
  REQUIRE(m.admit(0));
  compute(m, 0, 0, 40);
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);
  REQUIRE(m.starts_at(0) == 0);
  REQUIRE(m.leaving_tokens() == 48);
  REQUIRE(m.free_tokens() == 32 + 48);
  REQUIRE(m.wakes_at() == batch(3));
  REQUIRE(m.admit(1).code == errc::not_ready);  // leaving blocks will do
  REQUIRE(m.admit(2));                          // and leave room for 20 rows, which are there now
  REQUIRE(m.reserve(2, 20));
  REQUIRE(m.reserve(2, 20).code == errc::out_of_pages);
  m.release(2);
  w.jobs[2].request.prompt_tokens = 33;
  REQUIRE(m.admit(2).code == errc::out_of_pages);  // what leaves is promised
  m.at(batch(3));
  REQUIRE(m.leaving_tokens() == 0);
  REQUIRE(m.free_tokens() == 80);
  REQUIRE(m.admit(0));
  REQUIRE_FALSE(m.ready(0));
  m.settle();
  REQUIRE(m.wakes_at() == 2 * batch(3));
  m.at(2 * batch(3) - 0.125);
  REQUIRE_FALSE(m.ready(0));
  m.at(2 * batch(3));
  REQUIRE(m.ready(0));
  m.release(0), m.release(1);
  REQUIRE(m.consistent());
}

TEST_CASE("a sequence that loses its blocks before its rows have arrived keeps the host's copy, and its blocks stay until the copy ends") {
  const workload w = texts(1);
  swapped_memory_options o = small();
  o.overlap = true;
  swapped_memory m(w, o);
  m.at(0);
  REQUIRE(m.admit(0));
  compute(m, 0, 0, 40);
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);
  m.at(10);
  REQUIRE(m.admit(0));
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);  // not settled: nothing moved
  REQUIRE(m.free_tokens() == 128);
  REQUIRE(m.admit(0));
  m.settle();
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);
  REQUIRE(m.leaving_tokens() == 48);
  REQUIRE(m.counters().blocks_out == 3);
  m.at(20);
  REQUIRE(m.leaving_tokens() == 0);
  REQUIRE(m.admit(0));
  REQUIRE(m.resident(0) == 40);
  m.settle();
  m.at(30);
  REQUIRE(m.ready(0));
  REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);  // the host's copy is gone: out again
  REQUIRE(m.counters().blocks_out == 6);
  m.release(0);
  REQUIRE(m.consistent());
}

TEST_CASE("with reuse only rows the host lacks go out again, and the open block") {
  for (const bool reuse : {false, true}) {
    const workload w = texts(1);
    swapped_memory_options o = small();
    o.reuse = reuse;
    swapped_memory m(w, o);
    double now = 0;
    std::uint32_t rows = 40;
    m.at(now);
    REQUIRE(m.admit(0));
    compute(m, 0, 0, rows);
    for (int i = 0; i < 5; ++i) {
      REQUIRE(m.preempt(0, preemption_kind::swap) == preemption_kind::swap);
      m.at(now += 100);
      REQUIRE(m.admit(0));
      REQUIRE(m.resident(0) == rows);
      m.settle();
      m.at(now += 100);
      compute(m, 0, rows, rows + 6), rows += 6;
    }
    REQUIRE(m.counters().blocks_in == 3 + 3 + 4 + 4 + 4);
    REQUIRE(m.counters().blocks_out == (reuse ? 3 + 1 + 2 + 1 + 1 : 3 + 3 + 4 + 4 + 4));  // at 40 46 52 58 64 rows
    REQUIRE(m.counters().blocks_out + m.counters().spared == 18);
    m.release(0);
    REQUIRE(m.consistent());
  }
}

TEST_CASE("a turn's rows wait on the host for the next turn") {
  workload w = texts(2);
  w.jobs[1].text = 1, w.jobs[0].next_turn = 1;
  w.jobs[1].request.prompt_tokens = 120;
  swapped_memory m(w, small());
  m.at(0);
  REQUIRE(m.admit(0));
  compute(m, 0, 0, 89);  // prompt 40, 50 new tokens: 89 rows
  m.release(0);
  REQUIRE(m.free_tokens() == 128);
  m.at(50);
  REQUIRE(m.admit(1));
  REQUIRE(m.resident(1) == 89);
  m.settle();
  m.at(60);
  compute(m, 1, 89, 100);
  m.release(1);  // the last turn: nothing is kept
  REQUIRE(m.counters().blocks_out == 6);
  REQUIRE(m.admit(1));
  REQUIRE(m.resident(1) == 0);
  m.release(1);
  REQUIRE(m.consistent());
}

TEST_CASE("a full host turns a swap into a recomputation, after texts nobody waits for have gone") {
  workload w = texts(4);
  w.jobs[0].next_turn = 3, w.jobs[3].text = 1;
  swapped_memory_options o = small();
  o.host_rows = 96;
  swapped_memory m(w, o);
  m.at(0);
  REQUIRE(m.admit(0));
  compute(m, 0, 0, 89);
  m.release(0);  // an idle conversation fills the host's six blocks
  REQUIRE(m.admit(1));
  compute(m, 1, 0, 40);
  REQUIRE(m.preempt(1, preemption_kind::swap) == preemption_kind::swap);
  REQUIRE(m.counters().evicted == 3);
  REQUIRE(m.admit(2));
  compute(m, 2, 0, 60);
  REQUIRE(m.preempt(2, preemption_kind::swap) == preemption_kind::recompute);
  REQUIRE(m.counters().degraded == 1);
  REQUIRE(m.admit(2));
  REQUIRE(m.resident(2) == 0);
  REQUIRE(m.admit(1));
  REQUIRE(m.resident(1) == 40);
  m.release(1), m.release(2);
  REQUIRE(m.consistent());
}
