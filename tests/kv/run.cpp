// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/run.hpp"
#include "quire/kv/state.hpp"

#include <cstring>
#include <type_traits>

#include "catch.hpp"

using namespace quire;

static_assert(std::is_trivially_copyable_v<kv::run> && std::is_trivially_copyable_v<kv::head_view>);
static_assert(std::is_trivially_copyable_v<kv::visibility> && std::is_trivially_copyable_v<kv::state_block>);

TEST_CASE("visibility agrees with the definition token by token") {
  for (std::uint32_t sinks : {0u, 1u, 4u, 64u, 70u, 128u})
    for (std::uint32_t window : {1u, 2u, 63u, 64u, 65u, 130u, 1000u, kv::visibility::everything}) {
      const kv::visibility v{sinks, window};
      for (std::uint32_t query = 0; query < 400; ++query) {
        std::uint32_t begin = query;
        for (std::uint32_t key = 0; key < 450; ++key) {
          const bool newest = key <= query && query - key < window;
          const bool want = newest || (key <= query && key < sinks);
          if (newest && key < begin) begin = key;
          if (v.sees(query, key) != want) FAIL("sinks " << sinks << " window " << window << " query " << query << " key " << key);
        }
        if (v.window_begin(query) != begin) FAIL("window_begin(" << query << ") with sinks " << sinks << " window " << window);
      }
    }
}

TEST_CASE("a dropped tile is one that no later query sees") {
  for (std::uint32_t sinks : {0u, 1u, 64u, 70u, 128u})
    for (std::uint32_t window : {1u, 2u, 64u, 65u, 130u, kv::visibility::everything}) {
      const kv::visibility v{sinks, window};
      for (std::uint32_t query = 0; query < 500; ++query)
        for (std::uint32_t tile = 0; (tile + 1) * 64 <= query; ++tile) {
          bool seen = false;
          for (std::uint32_t later = query; later < query + 200 && !seen; ++later)
            for (std::uint32_t j = 0; j < 64; ++j) seen = seen || v.sees(later, tile * 64 + j);
          if (v.drops(query, tile) == seen) FAIL("sinks " << sinks << " window " << window << " query " << query << " tile " << tile);
        }
    }
}

TEST_CASE("a run finds its tiles positions and live tokens") {
  std::byte memory[4096];
  const std::uint32_t pages[] = {7, 0, 3};
  const std::int32_t positions[] = {5, 9, 100};
  const std::uint64_t live[] = {0xf0f0f0f0f0f0f0f0u, ~std::uint64_t{0}, 0xffu};
  kv::run r{.base = memory, .pages = pages, .page_stride = 256, .tokens = 130, .position = 640};
  CHECK(r.tiles() == 3);
  CHECK(r.tile(0) == memory + 7 * 256);
  CHECK(r.tile(2) == memory + 3 * 256);
  CHECK(r.position_of(129) == 769);
  CHECK(r.live_bits(0) == ~std::uint64_t{0});
  CHECK(r.live_bits(2) == 3u);
  r.live = live;
  CHECK(r.live_bits(0) == 0xf0f0f0f0f0f0f0f0u);
  CHECK(r.live_bits(2) == 3u);  // tokens past the end are cleared even when the mask holds them
  r.pages = nullptr;
  CHECK(r.tile(2) == memory + 2 * 256);
  r.tokens = 3, r.positions = positions;
  CHECK(r.position_of(2) == 100);
  CHECK(r.tiles() == 1);
  CHECK(r.scattered());
  alignas(8) std::byte tiles[2 * 512] = {};   // positions behind each tile's bytes
  const std::int32_t stood[] = {17, 4000};
  std::memcpy(tiles + 256, stood, sizeof stood), std::memcpy(tiles + 512 + 256 + 4 * 63, stood + 1, 4);
  const kv::run behind{.base = tiles, .page_stride = 512, .tokens = 128, .position_offset = 256};
  CHECK(behind.position_of(0) == 17);
  CHECK(behind.position_of(127) == 4000);
  CHECK(behind.scattered());
  r.tokens = 0;
  CHECK(r.tiles() == 0);
}

TEST_CASE("slots of a head count the gaps between runs") {
  kv::head_view v;
  CHECK(v.slots() == 0);
  v.runs[0] = {.tokens = 64};
  v.runs[1] = {.tokens = 65, .slot = 9};
  v.count = 2;
  CHECK(v.slots() == 11);
}
