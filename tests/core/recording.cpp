// SPDX-License-Identifier: Apache-2.0
#include "quire/core/recording.cuh"

#include "device/memory.hpp"

using namespace quire;
using namespace device_test;

namespace {

/// to[i] ← from[i] + by for as many as `count` says when it runs; a grid of more blocks has nothing to do in the rest.
__global__ void add(const std::uint32_t* from, std::uint32_t* to, const std::uint32_t* count, std::uint32_t by) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < *count) to[i] = from[i] + by;
}
std::vector<std::uint32_t> numbers(std::uint32_t from, std::uint32_t n) {
  std::vector<std::uint32_t> v(n);
  for (std::uint32_t i = 0; i < n; ++i) v[i] = from + i;
  return v;
}
device::own_stream opened() {
  device::own_stream s;
  REQUIRE(s.open());
  return s;
}

}  // namespace

TEST_CASE("recorded work runs when it is replayed, on what stands in memory then, with the arguments of its launches") {
  if (!device_or_skip()) return;
  const device::own_stream stream = opened();
  const device::stream on = stream.get();
  device_array<std::uint32_t> a(numbers(10, 64), "a"), b(numbers(0, 64), "b"), c(numbers(0, 64), "c"), count(std::vector<std::uint32_t>{64}, "count");
  const auto ask = [&] {
    std::uint32_t by = 1;
    if (const status s = device::clear(b.data(), 64 * 4, on); !s) return s;
    if (const status s = device::launch(&add, {.blocks = 2, .threads = 32}, on, a.data(), b.data(), count.data(), by); !s) return s;
    by = 100;  // the launch has its own
    return device::copy(c.data(), b.data(), 64 * 4, on);
  };
  REQUIRE(ask());
  REQUIRE(device::wait(on));
  c.upload(numbers(0, 64));
  device::recording r;
  CHECK_FALSE(r.made());
  CHECK(r.run(on).code == errc::not_ready);
  REQUIRE(r.take(on, ask));
  REQUIRE(device::wait(on));
  finish();
  CHECK(c.download() == numbers(0, 64));  // nothing has run
  a.upload(numbers(20, 64)), count.upload(std::vector<std::uint32_t>{33});
  REQUIRE(r.run(on));
  REQUIRE(device::wait(on));
  finish();
  const auto got = c.download();
  CHECK(got[0] == 21);
  CHECK(got[32] == 53);
  CHECK(got[33] == 0);
  count.upload(std::vector<std::uint32_t>{64});
  device::recording moved = std::move(r);
  CHECK_FALSE(r.made());
  REQUIRE(moved.run(on));
  REQUIRE(device::wait(on));
  finish();
  CHECK(c.download() == numbers(21, 64));
}

TEST_CASE("what may not happen while a stream is recorded spoils the recording, and the stream goes on") {
  if (!device_or_skip()) return;
  const device::own_stream stream = opened();
  const device::stream on = stream.get();
  device_array<std::uint32_t> a(numbers(1, 32), "a"), b(numbers(0, 32), "b"), count(std::vector<std::uint32_t>{32}, "count");
  const auto ask = [&] { return device::launch(&add, {.blocks = 1, .threads = 32}, on, a.data(), b.data(), count.data(), 1u); };
  REQUIRE(ask());
  REQUIRE(device::wait(on));
  device::recording r;
  REQUIRE(r.take(on, ask));
  b.upload(numbers(0, 32));
  const auto spoilt = [&](auto&& wrong) {
    const status s = r.take(on, [&] {
      if (const status before = ask(); !before) return before;
      return wrong();
    });
    CHECK(s.code == errc::device);
  };
  void* p = nullptr;
  spoilt([&] { return device::wait(on); });
  spoilt([&] { return device::allocate(p, 64); });
  spoilt([&] { return static_cast<void>(device::wait(on)), status{}; });  // nobody looked at what was said
  spoilt([] { return status{errc::device, "of the caller's"}; });
  if (emulated) {  // a device leaks what it may not take back, and says that the default stream would have to wait
    spoilt([&] { return device::clear(a.data(), 4, {}); });
    spoilt([&] { return r.run(on); });
    REQUIRE(device::allocate_pinned(p, 64));
    spoilt([&] { return device::release_pinned(p), status{}; });
    device::release_pinned(p);
    CHECK(device::begin_recording({}).code == errc::device);
  }
  CHECK(b.download() == numbers(0, 32));
  REQUIRE(r.run(on));  // what was taken before
  REQUIRE(device::wait(on));
  finish();
  CHECK(b.download() == numbers(2, 32));
}
