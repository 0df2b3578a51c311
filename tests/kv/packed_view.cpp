// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/packed_view.hpp"

#include "catch.hpp"
#include "kv/scribe.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"

using namespace quire;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::row>>;
constexpr extents e{2, 2, 8};

/// Packs sequences, moves the bytes elsewhere, and finds the same tiles through what is there.
template <kv::Layout L>
void check_packed(const L& layout) {
  kv_test::scribe<L> book(layout, 4, 1000);
  for (std::uint32_t n : {0u, 700u, 65u, 320u}) {
    REQUIRE(book.open());
    const std::uint32_t s = n == 0 ? 0 : n == 700 ? 1 : n == 65 ? 2 : 3;
    for (std::uint32_t at = 0; at < n; at += 100) REQUIRE(book.append(s, std::min(100u, n - at)));
    REQUIRE(book.store.reserve(s, 70));
  }
  const std::vector<kv::packed_sequence> which{{3, 390}, {0, 1}, {1, 770}};
  const auto view = book.store.view();
  std::vector<std::byte> memory(3 * kv::packed_view_bytes(layout, 1, 770)), there(memory.size());
  kv::store_view<L> packed;
  REQUIRE(kv::pack_view(view, std::span<const kv::packed_sequence>(which), memory, there.data(), packed));
  std::copy(memory.begin(), memory.end(), there.begin());
  std::fill(memory.begin(), memory.end(), std::byte{0xff});
  for (std::uint32_t i = 0; i < which.size(); ++i) {
    const auto& r = packed.sequences[i];
    const std::uint32_t s = which[i].sequence;
    CHECK(r.length == book.store.length(s));
    CHECK(r.tail == view.sequences[s].tail);
    CHECK(r.state == (layout.state().bytes() != 0 ? view.sequences[s].state : nullptr));
    for (std::uint32_t layer = 0; layer < e.layers; ++layer)
      for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
        for (std::uint32_t t = 0; t < tiles_filled(which[i].tokens); ++t)
          if (view.sequences[s].pages[layout.slot(layer, head).group][t] != kv::page_pool::none) CHECK(packed.sealed(i, layer, head, t) == view.sealed(s, layer, head, t));
        const kv::head_view a = packed.head(i, layer, head, r.length / 64, r.tail, r.length % 64), b = view.head(s, layer, head, r.length / 64, r.tail, r.length % 64);
        REQUIRE(a.count == b.count);
        for (std::uint32_t k = 0; k < a.count; ++k) {
          CHECK(a.runs[k].tokens == b.runs[k].tokens);
          for (std::uint32_t t = 0; t < a.runs[k].tiles(); ++t) CHECK(a.runs[k].tile(t) == b.runs[k].tile(t));
        }
      }
  }
}

}  // namespace

TEST_CASE("a packed view of some sequences finds their tiles where the store's does") {
  const kv::head_classes classes(e, std::vector<std::uint8_t>{1, 0, 0, 1});
  check_packed(kv::paged<int4>(e));
  check_packed(kv::paged<kv::raw_bf16>(e));
  check_packed(kv::head_split<int4>(e, classes, kv::retain::sinks_window{64, 100}));
  check_packed(kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>(e, classes, kv::retain::sinks_window{64, 100}));
  using balanced = kv::codec_pair<kv::balanced<kv::integer<4, kv::group::row>>, kv::integer<4, kv::group::row>>;
  check_packed(kv::overlay<kv::paged<balanced>>(kv::paged<balanced>(e), {.share = 0.3f}, 1000));
}

TEST_CASE("a packed view is as long as it says, and refuses less room by name") {
  const kv::paged<int4> layout(e);
  kv_test::scribe<kv::paged<int4>> book(layout, 2, 500);
  REQUIRE(book.open());
  REQUIRE(book.store.reserve(0, 300));
  const kv::packed_sequence which[]{{0, 300}};
  const std::size_t need = kv::packed_view_bytes(layout, 1, 300);
  std::vector<std::byte> memory(need + 1, std::byte{0x77});
  kv::store_view<kv::paged<int4>> packed;
  REQUIRE(kv::pack_view(book.store.view(), std::span<const kv::packed_sequence>(which), std::span(memory).first(need), memory.data(), packed));
  CHECK(memory[need] == std::byte{0x77});
  CHECK(memory[need - 1] != std::byte{0x77});
  const status s = kv::pack_view(book.store.view(), std::span<const kv::packed_sequence>(which), std::span(memory).first(need - 1), memory.data(), packed);
  CHECK(s.code == errc::out_of_range);
  CHECK(s.low == static_cast<std::int64_t>(need));
}
