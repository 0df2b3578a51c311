// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/cuda/stream_link.cuh"

#include "device/memory.hpp"
#include "quire/tier/cuda/memory.cuh"
#include "quire/tier/file_pool.hpp"

using namespace quire;
using device_test::device_or_skip;

namespace {

constexpr std::uint32_t slots = 6;
constexpr std::size_t bytes = 64;

/// A pool on the device, one of the host, and what moves their slots.
struct both_sides {
  both_sides() { REQUIRE(work.open()); }
  device::own_stream work;
  tier::device_memory memory{work.get()};
  tier::arena pages{slots * bytes, &memory};
  tier::memory_pool far{pages.data(), slots, bytes}, near{slots, bytes};
  const std::vector<tier::pool_ref> pools{far, near};

  static std::vector<std::byte> filled(std::uint8_t with, std::uint32_t count) { return std::vector<std::byte>(count * bytes, std::byte{with}); }
  std::vector<std::byte> on_device(std::uint32_t slot, std::uint32_t count) {
    std::vector<std::byte> got(count * bytes);
    REQUIRE(pages.read(pages.data() + slot * bytes, got));
    return got;
  }
  std::vector<std::byte> on_host(std::uint32_t slot, std::uint32_t count) { return {near.at(slot), near.at(slot) + count * bytes}; }
};
tier::copy out(std::uint32_t from, std::uint32_t to, std::uint32_t count) { return {{0, from}, {1, to}, count, tier::lane::out, count * bytes}; }
tier::copy in(std::uint32_t from, std::uint32_t to, std::uint32_t count) { return {{1, from}, {0, to}, count, tier::lane::in, count * bytes}; }
tier::landing next(tier::stream_link& link) {
  static_cast<void>(link.wait(0));
  const auto landed = link.poll(0);
  REQUIRE(landed);
  return *landed;
}

}  // namespace

TEST_CASE("tier cuda: slots go to the host and come back, behind what their memory was asked for") {
  if (!device_or_skip()) return;
  both_sides x;
  {
    tier::stream_link link(x.pools, 1, x.work.get());
    CHECK_FALSE(link.poll(0));
    REQUIRE(x.pages.write(x.pages.data(), both_sides::filled(1, slots)));
    x.pages.clear(x.pages.data() + bytes, bytes);  // on its way when the copy is asked for
    REQUIRE(link.start(7, out(0, 3, 2), 0));
    if (device_test::emulated) CHECK_FALSE(link.poll(0));  // it has not landed yet
    const tier::landing first = next(link);
    CHECK(first.id == 7);
    CHECK(first.why);
    CHECK_FALSE(link.poll(0));
    CHECK(x.on_host(3, 1) == both_sides::filled(1, 1));
    CHECK(x.on_host(4, 1) == both_sides::filled(0, 1));
    std::copy_n(both_sides::filled(9, 1).data(), bytes, x.near.at(4));
    REQUIRE(link.start(1, in(4, 0, 1), 2.5));
    REQUIRE(link.start(2, out(2, 0, 1), 2.5));  // the other direction does not wait for it
    std::vector<std::uint32_t> ids{next(link).id, next(link).id};
    std::sort(ids.begin(), ids.end());
    CHECK(ids == std::vector<std::uint32_t>{1, 2});
    CHECK(link.wait(3) == 3);
    CHECK(x.on_device(0, 1) == both_sides::filled(9, 1));
    CHECK(x.on_device(1, 1) == both_sides::filled(0, 1));
    REQUIRE(link.start(3, in(0, 5, 1), 0));  // ends with its link
  }
  CHECK(x.on_device(5, 1) == both_sides::filled(1, 1));
  device_test::finish();
}

TEST_CASE("tier cuda: a link takes so many copies, and says of each whether it went wrong") {
  if (!device_or_skip()) return;
  both_sides x;
  REQUIRE(x.pages.write(x.pages.data(), both_sides::filled(1, slots)));
  tier::stream_link link(x.pools, 1, x.work.get(), 2);
  REQUIRE(link.start(0, out(5, 0, 2), 0));  // past the last slot
  REQUIRE(link.start(1, out(0, 0, 1), 0));
  CHECK_FALSE(link.start(2, out(0, 1, 1), 0));
  REQUIRE(link.start(3, {{1, 0}, {4, 0}, 1, tier::lane::in, bytes}, 0));
  for (int i = 0; i < 3; ++i) {
    const tier::landing landed = next(link);
    INFO("copy " << landed.id << ": " << describe(landed.why));
    CHECK(landed.why.code == (landed.id == 1 ? errc::ok : errc::out_of_range));
  }
  REQUIRE(link.start(2, out(0, 1, 1), 0));
  CHECK(next(link).id == 2);
  tier::memory_pool other(2, 2 * bytes);
  const std::vector<tier::pool_ref> unequal{x.far, other};
  tier::stream_link odd(unequal, 1, x.work.get());
  REQUIRE(odd.start(0, out(0, 0, 1), 0));
  CHECK(next(odd).why.code == errc::unsupported_shape);
  tier::file_pool file;
  const std::vector<tier::pool_ref> unmapped{x.far, file};
  CHECK_THROWS_AS(tier::stream_link(unmapped, 1, x.work.get()), std::runtime_error);
  device_test::finish();
}
