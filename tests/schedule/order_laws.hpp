// SPDX-License-Identifier: Apache-2.0
// The laws every scheduling policy obeys, checked on random requests with many ties.
#pragma once

#include <array>
#include <random>

#include "quire/schedule/policy.hpp"

namespace test {

inline quire::schedule::request random_request(std::mt19937& random, std::uint64_t id) {
  const auto draw = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  quire::schedule::request r{.id = id,
                             .arrival = draw(4) / 2.0,
                             .prompt_tokens = 1 + draw(3),
                             .max_new_tokens = 1 + draw(3),
                             .priority = static_cast<std::int32_t>(draw(3)) - 1,
                             .tenant = draw(3)};
  r.so_far = {draw(3), draw(3), draw(2)};
  return r;
}

/// Both orders are strict weak orders (irreflexive, asymmetric, transitive, with transitive ties) and no two requests
/// give way to each other.
template <quire::schedule::SchedulerPolicy P>
bool orders_lawful(const P& policy, unsigned seed) {
  std::mt19937 random(seed);
  bool lawful = true;
  const auto weak_order = [&](auto before, const auto& r) {
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
  };
  for (int round = 0; round < 200; ++round) {
    std::array<quire::schedule::request, 8> r;
    for (std::size_t i = 0; i < r.size(); ++i) r[i] = random_request(random, i);
    weak_order([&](const auto& a, const auto& b) { return policy.admit_before(a, b); }, r);
    weak_order([&](const auto& a, const auto& b) { return policy.evict_before(a, b); }, r);
    for (const auto& a : r)
      for (const auto& b : r) lawful &= !(policy.yields(a, b) && policy.yields(b, a));
  }
  return lawful;
}

}  // namespace test
