// SPDX-License-Identifier: Apache-2.0
// One step of a scheduler with its tokens, for tests that look at single steps.
#pragma once

#include <vector>

#include "catch.hpp"
#include "quire/schedule/step.hpp"

namespace test {

/// The entries by value; empty when there is no step.
template <class S>
std::vector<quire::schedule::entry> run_one(S& sched, double now = 0) {
  const auto s = sched.next(now);
  if (!s) return {};
  std::vector<quire::schedule::entry> entries(s->entries.begin(), s->entries.end());
  REQUIRE(sched.commit(*s));
  for (const auto& e : entries)
    if (e.wants_logits) REQUIRE(sched.token(e.id));
  return entries;
}
template <class S>
std::vector<std::uint32_t> counts(S& sched) {
  std::vector<std::uint32_t> all;
  for (const auto& e : run_one(sched)) all.push_back(e.count);
  return all;
}
template <class S>
std::vector<quire::schedule::request_id> ids(S& sched, double now = 0) {
  std::vector<quire::schedule::request_id> all;
  for (const auto& e : run_one(sched, now)) all.push_back(e.id);
  return all;
}

/// Steps until request 0 runs, in a scheduler of one seat into which `favoured` brings a request every second; `most`
/// when it never does.
template <class S, class Favoured>
int steps_until_served(S& sched, quire::schedule::request patient, Favoured favoured, int most = 2000) {
  patient.id = 0;
  REQUIRE(sched.submit(favoured(1)));
  REQUIRE(sched.submit(patient));
  for (int i = 2; i < most; ++i) {
    REQUIRE(sched.submit(favoured(i)));
    run_one(sched, i);
    if (sched.find(0) == nullptr || sched.find(0)->so_far.running) return i;
  }
  return most;
}

}  // namespace test
