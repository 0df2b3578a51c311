// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/store_options.hpp"

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"
#include "quire/kv/store.hpp"

using namespace quire;

namespace {

/// Pages for n sequences are enough to grow n sequences in steps of `chunk`, and a step less than one tile too few.
template <kv::Layout L>
void enough(const L& layout, std::uint32_t tokens, std::uint32_t chunk) {
  kv::store store(layout, kv::pages_for(layout, 3, tokens, chunk));
  std::uint32_t s[3];
  for (auto& x : s) REQUIRE(store.open(x));
  for (std::uint32_t at = 0; at < tokens; at += chunk)
    for (std::uint32_t x : s) {
      const std::uint32_t n = std::min(chunk, tokens - at);
      const status r = store.reserve(x, n);
      INFO("at " << at << " chunk " << chunk << ": " << describe(r));
      REQUIRE(r);
      REQUIRE(store.commit(x, n));
      REQUIRE(store.bytes(x) == kv::sequence_bytes(layout, at + n));
    }
  REQUIRE(store.check());
}

}  // namespace

TEST_CASE("pages_for lets every layout grow to its length") {
  const extents e{1, 2, 8};
  const std::uint8_t table[] = {1, 0};
  const kv::head_classes classes(e, table);
  using int4 = kv::codec_pair<kv::integer<4, kv::group::row>>;
  using mean = kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>;
  for (std::uint32_t chunk : {1u, 50u, 64u, 65u, 200u, 512u})
    for (std::uint32_t tokens : {64u, 700u, 2000u}) {
      if (chunk == 1 && tokens == 2000) continue;
      enough(kv::paged<int4>(e), tokens, chunk);
      enough(kv::head_split<int4>(e, classes, kv::retain::sinks_window{64, 100}), tokens, chunk);
      enough(kv::head_split<int4>(e, classes, kv::retain::scaled_window{4, 100, 3}), tokens, chunk);
      enough(mean(e, classes, kv::retain::scaled_window{4, 100, 3}), tokens, chunk);
      enough(mean(e, classes, kv::retain::sinks_window{0, 1}), tokens, chunk);
      enough(kv::overlay<mean>(mean(e, classes, kv::retain::sinks_window{64, 100}), {.share = 0.3f}, tokens), tokens, chunk);
      enough(kv::overlay<kv::paged<int4>, kv::rest::drop>(kv::paged<int4>(e), {.share = 0.3f}, tokens), tokens, chunk);
    }
}
