// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/pool.hpp"

#include <vector>

#include "catch.hpp"

using namespace quire;

namespace {
/// Slots without addresses.
struct far_pool {
  tier::memory_pool bytes;
  std::uint32_t slots() const noexcept { return bytes.slots(); }
  std::size_t slot_bytes() const noexcept { return bytes.slot_bytes(); }
  status read(std::uint32_t slot, std::span<std::byte> to) noexcept { return bytes.read(slot, to); }
  status write(std::uint32_t slot, std::span<const std::byte> from) noexcept { return bytes.write(slot, from); }
};
struct slotless {
  std::uint32_t slots() const noexcept { return 0; }
};
}  // namespace
static_assert(tier::Pool<far_pool> && !tier::MappedPool<far_pool> && !tier::Pool<slotless>);

TEST_CASE("slots are copied between pools that have addresses and pools that have none") {
  tier::memory_pool near(8, 24), other(8, 24), narrow(8, 16);
  far_pool far{{6, 24}}, farther{{6, 24}};
  const auto fill = [](std::byte* at, int n, int salt) {
    for (int i = 0; i < n; ++i) at[i] = static_cast<std::byte>(i * 7 + salt);
  };
  fill(near.at(0), 8 * 24, 1);
  REQUIRE(tier::copy_slots(near, 2, far, 1, 3));
  REQUIRE(tier::copy_slots(far, 2, other, 4, 2));
  CHECK(std::memcmp(other.at(4), near.at(3), 2 * 24) == 0);
  REQUIRE(tier::copy_slots(near, 0, other, 7, 1));
  CHECK(std::memcmp(other.at(7), near.at(0), 24) == 0);
  CHECK(tier::copy_slots(near, 6, far, 4, 3).code == errc::out_of_range);
  CHECK(tier::copy_slots(near, 7, other, 0, 2).code == errc::out_of_range);
  CHECK(tier::copy_slots(far, 0, farther, 0, 1).code == errc::unsupported_shape);
  CHECK(tier::copy_slots(near, 0, narrow, 0, 1).code == errc::unsupported_shape);
  std::vector<std::byte> part(23);
  CHECK(near.read(0, part).code == errc::out_of_range);
  CHECK(near.write(8, std::vector<std::byte>(24)).code == errc::out_of_range);
}

TEST_CASE("a pool borrows memory or owns it, and may be empty or weightless") {
  std::vector<std::byte> arena(64);
  tier::memory_pool borrowed(arena.data(), 4, 16), empty(0, 16), weightless(3, 0);
  CHECK(borrowed.at(3) == arena.data() + 48);
  CHECK(tier::pool_ref(borrowed).at(2) == arena.data() + 32);
  REQUIRE(tier::copy_slots(weightless, 1, weightless, 2, 1));
  CHECK(empty.read(0, {}));
  CHECK(tier::pool_ref(empty).slots() == 0);
}
