// SPDX-License-Identifier: Apache-2.0
// The only header (with core/simd.hpp) where `#if` may stand: compilers, assertion level, instruction-set tag.
#pragma once

#include "../version.hpp"

/// Marks what a kernel may call on a GPU as well as on the host.
#if defined(__CUDACC__)
#define QUIRE_HD __host__ __device__
#else
#define QUIRE_HD
#endif

/// Broken precondition. Define it before the first include to replace it; by default it traps in debug builds and is
/// nothing in release builds. `why` is a string literal.
#if !defined(QUIRE_ASSERT)
#if defined(NDEBUG)
#define QUIRE_ASSERT(condition, why) static_cast<void>(0)
#else
#define QUIRE_ASSERT(condition, why) static_cast<void>((condition) ? 0 : (__builtin_trap(), 0))
#endif
#endif

/// Name of the instruction set the unit is compiled for. CPU kernels live in an inline namespace of this name, so that
/// units compiled with different flags never share a symbol.
#if !defined(QUIRE_ISA)
#if defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define QUIRE_ISA avx512_amx
#elif defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define QUIRE_ISA avx512_bf16
#elif defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define QUIRE_ISA avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define QUIRE_ISA avx2
#else
#define QUIRE_ISA baseline
#endif
#endif
