// SPDX-License-Identifier: Apache-2.0
// Prompts that are read whole and then cut down: what is held, what is summed, what is refused.
#include "quire/kv/dropped.hpp"

#include <cstring>

#include "attention/fixture.hpp"
#include "catch.hpp"
#include "quire/kv/image.hpp"
#include "quire/kv/layout/overlay.hpp"
#include "tier/guarded_memory.hpp"

using namespace fixture;

namespace {

constexpr extents shape{2, 2, 64};
constexpr attention::problem heads{.q_heads = 4, .kv_heads = 2};
constexpr std::uint8_t one_of_each[] = {1, 0, 0, 1};
using razor = kv::head_split<kv::raw_bf16, kv::raw_bf16, kv::remainder::mean_token>;

template <kv::Layout L>
std::vector<std::byte> image_of(const kv::store<L>& store, std::uint32_t s) {
  std::vector<std::byte> image(kv::image_bytes(store, s));
  REQUIRE(kv::export_sequence(store, s, image));
  image.erase(image.begin(), image.begin() + sizeof(kv::image_header));
  return image;
}

}  // namespace

TEST_CASE("a prompt that ends early leaves what one of that length would have") {
  const kv::head_classes classes(shape, one_of_each);
  const razor layout(shape, classes, kv::retain::scaled_window{64, 100, 4});
  for (const std::uint32_t length : {384u, 390u, 447u}) {
    INFO("prompt of " << length);
    const rows data(length, heads, 3);
    kv::store<razor> known(layout, kv::pages_for(layout, 1, 512, 512)), asked(layout, kv::pages_for(layout, 1, 512, 512));
    std::uint32_t a = 0, b = 0;
    REQUIRE(known.open(a));
    REQUIRE(asked.open(b));
    REQUIRE(known.read_whole_until(a, length));       // said before
    REQUIRE(asked.read_whole_until(b, 512));          // said when it is over
    run(known, a, heads, data, 60, 2);
    run(asked, b, heads, data, 97, 1);
    CHECK(asked.bytes(b) == kv::sequence_bytes(kv::paged<kv::raw_bf16>(shape), length) + layout.state().bytes());
    REQUIRE(asked.read_whole_until(b, length));
    CHECK(asked.whole_until(b) == 384);
    CHECK(asked.bytes(b) == kv::sequence_bytes(layout, length));
    REQUIRE(asked.check());
    if (length == 384) CHECK(image_of(known, a) == image_of(asked, b));  // sums in the state block, pages and tail
    else CHECK(image_of(asked, b).size() == image_of(known, a).size());
  }
}

TEST_CASE("reading whole is refused where it can't be") {
  const kv::head_classes classes(shape, one_of_each);
  const kv::head_split<kv::raw_bf16> split(shape, classes, kv::retain::sinks_window{10, 100});
  kv::store store(split, kv::pages_for(split, 2, 640, 640));
  std::uint32_t s = 0;
  CHECK(store.read_whole_until(9, 10).code == errc::unknown_sequence);
  REQUIRE(store.open(s));
  REQUIRE(store.read_whole_until(s, 300));
  run(store, s, heads, rows(320, heads, 4), 64, 1);
  const std::size_t bytes = store.bytes(s);
  const status less = store.read_whole_until(s, 200), late = store.read_whole_until(s, 400);
  CHECK(less.code == errc::out_of_range);
  CHECK(less.value == 200);
  CHECK(late.code == errc::not_rewindable);
  CHECK(store.bytes(s) == bytes);
  CHECK(store.whole_until(s) == 300);
  CHECK(store.truncate(s, 290).code == errc::not_rewindable);   // its queries saw what is gone
  std::uint32_t copy = 0;
  REQUIRE(store.fork(s, copy));
  CHECK(store.whole_until(copy) == 300);
  store.close(s);
  std::uint32_t fresh = 0;
  REQUIRE(store.open(fresh));
  CHECK(store.whole_until(fresh) == 0);

  using base = kv::paged<int4_token>;
  const kv::overlay<base> overlay(base(shape), {.share = 0.3f}, 256);
  kv::store exact(overlay, kv::pages_for(overlay, 1, 256, 64));
  REQUIRE(exact.open(s));
  CHECK(exact.read_whole_until(s, 100).code == errc::unsupported_shape);
}

TEST_CASE("the end of a prompt in a device's memory: all is held until a step there has summed it, and summed by whoever imports it") {
  const kv::head_classes classes(shape, one_of_each);
  const razor layout(shape, classes, kv::retain::scaled_window{64, 100, 4});
  tier_test::guarded_memory closed;   // the host can't sum what stands there
  auto options = kv::pages_for(layout, 2, 512, 512), far = options;
  far.memory = &closed;
  kv::store<razor> here(layout, options), there(layout, far), home(layout, options);
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  REQUIRE(here.open(a));
  REQUIRE(here.read_whole_until(a, 512));
  run(here, a, heads, rows(384, heads, 3), 97, 1);
  std::vector<std::byte> image(kv::image_bytes(here, a));
  REQUIRE(kv::export_sequence(here, a, image));
  REQUIRE(kv::import_sequence(there, image, b));
  REQUIRE(here.read_whole_until(a, 384));
  const std::size_t whole = there.bytes(b);
  REQUIRE(there.read_whole_until(b, 384));
  CHECK(there.whole_until(b) == 384);
  CHECK(there.bytes(b) == whole);
  REQUIRE(there.fork(b, c));
  for (const std::uint32_t s : {b, c}) {
    image.resize(kv::image_bytes(there, s));
    REQUIRE(kv::export_sequence(there, s, image));
    REQUIRE(kv::import_sequence(home, image, d));
    CHECK(image_of(home, d) == image_of(here, a));
  }
  REQUIRE(there.read_whole_until(c, 400));   // nothing is gone yet
  REQUIRE(there.reserve(b, 1));
  REQUIRE(there.commit(b, 1));               // the step that sums
  CHECK(there.bytes(b) < whole);
  CHECK(there.bytes(c) == whole);
  CHECK(there.read_whole_until(b, 400).code == errc::not_rewindable);
  CHECK((here.check() && there.check() && home.check()));
}
