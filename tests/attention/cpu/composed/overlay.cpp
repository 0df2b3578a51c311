// SPDX-License-Identifier: Apache-2.0
#include "matrix.hpp"

using namespace composed;

TEST_CASE("every codec resumes bit for bit under an overlay of exact tokens") {
  each_codec([]<class Pair>(const char* name) {
    if constexpr (!std::is_same_v<Pair, kv::raw_bf16>) {
      using base = kv::paged<Pair>;
      check(kv::overlay<base>(base(shape), {.share = 0.3f}, tokens), name);
    }
  });
}

TEST_CASE("evicting layouts resume bit for bit") {
  using base = kv::paged<kv::raw_bf16>;
  check(kv::overlay<base, kv::rest::drop>(base(shape), {.share = 0.3f}, tokens), "a share");
  check(kv::overlay<base, kv::rest::drop>(base(shape), {.share = 0, .least = 100, .most = 100}, tokens), "a fixed budget");
}
