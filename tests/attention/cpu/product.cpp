// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/product.hpp"

#include "attention/cpu/product_check.hpp"

using namespace product_check;

namespace {
/// A codec no kernel knows: the generic decode must serve it.
struct halves {
  static constexpr const char* format() noexcept { return "halves.1"; }
  std::size_t tile_bytes(kv::tile_shape s) const noexcept { return s.elements(); }
  void encode(const kv::codec_context&, kv::tile_shape s, const float* x, std::byte* out) const noexcept {
    for (std::uint32_t i = 0; i < s.elements(); ++i) out[i] = static_cast<std::byte>(static_cast<int>(x[i] * 16) + 128);
  }
  void decode(const kv::codec_context&, kv::tile_shape s, const std::byte* t, float* x) const noexcept {
    for (std::uint32_t i = 0; i < s.elements(); ++i) x[i] = static_cast<float>(static_cast<int>(t[i]) - 128) / 16;
  }
};
}  // namespace

TEST_CASE("f32 tiles multiply within f32 rounding") { check<kv::raw<float>>(exact, nothing); }
TEST_CASE("f16 tiles multiply through the generic decode") { check<kv::raw<f16>>(exact, nothing); }
TEST_CASE("bf16 tiles multiply by coefficients rounded to bf16") { check<kv::raw<bf16>>(to_bf16, nothing); }
TEST_CASE("a codec no kernel knows multiplies through its decode") { check<halves>(exact, nothing); }
TEST_CASE("rotated tiles multiply as their base") {
  check<kv::hadamard<kv::raw<float>>>(exact, nothing);
  check<kv::hadamard<kv::raw<bf16>>>(to_bf16, nothing);
}
