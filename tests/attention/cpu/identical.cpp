// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "attention/fixture.hpp"
#include "catch.hpp"

using namespace fixture;

template <class Pair>
void check_identical() {
  const attention::problem p{.q_heads = 6, .kv_heads = 2};
  with_layouts<Pair, kv::raw_bf16>({1, 2, 64}, [&](const auto& layout, const char* name) {
    using L = std::remove_cvref_t<decltype(layout)>;
    const std::uint32_t tokens = 1500;
    const rows data(tokens, p, 5);
    std::vector<float> first;
    for (const auto& [chunk, workers] : {std::pair{512u, 1u}, {512u, 2u}, {512u, 3u}, {512u, 4u}, {1u, 2u}, {7u, 1u}, {64u, 3u}, {1500u, 4u}, {333u, 7u}}) {
      kv::store<L> store(layout, kv::pages_for(layout, 1, tokens, chunk));
      std::uint32_t s = 0;
      REQUIRE(store.open(s));
      const auto out = run(store, s, p, data, chunk, workers);
      REQUIRE(store.check());
      REQUIRE(store.bytes(s) == kv::sequence_bytes(layout, tokens));
      if (first.empty()) first = out;
      INFO(name << " chunk " << chunk << " workers " << workers);
      CHECK(std::memcmp(first.data(), out.data(), out.size() * sizeof(float)) == 0);
    }
  });
}

TEST_CASE("results are bit-identical for any chunk and any number of workers") {
  check_identical<kv::raw_bf16>();
  check_identical<int8_token>();
  check_identical<int4_channel>();
  check_identical<int4_hadamard>();
  check_identical<kv::raw_f16>();
}

