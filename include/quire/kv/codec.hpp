// SPDX-License-Identifier: Apache-2.0
// What a codec is. A tile of keys or values is a matrix X [rows][columns] whose rows are what a product sums over:
//   keys    rows = head_dim channels, columns = tokens    logits  y[token]   = Σ_channel q[channel] · X[channel][token]
//   values  rows = tokens, columns = head_dim channels    output  y[channel] = Σ_token   p[token]   · X[token][channel]
// Scores and accumulation are thus one product, y += a·X, and a codec is written once for both sides.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../core/extents.hpp"

namespace quire::inline v0::kv {

enum class side : std::uint8_t { key, value };

/// Extents of X. One of them is always `tile_tokens`.
struct tile_shape {
  std::uint32_t rows = 0, columns = 0;
  QUIRE_HD constexpr std::uint32_t elements() const noexcept { return rows * columns; }
};

QUIRE_HD constexpr tile_shape shape_of(side s, std::uint32_t head_dim) noexcept {
  return s == side::key ? tile_shape{head_dim, tile_tokens} : tile_shape{tile_tokens, head_dim};
}

/// Where a tile stands and what its codec may use besides the rows. `params` points at learned or calibrated settings
/// (format of the codec's own), null when there are none; `seed` makes random choices repeatable.
struct codec_context {
  std::uint32_t layer = 0, head = 0, tile = 0;
  side which = side::key;
  std::uint64_t seed = 0;
  const std::byte* params = nullptr;
};

/// A way to keep one tile. Stateless or small, trivially copyable, callable from any thread.
/// - `format()` names the byte format and its version, `tile_bytes` its size: constant per shape.
/// - `encode` seals X (row-major f32, finite) into `tile_bytes`; the bytes depend on nothing but the arguments.
/// - `decode` gives the f32 matrix back. A codec with `rotates == true` keeps rows in another basis of the channels:
///   `decode` answers in that basis and `rotate(v, head_dim)`, an involution, moves one channel vector between the two.
/// Kernels may know faster ways to multiply by a codec's tiles; `decode` is what they fall back to.
template <class C>
concept Codec = std::is_trivially_copyable_v<C> && std::semiregular<C> &&
                requires(const C c, const codec_context& at, tile_shape s, const float* x, std::byte* out, const std::byte* tile, float* y) {
                  { C::format() } noexcept -> std::convertible_to<const char*>;
                  { c.tile_bytes(s) } noexcept -> std::same_as<std::size_t>;
                  { c.encode(at, s, x, out) } noexcept -> std::same_as<void>;
                  { c.decode(at, s, tile, y) } noexcept -> std::same_as<void>;
                };

/// What a codec spends on an element of a tile of shape `s`, everything counted: codes, scales, factors, outliers, padding.
template <Codec C>
QUIRE_HD constexpr double bits_per_element(const C& c, tile_shape s) noexcept {
  return 8.0 * static_cast<double>(c.tile_bytes(s)) / s.elements();
}

/// A format id put together from parts while compiling; a text that does not fit fails to compile.
class format_text {
 public:
  constexpr format_text& add(const char* part) noexcept {
    while (*part != 0) put(*part++);
    return *this;
  }
  constexpr format_text& add(std::uint32_t number) noexcept {
    if (number >= 10) add(number / 10);
    put(static_cast<char>('0' + number % 10));
    return *this;
  }
  constexpr const char* data() const noexcept { return text_; }

 private:
  constexpr void put(char c) noexcept { text_[size_++] = c, text_[size_] = 0; }
  char text_[64] = {};
  std::uint32_t size_ = 0;
};

/// A codec that can also take single tokens: what open tails are made of.
/// `put` writes token `token` of a tile from `row` [head_dim], `copy` from token `token` of another tile to its token `to`;
/// other tokens keep their bytes.
template <class C>
concept RawCodec = Codec<C> && requires(const C c, side which, std::uint32_t head_dim, std::uint32_t token, const float* row, std::byte* tile,
                                        const std::byte* from, std::uint32_t to) {
  { c.put(which, head_dim, token, row, tile) } noexcept -> std::same_as<void>;
  { c.copy(which, head_dim, from, token, tile, to) } noexcept -> std::same_as<void>;
};

template <class C>
concept RotatingCodec = Codec<C> && C::rotates && requires(const C c, float* v, std::uint32_t head_dim) {
  { c.rotate(v, head_dim) } noexcept -> std::same_as<void>;
};

/// Key codec and value codec are two parameters; a tile piece is the key tile followed by the value tile.
template <Codec Key, Codec Value = Key>
struct codec_pair {
  using key_codec = Key;
  using value_codec = Value;
  [[no_unique_address]] Key key{};
  [[no_unique_address]] Value value{};

  QUIRE_HD constexpr std::size_t key_bytes(std::uint32_t head_dim) const noexcept { return key.tile_bytes(shape_of(side::key, head_dim)); }
  QUIRE_HD constexpr std::size_t value_bytes(std::uint32_t head_dim) const noexcept {
    return value.tile_bytes(shape_of(side::value, head_dim));
  }
  /// Bytes of one (tile, layer, head): both tiles, each at a multiple of 64 so that vectors load aligned.
  QUIRE_HD constexpr std::size_t value_offset(std::uint32_t head_dim) const noexcept { return round_up(key_bytes(head_dim), 64); }
  QUIRE_HD constexpr std::size_t piece_bytes(std::uint32_t head_dim) const noexcept {
    return value_offset(head_dim) + round_up(value_bytes(head_dim), 64);
  }
};

template <class P>
concept CodecPair = Codec<typename P::key_codec> && Codec<typename P::value_codec> && std::is_trivially_copyable_v<P>;

}  // namespace quire::inline v0::kv
