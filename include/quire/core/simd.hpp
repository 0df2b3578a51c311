// SPDX-License-Identifier: Apache-2.0
// Vector operations that Debian's Highway 1.0.3 lacks. The only file with intrinsics; every other CPU kernel is written on
// Highway alone. Include it only under */cpu: code here follows the unit's -m flags and lives in a namespace of that name.
#pragma once

// Highway 1.0.3 stops at "best baseline should be included in dynamic targets" where -m flags give AVX-VNNI beside AVX-512
// (-march=native on Zen 5, Sapphire Rapids) unless that target is asked for. Who includes Highway before us says the same.
#if defined(__AVXVNNI__) && !defined(HWY_WANT_AVX3_DL)
#define HWY_WANT_AVX3_DL 1
#endif
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "config.hpp"

#if defined(__AVX512BF16__) || defined(__AVX512VNNI__) || defined(__SSSE3__)
#include <immintrin.h>
#endif

namespace quire::inline v0::simd::inline QUIRE_ISA {

namespace hn = hwy::HWY_NAMESPACE;

/// Vectors of at most 16 f32 lanes: tiles are padded to 16 lanes at the most.
using f32_tag = hn::CappedTag<float, 16>;
template <class D>
using u32_of = hn::Rebind<std::uint32_t, D>;
template <class D>
using i32_of = hn::Rebind<std::int32_t, D>;
template <class D>
using u16_of = hn::Rebind<std::uint16_t, D>;
template <class D>
using u8_of = hn::Rebind<std::uint8_t, D>;

/// What the kernels of this unit run on, for reports.
inline const char* isa_name() noexcept {
#if defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
  return "avx512_amx";
#elif defined(__AVX512BF16__) && defined(__AVX512VNNI__)
  return "avx512_bf16";
#elif defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
  return "avx512";
#elif defined(__AVX2__) && defined(__FMA__)
  return "avx2";
#else
  return "baseline";
#endif
}

/// Asks for a cache line soon to be read, into the second level: a core keeps few lines on their way to its first level, and
/// loads queue behind them (Zen 4). Cores with AVX-VNNI beside AVX-512 are asked for the first: Zen 5 loses asks for the second now and then,
/// and a tile's product takes up to twice as long. Always inline: a function that does nothing but ask has no effect in the compiler's eyes, and calls of it vanish.
HWY_INLINE void prefetch(const void* line) noexcept {
#if defined(__GNUC__) && defined(__AVXVNNI__) && defined(__AVX512F__)
  __builtin_prefetch(line, 0, 3);
#elif defined(__GNUC__)
  __builtin_prefetch(line, 0, 2);
#else
  hwy::Prefetch(line);
#endif
}

/// acc[i] + lo(a[i])·lo(b[i]) + hi(a[i])·hi(b[i]); each 32-bit lane of `a` and `b` holds two bf16.
template <class D, class VF = hn::Vec<D>, class VU = hn::Vec<u32_of<D>>>
HWY_INLINE VF dot_bf16(D d, VF acc, VU a, VU b) {
#if defined(__AVX512BF16__)
  if constexpr (sizeof(VF) == 64)
    return VF{_mm512_dpbf16_ps(acc.raw, (__m512bh)a.raw, (__m512bh)b.raw)};
  else if constexpr (sizeof(VF) == 32)
    return VF{_mm256_dpbf16_ps(acc.raw, (__m256bh)a.raw, (__m256bh)b.raw)};
#endif
  const u32_of<D> du;
  const auto high = hn::Set(du, 0xffff0000u);
  acc = hn::MulAdd(hn::BitCast(d, hn::ShiftLeft<16>(a)), hn::BitCast(d, hn::ShiftLeft<16>(b)), acc);
  return hn::MulAdd(hn::BitCast(d, hn::And(a, high)), hn::BitCast(d, hn::And(b, high)), acc);
}

#if defined(__SSSE3__) && !defined(__AVX512VNNI__)
/// dot_u8s8 for bytes of `a` ≤ 128, whose products with two bytes of `b` add up within 16 bits.
template <class VI, class VU>
HWY_INLINE VI dot_small(VI acc, VU a, VU b) {
#if defined(__AVX512BW__)
  if constexpr (sizeof(VI) == 64)
    return VI{_mm512_add_epi32(acc.raw, _mm512_madd_epi16(_mm512_maddubs_epi16(a.raw, b.raw), _mm512_set1_epi16(1)))};
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(VI) == 32)
    return VI{_mm256_add_epi32(acc.raw, _mm256_madd_epi16(_mm256_maddubs_epi16(a.raw, b.raw), _mm256_set1_epi16(1)))};
#endif
  if constexpr (sizeof(VI) == 16)
    return VI{_mm_add_epi32(acc.raw, _mm_madd_epi16(_mm_maddubs_epi16(a.raw, b.raw), _mm_set1_epi16(1)))};
}
#endif

/// acc[i] + Σ_k u8(a[i])_k · s8(b[i])_k over the four bytes of each 32-bit lane. Exact: never saturates.
template <class DI, class VI = hn::Vec<DI>, class VU = hn::Vec<u32_of<DI>>>
HWY_INLINE VI dot_u8s8(DI di, VI acc, VU a, VU b) {
#if defined(__AVX512VNNI__)
  if constexpr (sizeof(VI) == 64)
    return VI{_mm512_dpbusd_epi32(acc.raw, a.raw, b.raw)};
  else if constexpr (sizeof(VI) == 32)
    return VI{_mm256_dpbusd_epi32(acc.raw, a.raw, b.raw)};
#elif defined(__SSSE3__)
  if constexpr (sizeof(VI) >= 16) {
    const auto low = hn::Set(u32_of<DI>{}, 0x7f7f7f7fu);
    return dot_small(dot_small(acc, hn::And(a, low), b), hn::AndNot(low, a), b);
  }
#endif
  const u32_of<DI> du;
  if constexpr (HWY_MAX_BYTES >= 16) {  // products of two bytes fit 16 bits, their sums do not
    const hn::Repartition<std::int16_t, DI> d16;
    const hn::Repartition<std::uint16_t, DI> du16;
    const auto a16 = hn::BitCast(du16, a);
    const auto b16 = hn::BitCast(d16, b);
    const auto even = hn::Mul(hn::BitCast(d16, hn::And(a16, hn::Set(du16, 0xff))), hn::ShiftRight<8>(hn::ShiftLeft<8>(b16)));
    const auto odd = hn::Mul(hn::BitCast(d16, hn::ShiftRight<8>(a16)), hn::ShiftRight<8>(b16));
    const auto low = [&](auto v) { return hn::ShiftRight<16>(hn::ShiftLeft<16>(hn::BitCast(di, v))); };
    const auto high = [&](auto v) { return hn::ShiftRight<16>(hn::BitCast(di, v)); };
    return hn::Add(acc, hn::Add(hn::Add(low(even), high(even)), hn::Add(low(odd), high(odd))));
  } else {
    const auto term = [&](auto u, auto s) {
      return hn::Mul(hn::BitCast(di, hn::And(u, hn::Set(du, 0xffu))), hn::ShiftRight<24>(hn::BitCast(di, s)));
    };
    acc = hn::Add(acc, hn::Add(term(a, hn::ShiftLeft<24>(b)), term(hn::ShiftRight<8>(a), hn::ShiftLeft<16>(b))));
    return hn::Add(acc, hn::Add(term(hn::ShiftRight<16>(a), hn::ShiftLeft<8>(b)), term(hn::ShiftRight<24>(a), b)));
  }
}

/// dot_u8s8 where no byte of `a` exceeds 128: half the work without VNNI.
template <class DI, class VI = hn::Vec<DI>, class VU = hn::Vec<u32_of<DI>>>
HWY_INLINE VI dot_u7s8(DI di, VI acc, VU a, VU b) {
#if defined(__SSSE3__) && !defined(__AVX512VNNI__)
  if constexpr (sizeof(VI) >= 16) return dot_small(acc, a, b);
#endif
  return dot_u8s8(di, acc, a, b);
}

/// Two f32 vectors → one vector of bf16 pairs, `lo` in the low halves; rounds to nearest even.
template <class D, class VF = hn::Vec<D>>
HWY_INLINE hn::Vec<u32_of<D>> pack_bf16(D, VF lo, VF hi) {
  const u32_of<D> du;
  const auto round = [&](VF v) {
    const auto u = hn::BitCast(du, v);
    return hn::Add(hn::Add(u, hn::Set(du, 0x7fffu)), hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1u)));
  };
  return hn::Or(hn::ShiftRight<16>(round(lo)), hn::And(round(hi), hn::Set(du, 0xffff0000u)));
}

/// f32 lanes → half floats (IEEE) at `to`, and back.
template <class D, class VF = hn::Vec<D>>
HWY_INLINE void store_f16(D, VF v, std::uint16_t* to) {
  const hn::Rebind<hwy::float16_t, D> dh;
  hn::StoreU(hn::DemoteTo(dh, v), dh, reinterpret_cast<hwy::float16_t*>(to));
}
template <class D>
HWY_INLINE hn::Vec<D> load_f16(D d, const std::uint16_t* from) {
  const hn::Rebind<hwy::float16_t, D> dh;
  return hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(from)));
}

/// Lowest bytes of the 32-bit lanes → Lanes(d) neighbouring bytes at `to`.
template <class D, class VU = hn::Vec<u32_of<D>>>
HWY_INLINE void store_low_bytes(D, VU v, std::int8_t* to) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  if constexpr (sizeof(VU) == 64)
    return _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(v.raw));
  else if constexpr (sizeof(VU) == 32)
    return _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm256_cvtepi32_epi8(v.raw));
#endif
  const hn::Rebind<std::int8_t, D> db;
  hn::StoreU(hn::DemoteTo(db, hn::ShiftRight<24>(hn::BitCast(i32_of<D>{}, hn::ShiftLeft<24>(v)))), db, to);
}

/// Transposes the 4 × 4 blocks that 128 bits of each of four vectors make: lane 4b + j of v[i] ↔ lane 4b + i of v[j].
template <class D, class VF = hn::Vec<D>>
HWY_INLINE void transpose4(D d, VF (&v)[4]) {
#if HWY_TARGET == HWY_SCALAR
  static_cast<void>(d), static_cast<void>(v);  // one lane: four of them are a column already
#else
  const hn::Repartition<std::uint64_t, D> wide;
  const auto low01 = hn::BitCast(wide, hn::InterleaveLower(d, v[0], v[1])), high01 = hn::BitCast(wide, hn::InterleaveUpper(d, v[0], v[1]));
  const auto low23 = hn::BitCast(wide, hn::InterleaveLower(d, v[2], v[3])), high23 = hn::BitCast(wide, hn::InterleaveUpper(d, v[2], v[3]));
  v[0] = hn::BitCast(d, hn::InterleaveLower(wide, low01, low23));
  v[1] = hn::BitCast(d, hn::InterleaveUpper(wide, low01, low23));
  v[2] = hn::BitCast(d, hn::InterleaveLower(wide, high01, high23));
  v[3] = hn::BitCast(d, hn::InterleaveUpper(wide, high01, high23));
#endif
}

/// out[i] ← op over all lanes of v[i], for four vectors at once; the order is the same for each. `op` works on any width.
template <class D, class Op, class VF = hn::Vec<D>>
HWY_INLINE void reduce4(D d, const VF (&v)[4], Op op, float* out) {
#if HWY_TARGET == HWY_SCALAR
  static_cast<void>(d), static_cast<void>(op);
  for (int i = 0; i < 4; ++i) out[i] = hn::GetLane(v[i]);
#else
  if constexpr (hn::MaxLanes(D{}) > 4) {
    const hn::Half<D> half;
    const hn::Vec<decltype(half)> w[4] = {op(hn::LowerHalf(half, v[0]), hn::UpperHalf(half, v[0])), op(hn::LowerHalf(half, v[1]), hn::UpperHalf(half, v[1])),
                                          op(hn::LowerHalf(half, v[2]), hn::UpperHalf(half, v[2])), op(hn::LowerHalf(half, v[3]), hn::UpperHalf(half, v[3]))};
    reduce4(half, w, op, out);
  } else {
    const auto a = op(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
    const auto b = op(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3]));
    hn::StoreU(op(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a)), d, out);
  }
#endif
}
inline constexpr auto add = [](auto a, auto b) { return hn::Add(a, b); };
inline constexpr auto maximum = [](auto a, auto b) { return hn::Max(a, b); };

/// e^x, within 2 ulp for x in [−87, 88]; 0 below, e^88 above; e^0 is exactly 1.
template <class D, class VF = hn::Vec<D>>
HWY_INLINE VF exp(D d, VF x) {
  const i32_of<D> di;
  const auto clamped = hn::Min(hn::Max(x, hn::Set(d, -87.0f)), hn::Set(d, 88.0f));
  const auto n = hn::NearestInt(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  const auto nf = hn::ConvertTo(d, n);
  auto r = hn::NegMulAdd(nf, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(nf, hn::Set(d, -2.12194440e-4f), r);
  auto p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  const auto scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
  return hn::IfThenElseZero(hn::Ge(x, hn::Set(d, -87.0f)), hn::Mul(p, scale));
}

}  // namespace quire::inline v0::simd::inline QUIRE_ISA
