// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/image.hpp"

#include <cstring>

#include "catch.hpp"
#include "kv/scribe.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"

using namespace quire;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::row>>;
constexpr extents e{2, 2, 8};

template <kv::Layout L>
std::vector<std::byte> image_of(const kv::store<L>& store, std::uint32_t s) {
  std::vector<std::byte> image(kv::image_bytes(store, s));
  REQUIRE(kv::export_sequence(store, s, image));
  return image;
}

/// Out and back into another store, at many lengths; the second image equals the first and the contents are what was written.
template <kv::Layout L>
void round_trip(const L& layout, bool readable) {
  kv_test::scribe<L> book(layout, 2, 1000);
  for (std::uint32_t n : {0u, 1u, 63u, 64u, 65u, 300u, 320u, 700u}) {
    book.open();
    for (std::uint32_t at = 0; at < n; at += 100) REQUIRE(book.append(0, std::min(100u, n - at)));
    const auto image = image_of(book.store, 0);
    kv_test::scribe<L> other(layout, 2, 1000);
    other.open();
    REQUIRE(other.append(0, 70));
    std::uint32_t s = 0;
    REQUIRE(kv::import_sequence(other.store, image, s));
    REQUIRE(s == 1);
    CHECK(other.store.length(s) == n);
    CHECK(other.store.bytes(s) == (n == 0 ? 0 : kv::sequence_bytes(layout, n)));
    CHECK(image_of(other.store, s) == image);
    REQUIRE(other.store.check());
    other.written[s] = book.written[0];
    if (readable) other.verify(s);
    REQUIRE(other.append(s, 90));  // and it goes on
    if (readable) other.verify(s);
    book.close(0);
  }
}

}  // namespace

TEST_CASE("a sequence goes out and comes back whole from every layout") {
  const kv::head_classes classes(e, std::vector<std::uint8_t>{1, 0, 0, 1});
  using mean = kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>;
  round_trip(kv::paged<kv::raw_bf16>(e), true);
  round_trip(kv::paged<int4>(e), true);
  round_trip(kv::head_split<int4>(e, classes, kv::retain::sinks_window{64, 100}), true);
  round_trip(mean(e, classes, kv::retain::scaled_window{64, 100, 3}), true);
  round_trip(kv::overlay<mean>(mean(e, classes, kv::retain::sinks_window{64, 100}), {.share = 0.3f}, 1000), false);
  round_trip(kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>(kv::paged<kv::raw_bf16>(e), {.share = 0.3f}, 1000), false);
}

TEST_CASE("damage anywhere is found and changes nothing") {
  kv_test::scribe book(kv::paged<int4>({1, 1, 8}), 3, 200);
  book.open();
  REQUIRE(book.append(0, 70));
  const auto image = image_of(book.store, 0);
  std::uint32_t s = 77;
  for (std::size_t n = 0; n < image.size(); ++n) REQUIRE_FALSE(kv::import_sequence(book.store, std::span(image).first(n), s));
  for (std::size_t i = 0; i < image.size(); ++i) {
    auto bad = image;
    bad[i] ^= std::byte{0x10};
    const status r = kv::import_sequence(book.store, bad, s);
    if (r) FAIL("byte " << i << " of " << image.size());
  }
  CHECK(s == 77);
  CHECK(book.store.free_pages(book.store.tails) == 2);
  CHECK(book.store.check());
  auto longer = image;
  longer.push_back(std::byte{0});
  CHECK(kv::import_sequence(book.store, longer, s).code == errc::corrupt);
}

TEST_CASE("an image is refused by another layout and by a store without room, by name") {
  kv_test::scribe book(kv::paged<int4>(e), 1, 700);
  book.open();
  REQUIRE(book.append(0, 500));
  const auto image = image_of(book.store, 0);
  std::uint32_t s = 0;
  const auto code = [&](auto&& layout, std::uint32_t tokens, std::uint32_t pages) {
    using L = std::remove_cvref_t<decltype(layout)>;
    kv::store_options<L> o = kv::pages_for(layout, 1, tokens);
    o.pages[0] = std::min(o.pages[0], pages);
    kv::store<L> store(layout, o);
    const errc c = kv::import_sequence(store, image, s).code;
    CHECK(store.check());
    CHECK(store.free_pages(0) == o.pages[0] - (c == errc::ok ? 7 : 0));
    return c;
  };
  CHECK(code(kv::paged<int4>(e), 700, 99) == errc::ok);
  CHECK(code(kv::paged<int4>({2, 2, 16}), 700, 99) == errc::unsupported_shape);
  CHECK(code(kv::paged<kv::raw_bf16>(e), 700, 99) == errc::unsupported_shape);
  CHECK(code(kv::paged<int4>(e), 499, 99) == errc::out_of_range);
  CHECK(code(kv::paged<int4>(e), 700, 6) == errc::out_of_pages);
  auto old = image;
  old[8] = std::byte{9};
  kv::store store(kv::paged<int4>(e), kv::pages_for(kv::paged<int4>(e), 1, 700));
  CHECK(kv::import_sequence(store, old, s).code == errc::version_mismatch);
  CHECK(kv::export_sequence(book.store, 5, {}).code == errc::unknown_sequence);
  CHECK(kv::export_sequence(book.store, 0, {}).code == errc::out_of_range);
}
