// SPDX-License-Identifier: Apache-2.0
// Every legal pair of a codec and a layout, by name: each unit of this folder takes one family of layouts through all codecs.
#pragma once

#include <cstring>

#include "attention/fixture.hpp"
#include "catch.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/fp8.hpp"
#include "quire/kv/codec/gear.hpp"
#include "quire/kv/image.hpp"
#include "quire/kv/layout/overlay.hpp"

namespace composed {

using namespace fixture;

inline constexpr extents shape{1, 2, 64};
inline constexpr std::uint32_t tokens = 420;
inline const attention::problem heads{.q_heads = 6, .kv_heads = 2};

/// What resuming has to survive, at one place of a sequence.
enum class detour { none, swap, fork, rewind };

/// Appends [from, to) of `data` in steps of `chunk`.
template <kv::Layout L>
void advance(kv::store<L>& store, std::uint32_t s, const rows& data, std::uint32_t to, std::uint32_t chunk, std::vector<float>& out) {
  thread_executor pool(2);
  attention::cpu::workspace<L> work(store.layout(), heads, 2, chunk, 1, tokens);
  for (std::uint32_t at = store.length(s); at < to;) {
    const std::uint32_t n = std::min(chunk, to - at);
    REQUIRE(store.reserve(s, n));
    const attention::query_span span{s, at, n, 0, store.whole_until(s)};
    attention::cpu::layer_call<L> c{store.view(), heads, 0, {&span, 1}};
    c.q = data.q.data() + at * data.q_width, c.k = data.k.data() + at * data.kv_width, c.v = data.v.data() + at * data.kv_width;
    c.ldq = c.ldo = data.q_width, c.ldkv = data.kv_width, c.out = out.data() + at * data.q_width;
    pool.run([&](const team& t) { attention::cpu::attend(t, c, work); });
    REQUIRE(store.commit(s, n));
    at += n;
  }
}

/// A sequence taken straight through, and ones that are swapped out, forked or rewound on the way: the same bits at the end,
/// bytes as the formula says after every part, every page back when it is over. The first `whole` tokens are read whole.
template <kv::Layout L>
void check(const L& layout, const char* name, std::uint32_t whole = 0) {
  INFO(name << ", the first " << whole << " tokens read whole");
  const rows data(tokens, heads, 77);
  std::vector<float> straight(data.q.size()), out(data.q.size());
  kv::store<L> store(layout, kv::pages_for(layout, 2, tokens, 128 + whole)), other(layout, kv::pages_for(layout, 1, tokens, 128 + whole));
  std::uint32_t s = 0;
  const auto begin = [&] {
    REQUIRE(store.open(s));
    if (whole != 0) REQUIRE(store.read_whole_until(s, whole));
  };
  begin();
  advance(store, s, data, tokens, 100, straight);
  store.close(s);
  for (float x : straight) REQUIRE(std::isfinite(x));
  for (const auto& [what, at] : {std::pair{detour::none, 137u}, {detour::swap, 137u}, {detour::swap, 256u}, {detour::fork, 1u}, {detour::fork, 391u},
                                 {detour::rewind, 137u}, {detour::rewind, 256u}}) {
    INFO("detour " << static_cast<int>(what) << " at " << at);
    std::fill(out.begin(), out.end(), -1.0f);
    begin();
    advance(store, s, data, at, 64, out);
    if (at >= whole) CHECK(store.bytes(s) == kv::sequence_bytes(layout, at));
    if (what == detour::swap) {  // out, gone, back in another store, and home
      std::vector<std::byte> image(kv::image_bytes(store, s)), again;
      REQUIRE(kv::export_sequence(store, s, image));
      store.close(s);
      std::uint32_t there = 0;
      REQUIRE(kv::import_sequence(other, image, there));
      again.resize(kv::image_bytes(other, there));
      REQUIRE(kv::export_sequence(other, there, again));
      REQUIRE(again == image);
      other.close(there);
      REQUIRE(kv::import_sequence(store, again, s));
    } else if (what == detour::fork) {  // the first goes astray and is closed, its fork goes on
      std::uint32_t copy = 0;
      REQUIRE(store.fork(s, copy));
      const rows wrong(tokens, heads, 5);
      std::vector<float> ignored(out.size());
      advance(store, s, wrong, tokens, 37, ignored);
      store.close(s);
      s = copy;
    } else if (what == detour::rewind) {  // where the layout allows it; a refusal changes nothing
      const rows wrong(tokens, heads, 6);
      std::vector<float> ignored(out.size());
      const std::uint32_t astray = std::min(at + 20, tokens);
      std::vector<std::byte> image(kv::image_bytes(store, s));
      REQUIRE(kv::export_sequence(store, s, image));
      advance(store, s, wrong, astray, 7, ignored);
      if (const status r = store.truncate(s, at); !r) {
        CHECK(r.code == errc::not_rewindable);
        CHECK(store.length(s) == astray);
        store.close(s);
        REQUIRE(kv::import_sequence(store, image, s));
      }
    }
    REQUIRE(store.check());
    advance(store, s, data, tokens, 1 + at % 50, out);
    CHECK(store.bytes(s) == kv::sequence_bytes(layout, tokens));
    REQUIRE(std::memcmp(out.data(), straight.data(), out.size() * sizeof(float)) == 0);
    store.close(s);
    REQUIRE(store.check());
    REQUIRE(store.free_bytes() == [&] {
      std::size_t all = 0;
      const auto& o = store.options();
      for (std::uint32_t g = 0; g < layout.groups(); ++g) all += o.pages[g] * kv::page_bytes(layout, g);
      return all + o.sequences * kv::tail_bytes(layout) + o.overlay_pages * kv::overlay_page_bytes(layout);
    }());
  }
}

/// f.template operator()<Pair>(name) for every codec pair of the library.
template <class F>
void each_codec(F&& f) {
  f.template operator()<kv::raw_bf16>("bf16");
  f.template operator()<kv::codec_pair<kv::raw<f16>>>("f16");
  f.template operator()<int8_token>("int8");
  f.template operator()<int4_channel>("int4 per channel");
  f.template operator()<int4_hadamard>("int4 Hadamard");
  f.template operator()<codec_pair<integer<3, group::row, 32>>>("int3, groups of 32");
  f.template operator()<codec_pair<kv::balanced<integer<2, group::column, 32>>, integer<2, group::row, 32>>>("int2 per token, balanced keys");
  f.template operator()<codec_pair<kv::fp8>>("fp8");
  f.template operator()<codec_pair<kv::gear<integer<2, group::row>, 2, 2>>>("GEAR");
  f.template operator()<codec_pair<kv::hadamard<kv::gear<integer<4, group::row>, 2, 0>>>>("GEAR-L after Hadamard");
}

inline constexpr std::uint8_t first_whole[] = {1, 0};

}  // namespace composed
