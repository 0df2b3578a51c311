// SPDX-License-Identifier: Apache-2.0
// The product on balanced tiles: the query is divided by the balancer, the base does the rest.
#pragma once

#include "../../kv/codec/balanced.hpp"
#include "product.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

/// Prepared: the rows of the base's multiplier, then room for the divided coefficients they are made from.
template <class Base>
struct multiplier<kv::balanced<Base>> {
  using codec_type = kv::balanced<Base>;
  using below = multiplier<Base>;
  static constexpr bool tile_free = below::tile_free;
  static std::size_t prepared_bytes(kv::tile_shape s) noexcept { return below::prepared_bytes(s) + s.rows * sizeof(float); }
  static std::size_t scratch_bytes(kv::tile_shape s) noexcept { return below::scratch_bytes(s); }

  static void prepare(const codec_type& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const float* a, std::size_t lda,
                      std::uint32_t n, std::byte* out) noexcept {
    if (const float* b = codec_type::balance_of(at)) {
      auto* divided = reinterpret_cast<float*>(out + n * below::prepared_bytes(s));
      for (std::uint32_t r = 0; r < n; ++r)
        for (std::uint32_t k = 0; k < s.rows; ++k) divided[r * s.rows + k] = a[r * lda + k] / b[k];
      a = divided, lda = s.rows;
    }
    below::prepare(codec.base, at, s, tile, a, lda, n, out);
  }
  static void multiply(const codec_type& codec, const kv::codec_context& at, kv::tile_shape s, const std::byte* tile, const std::byte* a, std::uint32_t n,
                       float* y, std::size_t ldy, std::byte* scratch, const std::byte* next = nullptr) noexcept {
    below::multiply(codec.base, at, s, tile, a, n, y, ldy, scratch, next);
  }
};

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
