// SPDX-License-Identifier: Apache-2.0
// The laws every order of requests obeys, checked on random requests with many ties.
#pragma once

#include <array>
#include <random>

#include "quire/schedule/axes.hpp"

namespace test {

inline quire::schedule::request random_request(std::mt19937& random, std::uint64_t id) {
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  quire::schedule::request r{.id = id,
                             .arrival = draw(4) / 2.0,
                             .prompt_tokens = 1 + draw(3),
                             .max_new_tokens = 1 + draw(3),
                             .priority = static_cast<std::int32_t>(draw(3)) - 1,
                             .tenant = draw(3),
                             .group = draw(3),
                             .rank = draw(3),
                             .hit_tokens = draw(4)};
  r.so_far = {.computed = draw(3), .generated = draw(3), .preemptions = draw(2)};
  r.so_far.resident = draw(r.so_far.computed + 1);
  return r;
}

/// Irreflexive, asymmetric, transitive, with transitive ties.
template <class Before, class Requests>
bool strict_weak_order(Before before, const Requests& r) {
  bool lawful = true;
  for (const auto& a : r) {
    lawful &= !before(a, a);
    for (const auto& b : r) {
      lawful &= !(before(a, b) && before(b, a));
      for (const auto& c : r) {
        lawful &= !(before(a, b) && before(b, c) && !before(a, c));
        const bool ab = !before(a, b) && !before(b, a), bc = !before(b, c) && !before(c, b);
        lawful &= !(ab && bc) || (!before(a, c) && !before(c, a));
      }
    }
  }
  return lawful;
}

/// `admit_before` is a strict weak order and no two requests give way to each other. Tells the order of arrivals and
/// admissions in between, as a scheduler would.
template <quire::schedule::Order O>
bool order_lawful(O order, unsigned seed) {
  namespace s = quire::schedule;
  std::mt19937 random(seed);
  bool lawful = true;
  if constexpr (s::PreparedOrder<O>) order.prepare(8);
  for (int round = 0; round < 200; ++round) {
    std::array<s::request, 8> r;
    for (std::size_t i = 0; i < r.size(); ++i) {
      r[i] = random_request(random, i);
      if constexpr (s::ArrivalOrder<O>) r[i].so_far.mark = order.arrived(r[i]);
      if constexpr (s::WatchingOrder<O>)
        if (random() % 3 == 0) order.admitted(r[i]), order.preempted(r[i]);
      if constexpr (s::ServedOrder<O>)
        order.served(r[i], r[i].known_tokens() - std::min(r[i].known_tokens(), r[i].so_far.computed));
    }
    lawful &= strict_weak_order([&](const auto& a, const auto& b) { return order.admit_before(a, b); }, r);
    if constexpr (s::YieldingOrder<O>)
      for (const auto& a : r)
        for (const auto& b : r) lawful &= !(order.yields(a, b) && order.yields(b, a));
    if constexpr (s::WatchingOrder<O>)
      for (const auto& x : r) order.left(x);
  }
  return lawful;
}
template <quire::schedule::Victim V>
bool victim_lawful(const V& victim, unsigned seed) {
  std::mt19937 random(seed);
  bool lawful = true;
  for (int round = 0; round < 200; ++round) {
    std::array<quire::schedule::request, 8> r;
    for (std::size_t i = 0; i < r.size(); ++i) r[i] = random_request(random, i);
    lawful &= strict_weak_order([&](const auto& a, const auto& b) { return victim.evict_before(a, b); }, r);
  }
  return lawful;
}

}  // namespace test
