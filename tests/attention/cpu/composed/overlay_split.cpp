// SPDX-License-Identifier: Apache-2.0
#include "matrix.hpp"

using namespace composed;

TEST_CASE("every codec resumes bit for bit under an overlay of a head split with a compensation token") {
  const kv::head_classes classes(shape, first_whole);
  each_codec([&]<class Pair>(const char* name) {
    if constexpr (!std::is_same_v<Pair, kv::raw_bf16>) {
      using base = kv::head_split<Pair, kv::raw_bf16, kv::remainder::mean_token>;
      check(kv::overlay<base>(base(shape, classes, kv::retain::sinks_window{64, 100}), {.share = 0.3f}, tokens), name);
    }
  });
}

TEST_CASE("eviction on the heads that keep everything resumes bit for bit beside streaming heads") {
  const kv::head_classes classes(shape, first_whole);
  using base = kv::head_split<kv::raw_bf16>;
  check(kv::overlay<base, kv::rest::drop>(base(shape, classes, kv::retain::sinks_window{64, 100}), {.share = 0.3f}, tokens), "eviction and streaming");
}
