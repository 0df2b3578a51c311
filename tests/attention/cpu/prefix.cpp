// SPDX-License-Identifier: Apache-2.0
// Sequences that begin with kept tiles: what attention computes from them is what it computes without.
#include "quire/kv/prefix_cache.hpp"

#include <cstring>

#include "attention/fixture.hpp"
#include "catch.hpp"

using namespace fixture;

template <class Pair>
void check_hits() {
  const attention::problem p{.q_heads = 6, .kv_heads = 2};
  const kv::paged<Pair> layout({1, 2, 64});
  const std::uint32_t length = 900;
  const rows data(length, p, 5);
  std::vector<std::int32_t> tokens(length);
  for (std::uint32_t t = 0; t < length; ++t) tokens[t] = static_cast<std::int32_t>(t * 7 % 100);
  const auto part = [&](std::uint32_t n) {
    rows first = data;
    first.tokens = n;
    return first;
  };
  std::uint32_t s = 0;
  kv::store<kv::paged<Pair>> alone(layout, kv::pages_for(layout, 1, length));
  REQUIRE(alone.open(s));
  const auto computed = run(alone, s, p, data, 512, 1);
  for (const std::uint32_t kept : {64u, 250u, 512u, 899u})
    for (const std::uint32_t chunk : {1u, 100u, 512u}) {
      kv::store<kv::paged<Pair>> store(layout, kv::pages_for(layout, 2, length));
      kv::prefix_cache cache(store, 32);
      std::uint32_t a = 0, b = 0;
      REQUIRE(cache.open(1, tokens, a));
      run(store, a, p, part(kept), 77, 2);
      REQUIRE(cache.insert(a, tokens));
      REQUIRE(cache.open(1, tokens, b));
      const std::uint32_t hit = kept / 64 * 64;
      REQUIRE(store.length(b) == hit);
      const auto out = run(store, b, p, data, chunk, 2);
      CAPTURE(kept, chunk);
      CHECK(std::memcmp(out.data() + hit * data.q_width, computed.data() + hit * data.q_width, (length - hit) * data.q_width * sizeof(float)) == 0);
      bool same = true;
      for (std::uint32_t head = 0; head < 2; ++head)
        for (std::uint32_t t = 0; t < length / 64; ++t)
          same = same && std::memcmp(store.view().sealed(b, 0, head, t), alone.view().sealed(s, 0, head, t), layout.sealed().piece_bytes(64)) == 0;
      CHECK(same);
    }
}

TEST_CASE("results after a prefix hit are bit-identical to results without") {
  check_hits<kv::raw_bf16>();
  check_hits<int8_token>();
  check_hits<int4_hadamard>();
}
