// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/layout/overlay.hpp"

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/store.hpp"

using namespace quire;

namespace {
using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;
using mixed = kv::overlay<kv::paged<int4>>;
using evicting = kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>;
using mixed_split = kv::overlay<kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>>;
constexpr extents e{2, 3, 64};
}  // namespace

static_assert(kv::Layout<mixed> && kv::Layout<evicting> && kv::Layout<mixed_split>);
static_assert(mixed::stepwise && !mixed::traits.rewindable && !mixed::traits.prefix_pure && mixed_split::compensates && !mixed::compensates);

TEST_CASE("an overlay costs its budget of exact rows, bookkeeping counted") {
  const mixed l(kv::paged<int4>(e), {.share = 0.25f, .least = 64}, 4096);
  CHECK(l.overlay_tiles(63) == 0);
  CHECK(l.overlay_tiles(64) == 1);
  CHECK(l.overlay_tiles(1024) == 4);
  CHECK(l.overlay_tiles(1087) == 4);
  CHECK(kv::overlay_page_bytes(l) == 6 * (2 * 64 * 64 * 2 + 64 * 8));
  CHECK(l.state().bytes() == 6 * (64 * 4 + 64 * 8));
  const double grown = static_cast<double>(kv::sequence_bytes(l, 1 << 22) - kv::sequence_bytes(l, 1 << 21)) / (1 << 21);
  CHECK(kv::bytes_per_token(l) == Approx(grown).epsilon(1e-4));
}

TEST_CASE("an eviction's sealed tiles go back at once and its overlay stays within budget") {
  const evicting l(kv::paged<kv::raw_bf16>(e), {.share = 0, .least = 128, .most = 128}, 2048);
  kv::store store(l, kv::pages_for(l, 2, 2048, 256));
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  for (std::uint32_t at = 0; at < 2048; at += 256) {
    REQUIRE(store.reserve(s, 256));
    REQUIRE(store.commit(s, 256));
    REQUIRE(store.check());
    CHECK(store.bytes(s) == kv::sequence_bytes(l, at + 256));
    CHECK(store.free_pages(0) == store.options().pages[0]);
  }
  CHECK(store.bytes(s) == kv::tail_bytes(l) + l.state().bytes() + 2 * kv::overlay_page_bytes(l));
}

TEST_CASE("forks own their overlay, truncation is refused but for truncating to nothing, and every page comes back") {
  const std::uint8_t table[] = {1, 0, 1, 0, 1, 0};
  const kv::head_classes classes(e, table);
  const mixed_split layout({e, classes, kv::retain::sinks_window{64, 128}}, {.share = 0.5f}, 1024);
  kv::store store(layout, kv::pages_for(layout, 2, 1024, 512));
  std::uint32_t a = 0, b = 0, c = 0;
  REQUIRE(store.open(a));
  REQUIRE(store.reserve(a, 700));
  REQUIRE(store.commit(a, 700));
  REQUIRE(store.fork(a, b));
  REQUIRE(store.check());
  const auto v = store.view();
  CHECK(v.sealed(a, 0, 0, 1) == v.sealed(b, 0, 0, 1));
  CHECK(v.overlay(a, 0, 0, 1).piece != v.overlay(b, 0, 0, 1).piece);
  CHECK(v.state(a, 0, 0).live != v.state(b, 0, 0).live);
  CHECK(v.state(a, 0, 1).key_sum != nullptr);
  CHECK(v.state(a, 0, 1).live == nullptr);
  CHECK(store.fork(a, c).code == errc::out_of_pages);
  CHECK(store.truncate(a, 690).code == errc::not_rewindable);
  CHECK(store.length(a) == 700);
  REQUIRE(store.truncate(a, 0));
  REQUIRE(store.check());
  store.close(a);
  store.close(b);
  for (std::uint32_t p = 0; p < store.pools; ++p) CHECK(store.free_pages(p) == (p == 0 || p == 1 ? store.options().pages[p] : p == 2 ? 2 : store.options().overlay_pages));
}
