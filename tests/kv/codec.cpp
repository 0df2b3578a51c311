// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec.hpp"

#include <string>

#include "catch.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/codec/raw.hpp"

using namespace quire;
using kv::codec_context;
using kv::tile_shape;

namespace {

/// A model of Codec, and copies of it that miss one member each.
struct whole {
  static constexpr const char* format() noexcept { return "whole"; }
  std::size_t tile_bytes(tile_shape s) const noexcept { return s.elements() * 4u; }
  void encode(const codec_context&, tile_shape, const float*, std::byte*) const noexcept {}
  void decode(const codec_context&, tile_shape, const std::byte*, float*) const noexcept {}
};
struct no_format : whole {
  static constexpr const char* format() noexcept = delete;
};
struct no_bytes : whole {
  std::size_t tile_bytes(tile_shape) const noexcept = delete;
};
struct signed_bytes : whole {
  int tile_bytes(tile_shape) const noexcept { return 0; }
};
struct no_encode : whole {
  void encode(const codec_context&, tile_shape, const float*, std::byte*) const noexcept = delete;
};
struct throwing_encode : whole {
  void encode(const codec_context&, tile_shape, const float*, std::byte*) const {}
};
struct mutable_decode : whole {
  void decode(const codec_context&, tile_shape, const std::byte*, float*) noexcept {}
};
struct no_decode : whole {
  void decode(const codec_context&, tile_shape, const std::byte*, float*) const noexcept = delete;
};
struct owning : whole {
  owning() = default;
  owning(const owning&) {}
  owning& operator=(const owning&) { return *this; }
};
struct copying : whole {
  void copy(kv::side, std::uint32_t, const std::byte*, std::uint32_t, std::byte*, std::uint32_t) const noexcept {}
};
struct putting : copying {
  void put(kv::side, std::uint32_t, std::uint32_t, const float*, std::byte*) const noexcept {}
};
struct only_putting : whole {
  void put(kv::side, std::uint32_t, std::uint32_t, const float*, std::byte*) const noexcept {}
};
struct throwing_put : copying {
  void put(kv::side, std::uint32_t, std::uint32_t, const float*, std::byte*) const {}
};
struct rotating : whole {
  static constexpr bool rotates = true;
  void rotate(float*, std::uint32_t) const noexcept {}
};
struct claims_to_rotate : whole {
  static constexpr bool rotates = true;
};
struct denies_to_rotate : rotating {
  static constexpr bool rotates = false;
};
struct pair_without_value {
  using key_codec = whole;
};

}  // namespace

static_assert(kv::Codec<whole> && kv::Codec<putting> && kv::Codec<rotating>);
static_assert(!kv::Codec<no_format> && !kv::Codec<no_bytes> && !kv::Codec<signed_bytes> && !kv::Codec<no_encode>);
static_assert(!kv::Codec<throwing_encode> && !kv::Codec<mutable_decode> && !kv::Codec<no_decode> && !kv::Codec<owning>);
static_assert(kv::RawCodec<putting> && !kv::RawCodec<whole> && !kv::RawCodec<throwing_put> && !kv::RawCodec<copying> && !kv::RawCodec<only_putting>);
static_assert(kv::RotatingCodec<rotating> && !kv::RotatingCodec<whole> && !kv::RotatingCodec<claims_to_rotate> && !kv::RotatingCodec<denies_to_rotate>);
static_assert(kv::CodecPair<kv::codec_pair<whole, putting>> && !kv::CodecPair<pair_without_value> && !kv::CodecPair<whole>);
static_assert(!kv::RawCodec<kv::integer<4, kv::group::row>> && kv::RotatingCodec<kv::hadamard<whole>> && !kv::RotatingCodec<kv::raw<float>>);
static_assert(std::is_empty_v<kv::codec_pair<kv::raw<float>, kv::integer<8, kv::group::row>>>);

TEST_CASE("keys are channels by tokens and values tokens by channels") {
  const tile_shape k = kv::shape_of(kv::side::key, 24), v = kv::shape_of(kv::side::value, 24);
  CHECK(k.rows == 24);
  CHECK(k.columns == 64);
  CHECK(v.rows == 64);
  CHECK(v.columns == 24);
  CHECK(k.elements() == v.elements());
}

TEST_CASE("pieces hold both tiles at multiples of 64 without overlap") {
  const auto all = [](const auto& pair) {
    for (std::uint32_t dim = 8; dim <= 256; dim += 8) {
      CHECK(pair.value_offset(dim) % 64 == 0);
      CHECK(pair.value_offset(dim) >= pair.key_bytes(dim));
      CHECK(pair.value_offset(dim) < pair.key_bytes(dim) + 64);
      CHECK(pair.piece_bytes(dim) % 64 == 0);
      CHECK(pair.piece_bytes(dim) >= pair.value_offset(dim) + pair.value_bytes(dim));
      CHECK(pair.piece_bytes(dim) < pair.value_offset(dim) + pair.value_bytes(dim) + 64);
    }
  };
  all(kv::codec_pair<kv::raw<float>>{});
  all(kv::codec_pair<kv::raw<bf16>, kv::integer<8, kv::group::row>>{});
  all(kv::codec_pair<kv::integer<4, kv::group::column>, kv::hadamard<kv::integer<4, kv::group::row>>>{});
}

TEST_CASE("format ids are put together from texts and numbers") {
  static constexpr kv::format_text text = kv::format_text{}.add("a").add(0u).add("-b").add(1207u);
  CHECK(std::string(text.data()) == "a0-b1207");
}

TEST_CASE("bits an element are bytes of the tile over its elements") { CHECK(kv::bits_per_element(kv::raw<bf16>{}, kv::shape_of(kv::side::key, 64)) == 16.0); }
