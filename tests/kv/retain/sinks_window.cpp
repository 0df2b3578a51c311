// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/retain/sinks_window.hpp"

#include "catch.hpp"

using namespace quire;

static_assert(kv::retain::Retention<kv::retain::sinks_window>);

TEST_CASE("sinks and a window see exactly that many tokens") {
  for (std::uint32_t sinks : {0u, 3u, 64u, 100u})
    for (std::uint32_t window : {1u, 7u, 64u, 200u}) {
      const kv::visibility v = kv::retain::sinks_window{sinks, window}.sees();
      CHECK(v.limited());
      for (std::uint32_t query = 0; query < 500; ++query) {
        std::uint32_t seen = 0;
        for (std::uint32_t key = 0; key < 520; ++key) seen += v.sees(query, key);
        if (seen != std::min(query + 1, sinks + window)) FAIL("query " << query << " sees " << seen << " of sinks " << sinks << " window " << window);
      }
    }
}

TEST_CASE("a window of nothing still holds the query's own token") {
  const kv::visibility v = kv::retain::sinks_window{0, 0}.sees();
  CHECK(v.sees(10, 10));
  CHECK_FALSE(v.sees(10, 9));
}
