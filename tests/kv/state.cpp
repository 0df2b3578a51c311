// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/state.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire;

TEST_CASE("records of a state block are disjoint and fill it") {
  const kv::state_plan plan{24, {3, 5}, {{.balance = true, .importance = true, .masks = 9}, {.balance = true, .mean = true}}};
  std::vector<std::byte> block(plan.bytes());
  std::vector<int> owners(plan.bytes(), 0);
  const auto own = [&](const void* p, std::size_t bytes) {
    if (p == nullptr) return;
    const auto at = static_cast<std::size_t>(static_cast<const std::byte*>(p) - block.data());
    REQUIRE(at + bytes <= plan.bytes());
    for (std::size_t i = 0; i < bytes; ++i) ++owners[at + i];
  };
  for (std::uint32_t g = 0; g < 2; ++g)
    for (std::uint32_t h = 0; h < plan.heads[g]; ++h) {
      const kv::head_state s = plan.at(block.data(), g, h);
      CHECK((s.live != nullptr) == (g == 0));
      CHECK((s.key_sum != nullptr) == (g == 1));
      own(s.balance, 96), own(s.query_peak, 96), own(s.key_sum, 96), own(s.value_sum, 96), own(s.tail_scores, 256), own(s.live, 72);
    }
  for (int n : owners) REQUIRE(n == 1);
  const kv::state_plan nothing{24, {3, 5}, {}};
  CHECK(nothing.bytes() == 0);
  CHECK(nothing.at(nullptr, 0, 2).balance == nullptr);
}

TEST_CASE("a channel balancer shares the range and stays bounded") {
  CHECK(kv::channel_balance(8, 2) == 2);
  CHECK(kv::channel_balance(2, 8) == 0.5f);
  CHECK(kv::channel_balance(0, 3) == 1);
  CHECK(kv::channel_balance(3, 0) == 1);
  CHECK(kv::channel_balance(1e30f, 1e-10f) == 100);
  CHECK(kv::channel_balance(1e-30f, 1e10f) == 0.01f);
}
