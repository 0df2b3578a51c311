// SPDX-License-Identifier: Apache-2.0
#include <quire/core/number.hpp>
#include <quire/core/simd.hpp>

#include "shared.hpp"

namespace {
/// 1·3 + 2·4 on every 32-bit lane, by the bf16 dot product of this unit's instruction set.
measured run_kernels() {
  namespace hn = quire::simd::hn;
  const quire::simd::f32_tag d;
  const quire::simd::u32_of<quire::simd::f32_tag> du;
  const auto pair = [](float lo, float hi) {
    return std::uint32_t{quire::bf16::from(hi).bits} << 16 | quire::bf16::from(lo).bits;
  };
  const auto sum = quire::simd::dot_bf16(d, hn::Zero(d), hn::Set(du, pair(1, 2)), hn::Set(du, pair(3, 4)));
  return {quire::simd::isa_name(), hn::GetLane(sum)};
}
}  // namespace
