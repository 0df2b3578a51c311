// SPDX-License-Identifier: Apache-2.0
// Every function of core/device.cuh against its plain definition, on the emulator or on a GPU.
#include "quire/core/device.cuh"

#include <bit>
#include <cmath>
#include <limits>

#include "device/memory.hpp"
#include "quire/core/number.hpp"

using namespace quire;
using namespace device_test;

namespace {

/// out[i] = Function(in[i])
template <class Function, class In, class Out>
__global__ void map(const In* in, Out* out, std::uint32_t n) {
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) out[i] = Function{}(in[i]);
}
template <class Function, class Out, class In>
std::vector<Out> mapped(const std::vector<In>& values) {
  device_array<In> in(values, "in");
  device_array<Out> out(values.size(), "out");
  REQUIRE(device::launch(map<Function, In, Out>, {.blocks = 3, .threads = 64}, {}, in.data(), out.data(), static_cast<std::uint32_t>(values.size())));
  finish();
  return out.download();
}

struct three_words {
  std::uint32_t a, b, c;
};
struct two_floats {
  float low, high;
};
struct packs_bf16 {
  __device__ std::uint32_t operator()(two_floats x) const { return device::pack_bf16(x.low, x.high); }
};
struct packs_f16 {
  __device__ std::uint32_t operator()(two_floats x) const { return device::pack_f16(x.low, x.high); }
};
struct fuses {
  __device__ std::uint32_t operator()(three_words x) const { return device::fma_bf16(x.a, x.b, x.c); }
};
struct picks {
  __device__ std::uint32_t operator()(three_words x) const { return device::pick_bytes(x.a, x.b, x.c); }
};
struct widens {
  __device__ float operator()(std::uint16_t x) const { return device::widen_f16(x); }
};
struct raises {
  __device__ float operator()(float x) const { return device::exp2(x); }
};

std::uint32_t next(std::uint32_t& state) { return state = state * 1664525u + 1013904223u, state ^ state >> 15; }
/// A float of either sign whose exponent lies in [-range, range].
float any(std::uint32_t& state, int range) {
  const float x = 1.0f + static_cast<float>(next(state) & 0x7fffff) / 8388608.0f;
  const int e = static_cast<int>(next(state) % static_cast<unsigned>(2 * range + 1)) - range;
  return std::ldexp(next(state) & 1u ? -x : x, e);
}

/// The nearest bf16 to an exact value; ties go to the even code.
std::uint32_t nearest_bf16(double exact) {
  const std::uint32_t start = bf16::from(static_cast<float>(exact)).bits;
  std::uint32_t best = start;
  for (const std::uint32_t code : {start - 1, start, start + 1}) {
    const double x = bf16{static_cast<std::uint16_t>(code)}.to_float(), b = bf16{static_cast<std::uint16_t>(best)}.to_float();
    if (!std::isfinite(x)) continue;
    const double e = std::fabs(x - exact), old = std::fabs(b - exact);
    if (e < old || (e == old && (code & 1u) == 0)) best = code;
  }
  return best & 0xffffu;
}

}  // namespace

TEST_CASE("pack_bf16 and pack_f16 round to nearest even, the lower in the low half") {
  if (!device_or_skip()) return;
  std::vector<two_floats> in;
  std::uint32_t state = 1;
  for (int i = 0; i < 4000; ++i) in.push_back({any(state, 20), any(state, 20)});
  for (std::uint32_t i = 0; i < 64; ++i) in.push_back({std::bit_cast<float>(0x3f800000u + i * 0x1000u), std::bit_cast<float>(0xbf808000u + i * 0x10000u)});  // ties
  in.push_back({0.0f, -0.0f});
  in.push_back({1e9f, -1e9f});
  const float infinity = std::numeric_limits<float>::infinity();
  in.push_back({infinity, -infinity});
  const auto b = mapped<packs_bf16, std::uint32_t>(in);
  const auto f = mapped<packs_f16, std::uint32_t>(in);
  const auto saturated = [](float x) { return std::fmin(std::fmax(x, -65504.0f), 65504.0f); };
  for (std::size_t i = 0; i < in.size(); ++i) {
    REQUIRE(b[i] == (std::uint32_t{bf16::from(in[i].high).bits} << 16 | bf16::from(in[i].low).bits));
    REQUIRE(f[i] == (std::uint32_t{f16::from(saturated(in[i].high)).bits} << 16 | f16::from(saturated(in[i].low)).bits));
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  REQUIRE(std::isnan(bf16{static_cast<std::uint16_t>(mapped<packs_bf16, std::uint32_t>(std::vector<two_floats>{{nan, 0}})[0])}.to_float()));
}

TEST_CASE("fma_bf16 rounds once") {
  if (!device_or_skip()) return;
  std::vector<three_words> in;
  std::uint32_t state = 7;
  const auto pair = [&](int range) { return std::uint32_t{bf16::from(any(state, range)).bits} << 16 | bf16::from(any(state, range)).bits; };
  for (int i = 0; i < 4000; ++i) in.push_back({pair(8), pair(8), pair(8)});  // sums are exact in double
  const auto code = [](float x) { return std::uint32_t{bf16::from(x).bits}; };
  // 1.0625 · 1.1875 = 1.26171875, half way between two codes: a tiny addend decides, one too small for a double as well.
  for (const float tiny : {0.0f, 0x1p-30f, -0x1p-30f, 0x1p-100f, -0x1p-100f}) in.push_back({code(1.0625f), code(1.1875f), code(tiny)});
  const auto out = mapped<fuses, std::uint32_t>(in);
  for (std::size_t i = 0; i < in.size(); ++i)
    for (int half = 0; half < 2; ++half) {
      const auto wide = [&](std::uint32_t x) { return double{bf16{static_cast<std::uint16_t>(x >> 16 * half)}.to_float()}; };
      double exact = wide(in[i].a) * wide(in[i].b) + wide(in[i].c);
      if (wide(in[i].c) != 0 && exact == wide(in[i].a) * wide(in[i].b)) exact += std::copysign(0x1p-40, wide(in[i].c));  // any nudge off the tie
      INFO(i << " " << in[i].a << " " << in[i].b << " " << in[i].c);
      REQUIRE((out[i] >> 16 * half & 0xffffu) == nearest_bf16(exact));
    }
}

TEST_CASE("pick_bytes takes bytes of two words by nibbles") {
  if (!device_or_skip()) return;
  std::vector<three_words> in;
  std::uint32_t state = 3;
  for (int i = 0; i < 500; ++i) in.push_back({next(state), next(state), next(state) & 0x7777u});
  const auto out = mapped<picks, std::uint32_t>(in);
  for (std::size_t i = 0; i < in.size(); ++i)
    for (int byte = 0; byte < 4; ++byte) {
      const std::uint32_t n = in[i].c >> 4 * byte & 7u;
      REQUIRE((out[i] >> 8 * byte & 0xffu) == ((n < 4 ? in[i].a >> 8 * n : in[i].b >> 8 * (n - 4)) & 0xffu));
    }
}

TEST_CASE("widen_f16 is exact for every code") {
  if (!device_or_skip()) return;
  std::vector<std::uint16_t> in(1u << 16);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint16_t>(i);
  const auto out = mapped<widens, float>(in);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const float want = f16{in[i]}.to_float();
    if (!(std::isnan(want) && std::isnan(out[i])) && out[i] != want) REQUIRE(out[i] == want);
  }
}

TEST_CASE("exp2 is within 2 ulp, and 0 at minus infinity") {
  if (!device_or_skip()) return;
  std::vector<float> in{-std::numeric_limits<float>::infinity(), 0.0f, 1.0f, -1.0f, -126.0f};
  std::uint32_t state = 9;
  for (int i = 0; i < 4000; ++i) in.push_back(any(state, 6));
  const auto out = mapped<raises, float>(in);
  REQUIRE(out[0] == 0.0f);
  for (std::size_t i = 1; i < in.size(); ++i) {
    if (std::fabs(in[i]) > 126.0f) continue;
    const double want = std::exp2(double{in[i]});
    const float f = static_cast<float>(want);
    REQUIRE(std::fabs(out[i] - want) <= 2.01 * (std::nextafter(f, std::numeric_limits<float>::infinity()) - f));
  }
}

namespace {
/// Fragments from matrices in memory, by the words of the comment in device.cuh.
template <bool Bf16>
__global__ void one_product(const std::uint16_t* a, const std::uint16_t* b, float* c) {
  const std::uint32_t g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto word = [](const std::uint16_t* m, std::uint32_t first, std::uint32_t second) { return std::uint32_t{m[second]} << 16 | m[first]; };
  std::uint32_t x[4], y[2];
  for (std::uint32_t i = 0; i < 4; ++i) {
    const std::uint32_t row = g + (i % 2) * 8, k = 2 * t + (i / 2) * 8;
    x[i] = word(a, row * 16 + k, row * 16 + k + 1);
  }
  for (std::uint32_t i = 0; i < 2; ++i) y[i] = word(b, (2 * t + i * 8) * 8 + g, (2 * t + i * 8 + 1) * 8 + g);
  float z[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
  if constexpr (Bf16) device::mma_bf16(z, x, y);
  else device::mma_f16(z, x, y);
  c[g * 8 + 2 * t] = z[0], c[g * 8 + 2 * t + 1] = z[1], c[(g + 8) * 8 + 2 * t] = z[2], c[(g + 8) * 8 + 2 * t + 1] = z[3];
}
template <class Number>
void check_product(void (*kernel)(const std::uint16_t*, const std::uint16_t*, float*)) {
  std::uint32_t state = 5;
  std::vector<std::uint16_t> a(256), b(128);
  std::vector<float> c(128);
  for (auto& x : a) x = Number::from(any(state, 3)).bits;
  for (auto& x : b) x = Number::from(any(state, 3)).bits;
  for (auto& x : c) x = any(state, 3);
  device_array<std::uint16_t> da(a, "a"), db(b, "b");
  device_array<float> dc(c, "c");
  REQUIRE(device::launch(kernel, {.blocks = 1, .threads = 32}, {}, da.data(), db.data(), dc.data()));
  finish();
  const auto out = dc.download();
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 8; ++j) {
      double want = c[i * 8 + j], size = std::fabs(want);
      for (std::size_t k = 0; k < 16; ++k) {
        const double p = double{Number{a[i * 16 + k]}.to_float()} * Number{b[k * 8 + j]}.to_float();
        want += p, size += std::fabs(p);
      }
      REQUIRE(std::fabs(out[i * 8 + j] - want) <= size * 0x1p-20);
    }
}
}  // namespace
TEST_CASE("mma_bf16 and mma_f16 multiply 16 x 16 by 16 x 8") {
  if (!device_or_skip()) return;
  check_product<bf16>(one_product<true>);
  check_product<f16>(one_product<false>);
}

namespace {
__global__ void staged(const float* in, float* out, std::uint32_t rounds, std::uint32_t* aligned) {
  auto* x = reinterpret_cast<float*>(device::shared_memory());
  if (threadIdx.x == 0) *aligned = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(x) % 128);
  const auto place = [&](std::uint32_t r) { return (r % 3 * blockDim.x + threadIdx.x) * 4; };
  const auto ask = [&](std::uint32_t r) {
    if (r < rounds) device::copy_async(x + place(r), in + (r * blockDim.x + threadIdx.x) * 4);
    device::copy_commit();
  };
  ask(0), ask(1);
  for (std::uint32_t r = 0; r < rounds; ++r) {
    device::copy_wait<1>();
    for (std::uint32_t i = 0; i < 4; ++i) out[(r * blockDim.x + threadIdx.x) * 4 + i] = x[place(r) + i];  // its own copies
    ask(r + 2);
  }
  device::copy_wait<0>();
}
/// Two copies a round to one of two places, whose barrier counts an arrival of each warp.
__global__ void staged_bulk(const float* in, float* out, std::uint32_t rounds) {
  struct memory {
    alignas(16) float x[2][64];
    device::copy_barrier done[2];
  };
  auto& m = *reinterpret_cast<memory*>(device::shared_memory());
  if (threadIdx.x < 2) device::barrier_init(&m.done[threadIdx.x], 2);
  device::fence_async();
  __syncthreads();
  for (std::uint32_t r = 0; r < rounds; ++r) {
    if (threadIdx.x % 32 == 0) {
      device::barrier_expect(&m.done[r % 2], 128);
      device::copy_bulk(m.x[r % 2] + threadIdx.x, in + r * 64 + threadIdx.x, 128, &m.done[r % 2]);
    }
    device::barrier_wait(&m.done[r % 2], r / 2 % 2);
    out[r * 64 + threadIdx.x] = m.x[r % 2][63 - threadIdx.x];
    device::fence_async();
    __syncthreads();
  }
}
__global__ void arrives(std::uint32_t* counter, std::uint32_t* before) {
  if (threadIdx.x == 0) before[blockIdx.x] = device::arrive(counter, 4);
}
__global__ void fills(std::uint32_t* out, std::uint32_t words) {
  auto* x = reinterpret_cast<std::uint32_t*>(device::shared_memory());
  for (std::uint32_t i = threadIdx.x; i < words; i += blockDim.x) x[i] = i;
  __syncthreads();
  if (threadIdx.x == 0) *out = x[words - 1];
}
}  // namespace
TEST_CASE("copies arrive in groups") {
  if (!device_or_skip()) return;
  std::vector<float> values(64 * 4 * 7);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  device_array<float> in(values, "in"), out(values.size(), "out");
  device_array<std::uint32_t> aligned(1, "aligned");
  REQUIRE(device::launch(staged, {.blocks = 1, .threads = 64, .shared_bytes = 3 * 64 * 16}, {}, in.data(), out.data(), 7u, aligned.data()));
  finish();
  REQUIRE(out.download() == values);
  REQUIRE(aligned.download()[0] == 0);
}
TEST_CASE("bulk copies end phases of a barrier") {
  if (!device_or_skip() || device::architectures[0] < 900) return;
  std::vector<float> values(64 * 5), want(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i), want[i] = static_cast<float>(i / 64 * 64 + 63 - i % 64);
  device_array<float> in(values, "in"), out(values.size(), "out");
  REQUIRE(device::launch(staged_bulk, {.blocks = 1, .threads = 64, .shared_bytes = 528}, {}, in.data(), out.data(), 5u));
  finish();
  REQUIRE(out.download() == want);
}
TEST_CASE("arrive counts up and wraps") {
  if (!device_or_skip()) return;
  device_array<std::uint32_t> counter(std::vector<std::uint32_t>(1), "counter"), before(10, "before");
  REQUIRE(device::launch(arrives, {.blocks = 10, .threads = 32}, {}, counter.data(), before.data()));
  finish();
  std::vector<std::uint32_t> seen(5);
  for (const std::uint32_t b : before.download()) ++seen.at(b);
  for (const std::uint32_t n : seen) REQUIRE(n == 2);
  REQUIRE(counter.download()[0] == 0);
}
TEST_CASE("launches take more shared memory than 48 KiB, nothing at all, and say what they cannot take") {
  if (!device_or_skip()) return;
  device_array<std::uint32_t> out(1, "out");
  const std::uint32_t words = 96 * 1024 / 4;
  REQUIRE(device::launch(fills, {.blocks = 1, .threads = 128, .shared_bytes = words * 4}, {}, out.data(), words));
  finish();
  REQUIRE(out.download()[0] == words - 1);
  REQUIRE(device::launch(fills, {.blocks = 0, .threads = 128}, {}, out.data(), words));
  REQUIRE(device::launch(fills, {.blocks = 1, .threads = 0}, {}, out.data(), words));
  REQUIRE(device::launch(fills, {.blocks = 1, .threads = 128, .shared_bytes = 1 << 20}, {}, out.data(), words).code == errc::device);
}

TEST_CASE("memory is given, cleared, copied both ways and taken back") {
  if (!device_or_skip()) return;
  void *there = nullptr, *pinned = nullptr;
  REQUIRE(device::allocate(there, 64));
  REQUIRE(device::allocate_pinned(pinned, 64));
  auto* words = static_cast<std::uint32_t*>(pinned);
  for (std::uint32_t i = 0; i < 16; ++i) words[i] = i + 1;
  REQUIRE(device::copy(there, words, 64, {}));
  REQUIRE(device::clear(static_cast<std::byte*>(there) + 8, 4, {}));
  REQUIRE(device::wait(device::stream{}));
  std::vector<std::uint32_t> got(16);
  REQUIRE(device::copy(got.data(), there, 64, {}));
  REQUIRE(device::wait(device::stream{}));
  CHECK(got[1] == 2);
  CHECK(got[2] == 0);
  CHECK(got[15] == 16);
  device::release(there), device::release_pinned(pinned);
  device::release(nullptr), device::release_pinned(nullptr);
  device::machine m;
  REQUIRE(device::look(m));
  CHECK(m.processors > 0);
  CHECK(m.shared_bytes >= 48 * 1024);
  finish();
}

TEST_CASE("the emulator moves nothing past an allocation, and what nobody wrote stays unwritten") {
  if (!emulated) return;
  const device_array<std::uint32_t> a(4, "a"), b(4, "b");
  std::uint32_t host[5] = {1, 2, 3, 4, 5};
  CHECK(device::copy(a.data(), host, sizeof host, {}).code == errc::device);
  CHECK(device::copy(host, a.data() + 1, 16, {}).code == errc::device);
  CHECK(device::clear(a.data(), 17, {}).code == errc::device);
  REQUIRE(device::copy(a.data(), host, 8, {}));
  REQUIRE(device::copy(b.data(), a.data(), 16, {}));
  const device_array<float> out(2, "out");
  REQUIRE(device::launch(map<widens, std::uint16_t, float>, {.blocks = 1, .threads = 32}, {}, reinterpret_cast<const std::uint16_t*>(b.data()), out.data(), 2u));
  finish();
  CHECK_FALSE(device::launch(map<widens, std::uint16_t, float>, {.blocks = 1, .threads = 32}, {}, reinterpret_cast<const std::uint16_t*>(b.data() + 2), out.data(), 2u));
  CHECK(faults().find("nobody") != std::string::npos);
}
