// SPDX-License-Identifier: Apache-2.0
// y[n][columns] += a[n][rows] · X: the one product of the fold, for each codec whose tiles can be multiplied as they lie.
// A row of y depends on its own row of a alone, in one fixed order, so batching and blocking never change a bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../../core/simd.hpp"
#include "../../kv/codec/hadamard.hpp"
#include "../../kv/codec/integer.hpp"
#include "../../kv/codec/raw.hpp"
#include "product_amx.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

namespace hn = hwy::HWY_NAMESPACE;

/// Cuts an n × columns result into register blocks: f.template operator()<R, C>(tag, first row, first column), where a block
/// has R rows and C vectors of `tag`. Columns are a multiple of 8; a last half vector gets a narrower tag.
template <int MaxR, int MaxC, class F>
HWY_INLINE void for_blocks(std::uint32_t n, std::uint32_t columns, F&& f) {
  const simd::f32_tag d;
  const std::uint32_t lanes = static_cast<std::uint32_t>(hn::Lanes(d));
  const auto rows = [&]<int C, class D>(D tag, std::uint32_t c) {
    std::uint32_t r = 0;
    for (; r + MaxR <= n; r += MaxR) f.template operator()<MaxR, C>(tag, r, c);
    if constexpr (MaxR > 3)
      if (n - r == 3) return f.template operator()<3, C>(tag, r, c);
    if (n - r >= 2) f.template operator()<2, C>(tag, r, c), r += 2;
    if (n - r == 1) f.template operator()<1, C>(tag, r, c);
  };
  std::uint32_t c = 0;
  for (; c + MaxC * lanes <= columns; c += MaxC * lanes) rows.template operator()<MaxC>(d, c);
  for (; c + lanes <= columns; c += lanes) rows.template operator()<1>(d, c);
  if constexpr (HWY_MAX_BYTES >= 64)
    if (c < columns) rows.template operator()<1>(hn::CappedTag<float, 8>(), c);
}

/// Asks for the line of the tile that is read after this one, at the place where this one is being read: tiles lie pages
/// apart, where the hardware does not look ahead.
class ahead {
 public:
  ahead(const std::byte* tile, const std::byte* next) noexcept : offset_(next == nullptr ? 0 : next - tile) {}
  HWY_INLINE void operator()(const void* here) const noexcept { simd::prefetch(static_cast<const std::byte*>(here) + offset_); }

 private:
  std::ptrdiff_t offset_;
};

/// Tag for the primary template's own parts.
struct decode_first {};

/// How a codec multiplies. The primary template serves every codec: decode to f32, then multiply.
/// `prepare` turns rows of a (f32, stride lda) into what `multiply` reads, `prepared_bytes` a row; when `tile_free`, that
/// does not depend on the tile (null then, and `at.tile` says nothing) and is done once for all tiles of a head.
/// `scratch` holds `scratch_bytes`; `next` is the tile read after this one.
template <class Codec>
struct multiplier {
  static constexpr bool tile_free = true;
  static std::size_t prepared_bytes(kv::tile_shape s) noexcept { return round_up(s.rows * sizeof(float), 64); }
  static std::size_t scratch_bytes(kv::tile_shape s) noexcept { return s.elements() * sizeof(float); }

  static void prepare(const Codec&, const kv::codec_context&, kv::tile_shape s, const std::byte*, const float* a, std::size_t lda, std::uint32_t n,
                      std::byte* out) noexcept {
    for (std::uint32_t r = 0; r < n; ++r) std::memcpy(out + r * prepared_bytes(s), a + r * lda, s.rows * sizeof(float));
  }
  static void multiply(const Codec& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const std::byte* a,
                       std::uint32_t n, float* y, std::size_t ldy, std::byte* scratch, const std::byte* next = nullptr) noexcept {
    auto* x = reinterpret_cast<float*>(scratch);
    codec.decode(at, s, tile, x);
    multiply_f32(s, x, a, prepared_bytes(s), n, y, ldy, nullptr);
    static_cast<void>(next);
  }
  static void multiply_f32(kv::tile_shape s, const float* x, const std::byte* a, std::size_t stride, std::uint32_t n, float* y,
                           std::size_t ldy, const std::byte* next) noexcept {
    const ahead fetch(reinterpret_cast<const std::byte*>(x), next);
    for_blocks<4, 4>(n, s.columns, [&]<int R, int C, class D>(D d, std::uint32_t r0, std::uint32_t c0) {
      const std::size_t lanes = hn::Lanes(d);
      hn::Vec<D> acc[R][C];
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) acc[r][c] = hn::LoadU(d, y + (r0 + r) * ldy + c0 + c * lanes);
      for (std::uint32_t k = 0; k < s.rows; ++k)
        for (int c = 0; c < C; ++c) {
          const auto v = hn::LoadU(d, x + k * s.columns + c0 + c * lanes);
          if (r0 == 0) fetch(x + k * s.columns + c0 + c * lanes);
          for (int r = 0; r < R; ++r)
            acc[r][c] = hn::MulAdd(hn::Set(d, reinterpret_cast<const float*>(a + (r0 + r) * stride)[k]), v, acc[r][c]);
        }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) hn::StoreU(acc[r][c], d, y + (r0 + r) * ldy + c0 + c * lanes);
    });
  }
};

/// f32 tiles need no decoding.
template <>
struct multiplier<kv::raw<float>> : multiplier<decode_first> {
  static std::size_t scratch_bytes(kv::tile_shape) noexcept { return 0; }
  static void prepare(const kv::raw<float>&, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const float* a, std::size_t lda, std::uint32_t n,
                      std::byte* out) noexcept {
    multiplier<decode_first>::prepare({}, at, s, tile, a, lda, n, out);
  }
  static void multiply(const kv::raw<float>&, const kv::codec_context&, kv::tile_shape s, const std::byte* tile, const std::byte* a,
                       std::uint32_t n, float* y, std::size_t ldy, std::byte*, const std::byte* next = nullptr) noexcept {
    multiply_f32(s, reinterpret_cast<const float*>(tile), a, prepared_bytes(s), n, y, ldy, next);
  }
};

/// bf16 pairs: coefficients are rounded to bf16 too, one dot instruction takes two rows of X.
template <>
struct multiplier<kv::raw<bf16>> {
  static constexpr bool tile_free = true;
  static std::size_t prepared_bytes(kv::tile_shape s) noexcept { return round_up(s.rows * sizeof(bf16), 64); }
  static std::size_t scratch_bytes(kv::tile_shape) noexcept { return 0; }

  static void prepare(const kv::raw<bf16>&, const kv::codec_context&, kv::tile_shape s, const std::byte*, const float* a, std::size_t lda, std::uint32_t n,
                      std::byte* out) noexcept {
    for (std::uint32_t r = 0; r < n; ++r) {
      auto* pairs = reinterpret_cast<std::uint32_t*>(out + r * prepared_bytes(s));
      const float* x = a + r * lda;
      for (std::uint32_t k = 0; k < s.rows / 2; ++k) {  // the compiler vectorises this form
        const auto lo = std::bit_cast<std::uint32_t>(x[2 * k]), hi = std::bit_cast<std::uint32_t>(x[2 * k + 1]);
        pairs[k] = (lo + 0x7fffu + (lo >> 16 & 1u)) >> 16 | ((hi + 0x7fffu + (hi >> 16 & 1u)) & 0xffff0000u);
      }
    }
  }
  static void multiply(const kv::raw<bf16>&, const kv::codec_context&, kv::tile_shape s, const std::byte* tile, const std::byte* a,
                       std::uint32_t n, float* y, std::size_t ldy, std::byte*, const std::byte* next = nullptr) noexcept {
    if (bf16_registers::take(s)) return bf16_registers::multiply(s, tile, a, prepared_bytes(s), n, y, ldy, ahead(tile, next));
    const auto* x = reinterpret_cast<const std::uint32_t*>(tile);
    const std::size_t stride = prepared_bytes(s);
    const ahead fetch(tile, next);
    for_blocks<4, 4>(n, s.columns, [&]<int R, int C, class D>(D d, std::uint32_t r0, std::uint32_t c0) {
      const simd::u32_of<D> du;
      const std::size_t lanes = hn::Lanes(d);
      hn::Vec<D> acc[R][C];
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) acc[r][c] = hn::LoadU(d, y + (r0 + r) * ldy + c0 + c * lanes);
      for (std::uint32_t k = 0; k < s.rows / 2; ++k) {
        hn::Vec<decltype(du)> v[C];
        for (int c = 0; c < C; ++c) {
          v[c] = hn::LoadU(du, x + k * s.columns + c0 + c * lanes);
          if (r0 == 0) fetch(x + k * s.columns + c0 + c * lanes);
        }
        for (int r = 0; r < R; ++r) {
          const auto pair = hn::Set(du, reinterpret_cast<const std::uint32_t*>(a + (r0 + r) * stride)[k]);
          for (int c = 0; c < C; ++c) acc[r][c] = simd::dot_bf16(d, acc[r][c], v[c], pair);
        }
      }
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) hn::StoreU(acc[r][c], d, y + (r0 + r) * ldy + c0 + c * lanes);
    });
  }
};

/// A rotated codec multiplies as its base: the fold brings query and output into its basis.
template <class Base>
struct multiplier<kv::hadamard<Base>> : multiplier<Base> {
  static void prepare(const kv::hadamard<Base>& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const float* a, std::size_t lda,
                      std::uint32_t n, std::byte* out) noexcept {
    multiplier<Base>::prepare(codec.base, at, s, tile, a, lda, n, out);
  }
  static void multiply(const kv::hadamard<Base>& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile,
                       const std::byte* a, std::uint32_t n, float* y, std::size_t ldy, std::byte* scratch, const std::byte* next = nullptr) noexcept {
    multiplier<Base>::multiply(codec.base, at, s, tile, a, n, y, ldy, scratch, next);
  }
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
