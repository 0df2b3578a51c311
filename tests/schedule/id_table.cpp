// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/id_table.hpp"

#include <map>
#include <random>

#include "catch.hpp"

using namespace quire::schedule;

TEST_CASE("an id table agrees with a map over random operations") {
  for (const std::uint32_t capacity : {1u, 2u, 7u, 64u}) {
    std::mt19937 random(capacity);
    id_table table(capacity);
    std::map<std::uint64_t, std::uint32_t> model;
    for (int i = 0; i < 20000; ++i) {
      const std::uint64_t id = random() % (3 * capacity) * (random() % 2 ? 1 : 0x100000000u);
      const auto at = model.find(id);
      if (at == model.end()) {
        if (model.size() < capacity && random() % 2) {
          model[id] = static_cast<std::uint32_t>(i);
          table.insert(id, static_cast<std::uint32_t>(i));
        } else {
          table.erase(id);  // absent: nothing happens
        }
      } else if (random() % 3) {
        model.erase(at);
        table.erase(id);
      } else {
        at->second = static_cast<std::uint32_t>(i);
        table.assign(id, static_cast<std::uint32_t>(i));
      }
      if (i % 50 == 0)
        for (std::uint64_t k = 0; k < 3 * capacity; ++k)
          for (const std::uint64_t key : {k, k * 0x100000000u}) {
            const auto m = model.find(key);
            REQUIRE(table.find(key) == (m == model.end() ? id_table::none : m->second));
          }
    }
  }
}
