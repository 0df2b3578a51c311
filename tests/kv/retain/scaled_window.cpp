// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/retain/scaled_window.hpp"

#include "catch.hpp"

using namespace quire;

TEST_CASE("a scaled window holds the larger of its least size and its share of all tokens") {
  const kv::visibility v = kv::retain::scaled_window{.sinks = 4, .least = 100, .share = 5}.sees();
  REQUIRE(v.limited());
  std::uint32_t before = 0;
  for (std::uint32_t q = 0; q < 5000; ++q) {
    const std::uint32_t n = q + 1, held = std::max(100u, n / 5), begin = v.window_begin(q);
    if (begin != (n > held ? n - held : 0) || begin < before) FAIL("query " << q << " begins at " << begin);
    before = begin;
    if (q % 97 == 0)
      for (std::uint32_t k = 0; k < n; ++k)
        if (v.sees(q, k) != (k < 4 || n - k <= held)) FAIL("query " << q << " key " << k);
  }
}

TEST_CASE("by tile all queries of a tile see the same whole tiles") {
  kv::visibility v = kv::retain::scaled_window{.sinks = 64, .least = 128, .share = 4}.sees();
  v.by_tile = true;
  for (std::uint32_t q = 0; q < 3000; ++q) {
    const std::uint32_t first = q / 64 * 64, held = std::max(128u, (first + 1) / 4);
    const std::uint32_t begin = first + 1 > held ? (first + 1 - held) / 64 * 64 : 0;
    if (v.window_begin(q) != begin) FAIL("query " << q << " begins at " << v.window_begin(q) << " instead of " << begin);
    if (v.dropped_tiles(q / 64) != (begin > 64 ? begin / 64 - 1 : 0)) FAIL("query " << q);
  }
}

TEST_CASE("the first query of a window is the least that begins there") {
  for (const kv::visibility v : {kv::visibility{0, 100}, kv::visibility{64, 128, 5}, kv::visibility{64, 128, 3, true}})
    for (std::uint32_t position : {1u, 63u, 64u, 500u, 4096u}) {
      const std::uint32_t q = v.first_query_from(position);
      CHECK(v.window_begin(q) >= position);
      CHECK(v.window_begin(q - 1) < position);
    }
}
