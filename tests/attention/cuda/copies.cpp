// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/copies.cuh"

#include <numeric>
#include <vector>

#include "catch.hpp"
#include "device/memory.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

namespace {

constexpr std::uint32_t turns = 3, count = 5, row_bytes = 48, stride = 80, tail_bytes = 32, place_bytes = count * stride + tail_bytes, tile_bytes = count * row_bytes + tail_bytes;

/// Tiles [tiles][tile_bytes] through a ring, `item` of them at a time; before each item threads use the ring themselves. Every third turn has no tile.
template <class Copies>
__global__ void __launch_bounds__(cuda::block_threads) pass_on(const std::byte* tiles, std::uint32_t tile_count, std::uint32_t item, std::byte* out) {
  struct memory {
    alignas(128) std::byte ring[turns * place_bytes];
    [[no_unique_address]] typename Copies::shared done;
  };
  auto& m = *reinterpret_cast<memory*>(device::shared_memory());
  Copies copies(m.done, threadIdx.x);
  copies.prepare();
  for (std::uint32_t begin = 0; begin < tile_count; begin += item) {
    for (std::uint32_t i = threadIdx.x; i < sizeof m.ring; i += cuda::block_threads) m.ring[i] = std::byte{1};
    copies.release();
    __syncthreads();
    const std::uint32_t end = begin + item < tile_count ? begin + item : tile_count;
    const auto ask = [&](std::uint32_t tile) {
      if (tile < end) {
        const bool empty = tile % 3 == 2;
        const auto order = copies.open((tile - begin) % turns, empty ? 0 : tile_bytes);
        std::byte* to = m.ring + tile % turns * place_bytes;
        if (!empty) order.template rows<count, row_bytes, stride>(to, tiles + tile * tile_bytes), order.template rows<1, tail_bytes>(to + count * stride, tiles + tile * tile_bytes + count * row_bytes);
      }
      copies.close();
    };
    for (std::uint32_t ahead = 0; ahead + 1 < turns; ++ahead) ask(begin + ahead);
    for (std::uint32_t tile = begin; tile < end; ++tile) {
      copies.wait((tile - begin) % turns);
      copies.release();
      __syncthreads();
      ask(tile + turns - 1);
      const std::byte* from = m.ring + tile % turns * place_bytes;
      for (std::uint32_t i = threadIdx.x; i < tile_bytes && tile % 3 != 2; i += cuda::block_threads)
        out[tile * tile_bytes + i] = from[i < count * row_bytes ? i / row_bytes * stride + i % row_bytes : i - count * row_bytes + count * stride];
    }
    __syncthreads();
  }
}

template <class Copies>
void check() {
  constexpr std::uint32_t tiles = 20;
  std::vector<std::byte> bytes(tiles * tile_bytes), want(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
    if (i / tile_bytes % 3 != 2) want[i] = bytes[i];
  }
  const device_array<std::byte> in(bytes, "tiles");
  for (const std::uint64_t seed : {0u, 1u, 2u, 3u, 4u, 5u})
    for (const std::uint32_t item : {1u, 4u, 20u}) {
      device_test::order(seed);
      const device_array<std::byte> out(std::vector<std::byte>(bytes.size()), "out");
      const status launched = device::launch(&pass_on<Copies>, {.threads = cuda::block_threads, .shared_bytes = turns * (place_bytes + Copies::turn_bytes) + 128}, {}, in.data(), tiles, item, out.data());
      device_test::finish();
      REQUIRE(launched);
      CHECK(out.download() == want);
    }
}

}  // namespace

TEST_CASE("cuda copies: rows come to their places, turn by turn, whoever brings them") {
  if (!device_test::device_or_skip()) return;
  check<cuda::async_copies<turns>>();
  if constexpr (device::architectures[0] >= 900) check<cuda::bulk_copies<turns>>();
}

TEST_CASE("cuda copies: only those that count bytes take shared memory") {
  static_assert(std::is_empty_v<cuda::async_copies<4>::shared> && cuda::async_copies<4>::turn_bytes == 0);
  static_assert(sizeof(cuda::bulk_copies<4>::shared) == 4 * cuda::bulk_copies<4>::turn_bytes);
  static_assert(std::is_same_v<cuda::copies_of<cuda::copying::async, 2>, cuda::async_copies<2>> && std::is_same_v<cuda::copies_of<cuda::copying::bulk, 2>, cuda::bulk_copies<2>>);
  SUCCEED();
}
