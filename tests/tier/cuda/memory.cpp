// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/cuda/memory.cuh"

#include <numeric>

#include "device/memory.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/store.hpp"

using namespace quire;
using device_test::device_or_skip;
using device_test::finish;

namespace {

/// sum ← sum of n bytes: a read of one that nobody wrote is a fault on the emulator.
__global__ void add_up(const std::uint8_t* from, std::uint32_t n, std::uint32_t* sum) {
  std::uint32_t own = 0;
  for (std::uint32_t i = threadIdx.x; i < n; i += blockDim.x) own += from[i];
  own = __reduce_add_sync(~0u, own);
  if (threadIdx.x == 0) *sum = own;
}
std::uint32_t sum_of(const std::byte* from, std::size_t n, tier::device_memory& memory) {
  const tier::arena to(4, &memory);
  REQUIRE(device::launch(&add_up, {.blocks = 1, .threads = 32}, memory.on(), reinterpret_cast<const std::uint8_t*>(from), static_cast<std::uint32_t>(n), reinterpret_cast<std::uint32_t*>(to.data())));
  std::uint32_t sum = 0;
  REQUIRE(to.read(to.data(), std::as_writable_bytes(std::span(&sum, 1))));
  finish();
  return sum;
}

}  // namespace

TEST_CASE("tier cuda: device memory is cleared, copied and moved to and from the host") {
  if (!device_or_skip()) return;
  tier::device_memory memory;
  const tier::arena a(1000, &memory), b(1000, &memory);
  std::vector<std::byte> sent(1000, std::byte{1}), got(1000);
  REQUIRE(a.write(a.data(), sent));
  a.clear(a.data() + 100, 50);
  b.copy(b.data() + 10, a.data() + 90, 20);
  CHECK(sum_of(b.data() + 10, 20, memory) == 10);
  CHECK(sum_of(a.data(), 1000, memory) == 950);
  REQUIRE(b.read(b.data() + 10, std::span(got).first(20)));
  CHECK(got[9] == std::byte{1});
  CHECK(got[10] == std::byte{0});
  CHECK(memory.failure());
}

TEST_CASE("tier cuda: what the device refuses between calls is kept") {
  if (!device_test::emulated) return;  // a device that is told to leave its memory would serve no later test
  tier::device_memory memory;
  const tier::arena a(64, &memory);
  std::vector<std::byte> host(65);
  CHECK(a.read(a.data(), host).code == errc::device);
  CHECK(memory.failure());
  a.clear(a.data(), 65);
  CHECK(memory.failure().code == errc::device);
  a.clear(a.data(), 64);
  CHECK(memory.failure().code == errc::device);
}

TEST_CASE("tier cuda: the open tail of a store on a device is zeros for each sequence that gets it, and forks have copies") {
  if (!device_or_skip()) return;
  using layout = kv::paged<kv::raw_bf16>;
  const layout pages({1, 1, 16});
  tier::device_memory memory;
  auto o = kv::pages_for(pages, 2, 130);
  o.memory = &memory;
  kv::store<layout> store(pages, o);
  std::uint32_t s = 0, fork = 0;
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, 70));
  const auto tail = [&](std::uint32_t of) { return store.view().sequences[of].tail; };
  CHECK(sum_of(tail(s), kv::tail_bytes(pages), memory) == 0);
  std::vector<std::byte> ones(kv::tail_bytes(pages), std::byte{1});
  REQUIRE(memory.write(tail(s), ones));
  REQUIRE(memory.write(store.view().sealed(s, 0, 0, 0), std::vector<std::byte>(kv::page_bytes(pages, 0), std::byte{2})));
  REQUIRE(store.commit(s, 70));
  REQUIRE(store.fork(s, fork));
  CHECK(tail(fork) != tail(s));
  CHECK(sum_of(tail(fork), ones.size(), memory) == ones.size());
  REQUIRE(store.truncate(fork, 5));  // the exact rows of the first tile come back from its page
  CHECK(sum_of(tail(fork), ones.size(), memory) == 2 * ones.size());
  CHECK(sum_of(tail(s), ones.size(), memory) == ones.size());
  store.close(s);
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, 1));
  CHECK(sum_of(tail(s), ones.size(), memory) == 0);
  CHECK(memory.failure());
}
