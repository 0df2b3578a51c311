// SPDX-License-Identifier: Apache-2.0
// Every kind of fault, provoked by a kernel with one mistake: found, in the right thread and block, at the right line. Emulator only.
#include <array>
#include <fstream>

#include "device/memory.hpp"

using namespace quire;
using namespace device_test;
using emulator::fault_kind;

namespace {

/// `faults.cpp:N` of the line of this file that ends with `// mark`.
std::string line_of(const std::string& mark) {
  std::ifstream file(__FILE__);
  std::string line;
  for (int n = 1; std::getline(file, line); ++n)
    if (line.size() > mark.size() + 3 && line.compare(line.size() - mark.size() - 3, std::string::npos, "// " + mark) == 0) return "faults.cpp:" + std::to_string(n);
  return "no line is marked " + mark;
}

struct outcome {
  std::vector<emulator::fault> faults;
  status launched;
  std::string text;
  /// One fault of this kind, whose text has all of `parts`; a part `@mark` is the line with that mark.
  bool has(fault_kind kind, std::initializer_list<std::string> parts) const {
    for (const auto& f : faults) {
      bool all = f.kind == kind;
      for (const auto& p : parts) all = all && f.text.find(p[0] == '@' ? line_of(p.substr(1)) + " " : p) != std::string::npos;
      if (all) return true;
    }
    return false;
  }
};

template <class... P, class... A>
outcome run(std::uint64_t seed, void (*kernel)(P...), device::launch_shape shape, A... arguments) {
  emulator::clear();
  order(seed);
  outcome r;
  r.launched = device::launch(kernel, shape, {}, arguments...);
  r.faults = emulator::faults();
  for (const auto& f : r.faults) r.text += f.text + "\n";
  emulator::clear();
  return r;
}

/// Whatever the order of threads and blocks, one fault of this kind and no other kind.
template <std::uint64_t Seeds = 8, class... P, class... A>
void expect(fault_kind kind, std::initializer_list<std::string> parts, void (*kernel)(P...), device::launch_shape shape, A... arguments) {
  for (std::uint64_t seed = 0; seed < Seeds; ++seed) {
    const outcome r = run(seed, kernel, shape, arguments...);
    INFO("seed " << seed << "\n" << r.text);
    REQUIRE(r.launched.code == errc::device);
    REQUIRE(r.has(kind, parts));
    for (const auto& f : r.faults) REQUIRE(f.kind == kind);
  }
}
template <class... P, class... A>
void expect_clean(void (*kernel)(P...), device::launch_shape shape, A... arguments) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const outcome r = run(seed, kernel, shape, arguments...);
    INFO("seed " << seed << "\n" << r.text);
    REQUIRE(r.launched);
  }
}

std::vector<float> ramp(std::size_t n) {
  std::vector<float> v(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<float>(i);
  return v;
}

// Bounds.
__global__ void past_the_end(float* out, std::uint32_t n) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) out[i] = 1;  // past the end
}
__global__ void before_the_start(const float* in, float* out) {
  out[threadIdx.x] = in[static_cast<int>(threadIdx.x) - 1];  // before the start
}
__global__ void through(const float* in, float* out) {
  if (threadIdx.x == 3) out[0] = in[5];  // through
}
__global__ void past_shared() {
  auto* x = reinterpret_cast<float*>(device::shared_memory());
  x[threadIdx.x] = 0;  // past shared
}
__global__ void past_static(float* out) {
  __shared__ float x[32];
  float* p = x + (threadIdx.x << 18);
  if (threadIdx.x == 16) *p = 1;  // past static
  out[threadIdx.x] = 0;
}
__global__ void half_in(const std::byte* in, std::uint32_t* out) {
  out[threadIdx.x] = *reinterpret_cast<const std::uint32_t*>(in + threadIdx.x * 4);  // half in
}
__global__ void reads_wide(const float* in, float4* out) {
  out[threadIdx.x] = *reinterpret_cast<const float4*>(in + threadIdx.x * 2);  // reads wide
}
__global__ void copies_too_much(const float* in, float* out, std::uint32_t n) {
  std::memcpy(out, in, n * 4);  // copies too much
}
struct table {
  float values[8];
};
__global__ void takes_a_table(table t, float* out) { out[threadIdx.x] = t.values[threadIdx.x]; }
constexpr float constants[4] = {1, 2, 3, 5};
__global__ void reads_constants(const float* at, float* out) { out[threadIdx.x] = at[threadIdx.x]; }
__global__ void shows_a_local(float** where, float* out) {
  float mine = 3;
  if (threadIdx.x == 0) *where = &mine;
  __syncthreads();
  if (threadIdx.x == 1) **where = 4;  // shows a local
  __syncthreads();
  out[threadIdx.x] = mine;
}

}  // namespace

TEST_CASE("accesses past an allocation name it, the place, the thread and the line") {
  device_array<float> out(100, "out"), in(ramp(128), "in");
  expect(fault_kind::out_of_bounds, {"a write of 4 bytes", "'out' + 400 (400 bytes)", "thread 36 of block 1", "@past the end"}, past_the_end, {.blocks = 2, .threads = 64}, out.data(), 100u);
  expect_clean(past_the_end, {.blocks = 2, .threads = 64}, out.data(), 99u);
  expect(fault_kind::out_of_bounds, {"a read of 4 bytes", "'in' - 4 (512 bytes)", "thread 0 of block 0", "@before the start"}, before_the_start, {.blocks = 1, .threads = 32}, in.data(), out.data());
  device_array<std::byte> odd(127, "odd");
  odd.upload(std::vector<std::byte>(127));
  device_array<std::uint32_t> words(32, "words");
  expect(fault_kind::out_of_bounds, {"'odd' + 124", "thread 31", "@half in"}, half_in, {.blocks = 1, .threads = 32}, odd.data(), words.data());
  expect(fault_kind::out_of_bounds, {"a read of 516 bytes", "'in'", "thread 0", "@copies too much"}, copies_too_much, {.blocks = 1, .threads = 1}, in.data(), out.data(), 129u);
}
TEST_CASE("memory that is not the device's is out of bounds") {
  device_array<float> out(4, "out");
  const std::vector<float> host(8);
  static float variable[8];
  float* gone = device_array<float>(ramp(8), "gone").data();
  expect(fault_kind::out_of_bounds, {"no device memory", "thread 3 of block 0", "@through"}, through, {.blocks = 1, .threads = 32}, host.data(), out.data());
  expect(fault_kind::out_of_bounds, {"a variable of the host program", "@through"}, through, {.blocks = 1, .threads = 32}, static_cast<const float*>(variable), out.data());
  expect(fault_kind::out_of_bounds, {"(null)", "@through"}, through, {.blocks = 1, .threads = 32}, static_cast<const float*>(nullptr), out.data());
  expect(fault_kind::out_of_bounds, {"global memory", "@through"}, through, {.blocks = 1, .threads = 32}, static_cast<const float*>(gone), out.data());
  expect_clean(takes_a_table, {.blocks = 1, .threads = 4}, table{{1, 2, 3, 4}}, out.data());
  expect_clean(reads_constants, {.blocks = 1, .threads = 4}, +constants, out.data());
  REQUIRE(out.download()[3] == 5);
  device_array<float*> where(1, "where");
  expect(fault_kind::out_of_bounds, {"a local variable of thread 0", "by thread 1", "@shows a local"}, shows_a_local, {.blocks = 1, .threads = 4}, where.data(), out.data());
}
TEST_CASE("shared memory ends where the launch or the variable does") {
  device_array<float> out(32, "out");
  expect(fault_kind::out_of_bounds, {"dynamic shared memory + 124 (127 bytes)", "thread 31 of block 0", "@past shared"}, past_shared,
         {.blocks = 1, .threads = 32, .shared_bytes = 127});
  expect_clean(past_shared, {.blocks = 1, .threads = 32, .shared_bytes = 128});
  // Far past: what stands right behind it may be a variable of another kernel, which the emulator cannot tell from this one's.
  expect(fault_kind::out_of_bounds, {"thread 16", "@past static"}, past_static, {.blocks = 1, .threads = 32}, out.data());
}
TEST_CASE("wide loads are aligned") {
  device_array<float> in(ramp(64), "in");
  device_array<float4> out(16, "out");
  expect(fault_kind::misaligned, {"a read of 16 bytes", "'in' +", "@reads wide"}, reads_wide, {.blocks = 1, .threads = 16}, in.data(), out.data());
}

// What nobody wrote.
namespace {
__global__ void reads_unwritten(float* out) {
  __shared__ float x[33];
  x[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = x[threadIdx.x + 1];  // unwritten
}
__global__ void copy_one(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x];  // copy one
}
}  // namespace
TEST_CASE("reads of what nobody wrote are found, and may be allowed") {
  device_array<float> out(32, "out"), fresh(32, "fresh");
  expect(fault_kind::uninitialised, {"x + 128", "thread 31 of block 0", "@unwritten"}, reads_unwritten, {.blocks = 1, .threads = 32}, out.data());
  expect(fault_kind::uninitialised, {"'fresh' +", "@copy one"}, copy_one, {.blocks = 1, .threads = 32}, fresh.data(), out.data());
  emulator::options().uninitialised = false;
  device_array<float> other(32, "other");
  expect_clean(copy_one, {.blocks = 1, .threads = 32}, other.data(), out.data());
  for (float x : out.download()) REQUIRE(std::isnan(x));
  expect_clean(reads_unwritten, {.blocks = 1, .threads = 32}, out.data());
  REQUIRE(std::isnan(out.download()[31]));
  emulator::options().uninitialised = true;
}

// Races in a block.
namespace {
template <bool Barrier>
__global__ void neighbours(float* out) {
  __shared__ float x[64];
  x[threadIdx.x] = 1;  // neighbours write
  if constexpr (Barrier) __syncthreads();
  out[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x ^ 32];  // neighbours read
}
template <bool Barrier>
__global__ void two_rounds(float* out) {
  __shared__ float x[64];
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    x[threadIdx.x] = static_cast<float>(round);  // next round
    __syncthreads();
    for (int i = 0; i < 64; ++i) sum += x[i];  // this round
    if constexpr (Barrier) __syncthreads();
  }
  out[blockIdx.x * 64 + threadIdx.x] = sum;
}
__global__ void same_word(float* out) {
  __shared__ float x;
  if (threadIdx.x == 7 || threadIdx.x == 40) x = 1;  // same word
  __syncthreads();
  out[threadIdx.x] = x;
}
/// A shuffle makes lanes meet and orders nothing.
template <bool Sync>
__global__ void warp_exchange(float* out) {
  __shared__ float x[32];
  x[threadIdx.x] = __shfl_xor_sync(~0u, 1.0f, 1);  // exchange write
  if constexpr (Sync) __syncwarp();
  const float v = __shfl_xor_sync(~0u, x[31 - threadIdx.x], 2);  // exchange read
  out[threadIdx.x] = v;
}
template <unsigned Mask>
__global__ void half_warps(float* out) {
  __shared__ float x[32];
  x[threadIdx.x] = 1;
  __syncwarp(threadIdx.x < 16 ? Mask : ~Mask);
  out[threadIdx.x] = x[threadIdx.x ^ 15];  // half warps
}
__global__ void global_in_block(float* x) {
  x[threadIdx.x] = 1;  // global write
  x[threadIdx.x ^ 64] += 1;  // global read
}
template <class T>
__global__ void in_place(T* x) {
  __shared__ T y[64];
  y[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = static_cast<T>(y[threadIdx.x] + 1);
  x[threadIdx.x] = y[threadIdx.x];
}
__global__ void counts(std::uint32_t* out) {
  __shared__ std::uint32_t n;
  if (threadIdx.x == 0) n = 0;
  __syncthreads();
  atomicAdd(&n, threadIdx.x);
  __syncthreads();
  if (threadIdx.x == 0) *out = n;
}
__global__ void counts_and_looks(std::uint32_t* n, std::uint32_t* out) {
  atomicAdd(n, 1u);          // counts
  out[threadIdx.x] = *n;     // looks
}
/// Readers of several warps, then a barrier, then a writer; readers of one warp, then __syncwarp, then another of its lanes.
__global__ void many_readers(float* out) {
  __shared__ float x[32];
  for (int round = 0; round < 3; ++round) {
    if (threadIdx.x < 32) x[threadIdx.x] = 1;
    __syncthreads();
    float sum = 0;
    for (float v : x) sum += v;
    out[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
      for (int i = 0; i < 32; ++i) sum += x[i];
      __syncwarp();
      x[31 - threadIdx.x] = sum;
      __syncwarp();
      out[threadIdx.x] = x[threadIdx.x];
    }
    __syncthreads();
  }
}
__global__ void late_reader(float* out) {
  __shared__ float x[32];
  if (threadIdx.x < 32) x[threadIdx.x] = 1;
  __syncthreads();
  float sum = 0;
  for (float v : x) sum += v;  // late reader
  out[threadIdx.x] = sum;
  if (threadIdx.x < 32) {
    __syncwarp();
    x[31 - threadIdx.x] = sum;  // early writer
  }
}
/// Warp 0 hands a value to warp 1 through a flag.
template <bool Release, bool Acquire>
__global__ void flag(float* value, std::uint32_t* flags, float* out) {
  if (threadIdx.x == 0) {
    *value = 5;  // flag write
    if constexpr (Release) __threadfence_block();
    atomicExch(flags, 1u);
  }
  if (threadIdx.x == 32) {
    while (atomicAdd(flags, 0u) == 0) __nanosleep(10);
    if constexpr (Acquire) __threadfence_block();
    *out = *value;  // flag read
  }
}
}  // namespace
TEST_CASE("a missing barrier is a race, in whichever order the threads ran") {
  device_array<float> out(128, "out");
  expect_clean(neighbours<true>, {.blocks = 2, .threads = 64}, out.data());
  // The reader may also find that nothing was written yet, which is reported too.
  emulator::options().uninitialised = false;
  expect(fault_kind::race, {"x +", "@neighbours write", "@neighbours read", "no barrier between them"}, neighbours<false>, {.blocks = 2, .threads = 64}, out.data());
  emulator::options().uninitialised = true;
  expect_clean(two_rounds<true>, {.blocks = 2, .threads = 64}, out.data());
  expect(fault_kind::race, {"@next round", "@this round"}, two_rounds<false>, {.blocks = 2, .threads = 64}, out.data());
  expect(fault_kind::race, {"a write of 4 bytes", "thread 7", "thread 40", "@same word"}, same_word, {.blocks = 1, .threads = 64}, out.data());
}
TEST_CASE("shuffles order no memory, __syncwarp does") {
  device_array<float> out(32, "out");
  expect_clean(warp_exchange<true>, {.blocks = 1, .threads = 32}, out.data());
  emulator::options().uninitialised = false;
  expect(fault_kind::race, {"@exchange write", "@exchange read"}, warp_exchange<false>, {.blocks = 1, .threads = 32}, out.data());
  expect_clean(half_warps<0x0000ffffu>, {.blocks = 1, .threads = 32}, out.data());
  emulator::options().uninitialised = true;
}
TEST_CASE("races on global memory inside a block") {
  device_array<float> x(ramp(128), "x");
  expect(fault_kind::race, {"'x' +", "@global write", "@global read"}, global_in_block, {.blocks = 1, .threads = 128}, x.data());
}
TEST_CASE("neighbouring bytes are different places") {
  device_array<std::uint8_t> bytes(std::vector<std::uint8_t>(64, 1), "bytes");
  device_array<std::uint16_t> words(std::vector<std::uint16_t>(64, 1), "words");
  expect_clean(in_place<std::uint8_t>, {.blocks = 1, .threads = 64}, bytes.data());
  expect_clean(in_place<std::uint16_t>, {.blocks = 1, .threads = 64}, words.data());
}
TEST_CASE("atomics do not race with each other, but with plain accesses") {
  device_array<std::uint32_t> n(std::vector<std::uint32_t>(1), "n"), out(64, "out");
  expect_clean(counts, {.blocks = 1, .threads = 64}, out.data());
  REQUIRE(out.download()[0] == 63 * 32);
}
TEST_CASE("plain reads of what others update atomically are races") {
  device_array<std::uint32_t> n(std::vector<std::uint32_t>(1), "n"), out(64, "out");
  expect(fault_kind::race, {"'n' + 0", "@looks"}, counts_and_looks, {.blocks = 1, .threads = 64}, n.data(), out.data());
}
TEST_CASE("reads by many threads are remembered until a barrier") {
  device_array<float> out(128, "out");
  expect_clean(many_readers, {.blocks = 1, .threads = 128}, out.data());
  expect(fault_kind::race, {"x +", "@early writer", "@late reader"}, late_reader, {.blocks = 1, .threads = 128}, out.data());
}

// Across blocks.
namespace {
__global__ void all_blocks_write(float* x) {
  x[threadIdx.x] = 1;  // all blocks
}
__global__ void reads_the_other(const float*, float* x, float* out) {
  x[blockIdx.x] = 1;                     // own value
  out[blockIdx.x] = x[1 - blockIdx.x];   // other's value
}
enum class mistake { none, no_barrier, late_write, no_first_fence, no_second_fence, all_fence };
/// Each block leaves its sum in `partial`; the last to arrive adds them up.
template <mistake M>
__global__ void last_arriver(const float* in, std::uint32_t each, float* partial, std::uint32_t* counter, float* out) {
  __shared__ float x[2];
  __shared__ bool last;
  float sum = 0;
  for (std::uint32_t i = threadIdx.x; i < each; i += blockDim.x) sum += in[blockIdx.x * each + i];
  for (int d = 16; d != 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
  if (threadIdx.x % 32 == 0) x[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 2) partial[blockIdx.x * 2 + threadIdx.x] = x[threadIdx.x];  // partial
  if constexpr (M == mistake::all_fence) __threadfence();
  if constexpr (M != mistake::no_barrier) __syncthreads();
  if (threadIdx.x == 0) {
    if constexpr (M == mistake::no_first_fence) {
      last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
      __threadfence();
    } else if constexpr (M == mistake::no_second_fence) {
      __threadfence();
      last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
    } else if constexpr (M == mistake::all_fence) {
      last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
      __threadfence();
    } else {
      last = device::arrive(counter, gridDim.x - 1) == gridDim.x - 1;
    }
    if constexpr (M == mistake::late_write) partial[blockIdx.x * 2] = x[0];  // late write
  }
  __syncthreads();
  if (last && threadIdx.x == 32) {
    float all = 0;
    for (std::uint32_t b = 0; b < gridDim.x * 2; ++b) all += partial[b];  // gather
    *out = all;
  }
}
}  // namespace
TEST_CASE("blocks of a launch that touch the same bytes race") {
  device_array<float> x(64, "x"), out(2, "out");
  expect(fault_kind::race_between_blocks, {"'x' + ", "a write by thread", "of block", "@all blocks", "no fence and atomic"}, all_blocks_write, {.blocks = 3, .threads = 64}, x.data());
  x.upload(std::vector<float>(64));
  expect(fault_kind::race_between_blocks, {"@own value", "@other's value"}, reads_the_other, {.blocks = 2, .threads = 1}, static_cast<const float*>(nullptr), x.data(), out.data());
}
TEST_CASE("the last block to arrive sees what the others wrote before") {
  device_array<float> in(ramp(500), "in"), partial(10, "partial"), out(1, "out");
  device_array<std::uint32_t> counter(std::vector<std::uint32_t>(1), "counter");
  const device::launch_shape shape{.blocks = 5, .threads = 64};
  const auto clean = [&](auto kernel) {
    expect_clean(kernel, shape, in.data(), 100u, partial.data(), counter.data(), out.data());
    REQUIRE(out.download()[0] == 499 * 250);
    REQUIRE(counter.download()[0] == 0);
  };
  const auto faulty = [&](auto kernel, std::initializer_list<std::string> parts) {
    expect(fault_kind::race_between_blocks, parts, kernel, shape, in.data(), 100u, partial.data(), counter.data(), out.data());
  };
  clean(last_arriver<mistake::none>);
  clean(last_arriver<mistake::all_fence>);
  faulty(last_arriver<mistake::no_barrier>, {"'partial' +", "@gather", "@partial"});
  faulty(last_arriver<mistake::no_first_fence>, {"'partial' +", "@gather", "@partial"});
  faulty(last_arriver<mistake::no_second_fence>, {"'partial' +", "@gather", "@partial"});
  faulty(last_arriver<mistake::late_write>, {"'partial' +", "@late write"});
}
TEST_CASE("a flag between warps needs fences on both sides") {
  device_array<float> value(1, "value"), out(1, "out");
  device_array<std::uint32_t> flags(std::vector<std::uint32_t>(1), "flags");
  const device::launch_shape shape{.blocks = 1, .threads = 64};
  const auto with = [&](auto kernel, bool clean) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      flags.upload(std::vector<std::uint32_t>(1));
      const outcome r = run(seed, kernel, shape, value.data(), flags.data(), out.data());
      INFO(r.text);
      REQUIRE(static_cast<bool>(r.launched) == clean);
      if (!clean) REQUIRE(r.has(fault_kind::race, {"'value' + 0", "@flag write", "@flag read"}));
      REQUIRE(out.download()[0] == 5);
    }
  };
  with(flag<true, true>, true);
  with(flag<false, true>, false);
  with(flag<true, false>, false);
}

// Who waits for whom.
namespace {
__global__ void half_shuffle(int* out) {
  int v = 0;
  if (threadIdx.x % 32 < 16) v = __shfl_xor_sync(~0u, 1, 1);  // half shuffle
  out[threadIdx.x] = v;
}
__global__ void shuffle_or_sync(int* out) {
  int v = 0;
  if (threadIdx.x == 5) __syncwarp();  // or sync
  else v = __shfl_xor_sync(~0u, 1, 1);  // or shuffle
  out[threadIdx.x] = v;
}
__global__ void foreign_mask(int* out) {
  out[threadIdx.x] = __shfl_sync(0xffffu, 1, 0);  // foreign mask
}
__global__ void takes_from_outside(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);  // from outside
}
__global__ void early_return(float* out) {
  if (threadIdx.x >= 96) return;
  __syncthreads();  // early return
  out[threadIdx.x] = 1;
}
__global__ void barrier_or_shuffle(float* out) {
  if (threadIdx.x < 32) out[threadIdx.x] = __shfl_xor_sync(~0u, 1.0f, 1);
  else __syncthreads();  // barrier or shuffle
}
__global__ void two_barriers(int* out) {
  if (threadIdx.x < 32) out[threadIdx.x] = __syncthreads_or(1);
  else __syncthreads();
}
__global__ void lonely_product(float* out) {
  float c[4] = {};
  const std::uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x != 9) device::mma_bf16(c, a, b);  // lonely product
  out[threadIdx.x] = c[0];
}
__global__ void disjoint_halves(int* out) {
  const unsigned mask = threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u;
  int v = static_cast<int>(threadIdx.x);
  if (threadIdx.x % 32 < 16) v += __shfl_xor_sync(mask, v, 1);
  else v -= __shfl_xor_sync(mask, v, 2) + __any_sync(mask, 1);
  out[threadIdx.x] = v;
}
}  // namespace
TEST_CASE("lanes that wait for lanes that do not come are told apart") {
  device_array<int> out(64, "out");
  device_array<float> values(128, "values");
  expect(fault_kind::divergent, {"threads 0-15", "__shfl_xor_sync (lanes 0xffffffff, ", "@half shuffle", "have ended"}, half_shuffle, {.blocks = 1, .threads = 32}, out.data());
  expect(fault_kind::divergent, {"threads 0-4, 6-31 wait at __shfl_xor_sync", "thread 5 waits at __syncwarp", "@or sync", "@or shuffle"}, shuffle_or_sync, {.blocks = 1, .threads = 32}, out.data());
  expect(fault_kind::divergent, {"lacks its lane", "@foreign mask"}, foreign_mask, {.blocks = 1, .threads = 32}, out.data());
  expect(fault_kind::divergent, {"takes from lane 20", "@from outside"}, takes_from_outside, {.blocks = 1, .threads = 32}, out.data());
  expect(fault_kind::divergent, {"mma_bf16", "thread 9 has ended", "@lonely product"}, lonely_product, {.blocks = 1, .threads = 32}, values.data());
  expect(fault_kind::divergent, {"__shfl_xor_sync"}, half_shuffle, {.blocks = 1, .threads = 8}, out.data());
  expect_clean(disjoint_halves, {.blocks = 1, .threads = 64}, out.data());
}
TEST_CASE("a barrier that part of a block reaches is no hang") {
  device_array<float> out(128, "out");
  device_array<int> number(32, "number");
  expect(fault_kind::divergent_barrier, {"threads 0-95 wait at __syncthreads", "threads 96-127 have ended", "@early return"}, early_return, {.blocks = 2, .threads = 128}, out.data());
  expect(fault_kind::divergent_barrier, {"threads 32-63 wait at __syncthreads", "threads 0-31 have ended", "@barrier or shuffle"}, barrier_or_shuffle, {.blocks = 1, .threads = 64}, out.data());
  expect(fault_kind::divergent_barrier, {"another kind of __syncthreads"}, two_barriers, {.blocks = 1, .threads = 64}, number.data());
}

// Copies.
namespace {
enum class copying { right, no_wait, wait_for_older, no_commit, no_barrier, twice, abandoned, to_global, misaligned };
template <copying C>
__global__ void copies(const float* in, float* out) {
  auto* x = reinterpret_cast<float*>(device::shared_memory());
  const std::uint32_t t = threadIdx.x;
  if constexpr (C == copying::to_global) device::copy_async(out, in);  // to global
  if constexpr (C == copying::misaligned) device::copy_async(x + t * 4 + 2, in);  // to odd places
  device::copy_async(x + t * 4, in + t * 4);  // first copy
  if constexpr (C == copying::twice) device::copy_async(x + t * 4, in + t * 4);  // second copy
  if constexpr (C != copying::no_commit) device::copy_commit();
  if constexpr (C == copying::wait_for_older) device::copy_wait<1>();
  else if constexpr (C != copying::no_wait && C != copying::abandoned) device::copy_wait<0>();
  if constexpr (C == copying::abandoned) return;
  if constexpr (C != copying::no_barrier) __syncthreads();
  for (std::uint32_t i = 0; i < 4; ++i) out[t * 4 + i] = x[(t ^ 32) * 4 + i];  // use
  if constexpr (C == copying::no_wait || C == copying::wait_for_older) device::copy_wait<0>();
}
/// Two stages; the second copy to a stage may begin when everybody has read it.
template <bool Barrier>
__global__ void pipeline(const float* in, float* out, std::uint32_t rounds) {
  auto* x = reinterpret_cast<float*>(device::shared_memory());
  const std::uint32_t t = threadIdx.x;
  const auto ask = [&](std::uint32_t r) {
    if (r < rounds) device::copy_async(x + (r % 2 * blockDim.x + t) * 4, in + (r * blockDim.x + t) * 4);  // ask
    device::copy_commit();
  };
  ask(0);
  float sum = 0;
  for (std::uint32_t r = 0; r < rounds; ++r) {
    ask(r + 1);
    device::copy_wait<1>();
    __syncthreads();
    sum += x[(r % 2 * blockDim.x + (t ^ 32)) * 4];  // read a stage
    if constexpr (Barrier) __syncthreads();
  }
  device::copy_wait<0>();
  out[t] = sum;
}
}  // namespace
TEST_CASE("copies are there after the wait that leaves their group out, and for others after the barrier") {
  device_array<float> in(ramp(256), "in"), out(256, "out");
  const device::launch_shape shape{.blocks = 1, .threads = 64, .shared_bytes = 1024};
  expect_clean(copies<copying::right>, shape, in.data(), out.data());
  const auto values = out.download();
  for (std::uint32_t i = 0; i < 256; ++i) REQUIRE(values[i] == static_cast<float>((i + 128) % 256));
  expect(fault_kind::unfinished_copy, {"a read of 4 bytes", "dynamic shared memory +", "@use", "yet to write"}, copies<copying::no_wait>, shape, in.data(), out.data());
  expect(fault_kind::unfinished_copy, {"@use"}, copies<copying::wait_for_older>, shape, in.data(), out.data());
  expect(fault_kind::unfinished_copy, {"@use"}, copies<copying::no_commit>, shape, in.data(), out.data());
  expect(fault_kind::unfinished_copy, {"@second copy"}, copies<copying::twice>, shape, in.data(), out.data());
  expect(fault_kind::abandoned_copy, {"1 copies of thread", "@first copy"}, copies<copying::abandoned>, shape, in.data(), out.data());
  expect(fault_kind::out_of_bounds, {"'out' + 0", "not shared memory", "@to global"}, copies<copying::to_global>, shape, in.data(), out.data());
  expect(fault_kind::misaligned, {"dynamic shared memory +", "@to odd places"}, copies<copying::misaligned>, shape, in.data(), out.data());
  const outcome r = run(0, copies<copying::no_barrier>, shape, in.data(), out.data());
  INFO(r.text);
  REQUIRE((r.has(fault_kind::race, {"@use", "@first copy"}) || r.has(fault_kind::unfinished_copy, {"@use"})));
}
TEST_CASE("a copy to a stage that others still read is a race") {
  device_array<float> in(ramp(64 * 4 * 6), "in"), out(64, "out");
  const device::launch_shape shape{.blocks = 1, .threads = 64, .shared_bytes = 2048};
  expect_clean(pipeline<true>, shape, in.data(), out.data(), 6u);
  float sum = 0;
  for (std::uint32_t r = 0; r < 6; ++r) sum += static_cast<float>((r * 64 + 32) * 4);
  REQUIRE(out.download()[0] == sum);
  const outcome r = run(1, pipeline<false>, shape, in.data(), out.data(), 6u);
  INFO(r.text);
  REQUIRE_FALSE(r.launched);
  REQUIRE((r.has(fault_kind::race, {"@ask", "@read a stage"}) || r.has(fault_kind::unfinished_copy, {"@read a stage"})));
}

// Bulk copies.
namespace {
enum class bulk { right, no_wait, next_parity, other_stage, no_barrier_before_reuse, no_fence_before_reuse, no_fence, no_fence_of_init, no_barrier_after_init, fewer_bytes, more_bytes, no_arrival, two_arrivals, abandoned, made_twice,
                  never_made, odd_place, odd_source, odd_bytes, past_source, past_shared, to_global, over_barrier, touched_barrier, twice };
/// Stages of 512 bytes in turn, from `in` [rounds][128 floats]: thread 0 asks, everybody reads.
template <bulk B>
__global__ void stages(const float* in, float* out, std::uint32_t rounds) {
  struct memory {
    alignas(16) float x[2][128];
    device::copy_barrier done[2];
  };
  auto& m = *reinterpret_cast<memory*>(device::shared_memory());
  const std::uint32_t t = threadIdx.x;
  if (t == 0 && B != bulk::never_made)
    for (std::uint32_t s = 0; s < 2; ++s) device::barrier_init(&m.done[s], 1);  // make
  if constexpr (B == bulk::made_twice)
    if (t == 0) device::barrier_init(&m.done[1], 1);  // make again
  m.x[0][t] = m.x[1][t] = 1;  // before copies
  if constexpr (B != bulk::no_fence && B != bulk::no_fence_of_init) device::fence_async();
  if constexpr (B == bulk::no_fence_of_init)
    if (t != 0) device::fence_async();
  if constexpr (B != bulk::no_barrier_after_init) __syncthreads();
  const auto ask = [&](std::uint32_t r) {
    if (t != 0 || r >= rounds) return;
    device::copy_barrier* done = &m.done[r % 2];
    float* to = m.x[r % 2];
    const float* from = in + r * 128;
    if constexpr (B != bulk::no_arrival) device::barrier_expect(done, B == bulk::fewer_bytes ? 496 : B == bulk::more_bytes ? 528 : 512);  // expect
    if constexpr (B == bulk::two_arrivals) device::barrier_expect(done, 0);  // expect again
    if constexpr (B == bulk::odd_place) to += 2;
    if constexpr (B == bulk::odd_source) from += 2;
    if constexpr (B == bulk::past_source) from += (rounds - 1) * 128 + 4;
    if constexpr (B == bulk::past_shared) to += 2 * 128;
    if constexpr (B == bulk::to_global) to = out;
    if constexpr (B == bulk::over_barrier) to += 2 * 128 - 124;
    device::copy_bulk(to, from, B == bulk::odd_bytes ? 504 : 512, done);  // ask bulk
    if constexpr (B == bulk::twice) device::copy_bulk(to + 4, from, 16, done);  // ask twice
  };
  ask(0);
  float sum = 0;
  for (std::uint32_t r = 0; r < rounds; ++r) {
    if constexpr (B != bulk::no_fence_before_reuse) device::fence_async();
    if constexpr (B != bulk::no_barrier_before_reuse) __syncthreads();
    ask(r + 1);
    if constexpr (B == bulk::abandoned) return;
    if constexpr (B != bulk::no_wait) device::barrier_wait(&m.done[B == bulk::other_stage ? (r + 1) % 2 : r % 2], B == bulk::next_parity ? r / 2 % 2 + 1 : r / 2 % 2);  // wait for bulk
    if constexpr (B == bulk::touched_barrier) sum += static_cast<float>(m.done[0].state);  // touch
    sum += m.x[r % 2][t ^ 32];  // use bulk
  }
  out[t] = sum;
}
}  // namespace
TEST_CASE("bulk copies come in phases of their barriers, whenever they end") {
  device_array<float> in(ramp(128 * 6), "in"), out(128, "out");
  const device::launch_shape shape{.blocks = 1, .threads = 128, .shared_bytes = 1040};
  expect_clean(stages<bulk::right>, shape, in.data(), out.data(), 6u);
  float sum = 0;
  for (std::uint32_t r = 0; r < 6; ++r) sum += static_cast<float>(r * 128 + 32);
  REQUIRE(out.download()[0] == sum);
  const auto run_into = [&]<bulk B>(fault_kind kind, std::initializer_list<std::string> parts) { expect<3>(kind, parts, stages<B>, shape, in.data(), out.data(), 6u); };
  run_into.template operator()<bulk::no_wait>(fault_kind::unfinished_copy, {"a read of 4 bytes", "dynamic shared memory +", "@use bulk", "yet to write"});
  run_into.template operator()<bulk::abandoned>(fault_kind::abandoned_copy, {"bulk copies that nobody waited for", "thread 0", "@ask bulk"});
  run_into.template operator()<bulk::fewer_bytes>(fault_kind::hang, {"@wait for bulk", "phase of parity 0", "@make", "0 of 1 arrivals and 16 bytes more have come than were announced"});
  run_into.template operator()<bulk::more_bytes>(fault_kind::hang, {"@wait for bulk", "phase of parity 0", "0 of 1 arrivals and 16 bytes are to come"});
  run_into.template operator()<bulk::no_arrival>(fault_kind::hang, {"@wait for bulk", "1 of 1 arrivals and 512 bytes more have come"});
  run_into.template operator()<bulk::two_arrivals>(fault_kind::bad_barrier, {"one arrival more than a phase counts", "@expect again", "@make"});
  run_into.template operator()<bulk::made_twice>(fault_kind::bad_barrier, {"thread 0", "@make again", "@make"});
  run_into.template operator()<bulk::never_made>(fault_kind::bad_barrier, {"nobody made one", "@expect"});
  run_into.template operator()<bulk::touched_barrier>(fault_kind::bad_barrier, {"a read of 8 bytes", "@touch", "@make"});
  run_into.template operator()<bulk::over_barrier>(fault_kind::bad_barrier, {"a write of 512 bytes", "@ask bulk", "@make"});
  run_into.template operator()<bulk::odd_place>(fault_kind::misaligned, {"dynamic shared memory + 8", "@ask bulk"});
  run_into.template operator()<bulk::odd_source>(fault_kind::misaligned, {"'in' + 8", "@ask bulk"});
  run_into.template operator()<bulk::odd_bytes>(fault_kind::misaligned, {"504 bytes", "@ask bulk"});
  run_into.template operator()<bulk::past_source>(fault_kind::out_of_bounds, {"a read of 512 bytes", "'in' +", "@ask bulk"});
  run_into.template operator()<bulk::to_global>(fault_kind::out_of_bounds, {"'out' + 0", "not shared memory", "@ask bulk"});
  run_into.template operator()<bulk::twice>(fault_kind::unfinished_copy, {"@ask twice"});
  // Whichever comes first of what a mistake leads to.
  const auto run_into_one = [&]<bulk B>(fault_kind one, std::initializer_list<std::string> parts, fault_kind other, std::initializer_list<std::string> other_parts) {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      const outcome r = run(seed, stages<B>, shape, in.data(), out.data(), 6u);
      INFO("seed " << seed << "\n" << r.text);
      REQUIRE((r.has(one, parts) || r.has(other, other_parts)));
    }
  };
  run_into_one.template operator()<bulk::past_shared>(fault_kind::out_of_bounds, {"a write of 512 bytes", "@ask bulk"}, fault_kind::bad_barrier, {"a write of 512 bytes", "@ask bulk"});
  run_into_one.template operator()<bulk::next_parity>(fault_kind::unfinished_copy, {"@use bulk", "yet to write"}, fault_kind::hang, {"@wait for bulk", "phase of parity 1", "phase 1: 1 of 1 arrivals"});
  run_into_one.template operator()<bulk::other_stage>(fault_kind::unfinished_copy, {"@use bulk"}, fault_kind::race, {"@use bulk", "@ask bulk"});
}
TEST_CASE("bulk copies go behind fences and barriers to where threads have been") {
  device_array<float> in(ramp(128 * 6), "in"), out(128, "out");
  const device::launch_shape shape{.blocks = 1, .threads = 128, .shared_bytes = 1040};
  const auto run_into = [&]<bulk B>(fault_kind kind, std::initializer_list<std::string> parts) { expect<3>(kind, parts, stages<B>, shape, in.data(), out.data(), 6u); };
  run_into.template operator()<bulk::no_fence>(fault_kind::unfenced_copy, {"@ask bulk"});
  run_into.template operator()<bulk::no_fence_of_init>(fault_kind::unfenced_copy, {"@ask bulk", "@make"});
  run_into.template operator()<bulk::no_fence_before_reuse>(fault_kind::unfenced_copy, {"after a read of 1 byte", "@use bulk", "@ask bulk"});
  // A race with the copy, or what other threads find: a barrier that is still to be made, a copy under way.
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const outcome reused = run(seed, stages<bulk::no_barrier_before_reuse>, shape, in.data(), out.data(), 6u), early = run(seed, stages<bulk::no_barrier_after_init>, shape, in.data(), out.data(), 6u);
    INFO("seed " << seed << "\n" << reused.text << early.text);
    REQUIRE((reused.has(fault_kind::race, {"@ask bulk", "@use bulk"}) || reused.has(fault_kind::unfinished_copy, {"@use bulk"})));
    REQUIRE((early.has(fault_kind::race, {"@make"}) || early.has(fault_kind::race, {"@ask bulk", "@before copies"}) || early.has(fault_kind::bad_barrier, {"nobody made one"}) || early.has(fault_kind::unfinished_copy, {"@before copies"})));
  }
}

// The rest.
namespace {
__global__ void index_past(float* out, std::uint32_t n) {
  float x[4] = {1, 2, 3, 4};
  float sum = 0;
  for (std::uint32_t i = 0; i < n; ++i) sum += x[i], x[i] = sum;  // index past
  out[threadIdx.x] = sum + x[0];
}
__global__ void shifts(std::uint32_t* out, std::uint32_t by) {
  out[threadIdx.x] = 1u << (threadIdx.x + by);  // shifts
}
__global__ void divides(std::uint32_t* out, std::uint32_t by) {
  out[threadIdx.x] = 100u / (by - threadIdx.x);  // divides
}
__global__ void asserts(std::uint32_t* out) {
  if (threadIdx.x == 2) __builtin_trap();  // asserts
  out[threadIdx.x] = 1;
}
[[gnu::noinline]] float deep(float x, int n) {
  volatile float room[512];
  room[n % 512] = x;
  return n == 0 ? x : deep(x + 1, n - 1) + room[n % 512];  // deep
}
__global__ void recurses(float* out) { out[threadIdx.x] = deep(1, 1000); }
__global__ void tickets(std::uint32_t* next, std::uint32_t* order) {
  const std::uint32_t mine = atomicAdd(next, 1u);
  order[mine] = blockIdx.x * blockDim.x + threadIdx.x;
}
__global__ void waits_forever(std::uint32_t* flag) {
  while (atomicAdd(flag, 0u) == 0) {}  // waits forever
}
__global__ void nothing() {}
}  // namespace
TEST_CASE("indices, shifts, divisions, traps and stacks") {
  device_array<float> out(8, "out");
  device_array<std::uint32_t> words(8, "words");
  expect_clean(index_past, {.blocks = 1, .threads = 2}, out.data(), 4u);
  expect(fault_kind::undefined, {"index 4 past the end", "@index past"}, index_past, {.blocks = 1, .threads = 2}, out.data(), 5u);
  expect(fault_kind::undefined, {"a shift by 32", "thread 3", "@shifts"}, shifts, {.blocks = 1, .threads = 4}, words.data(), 29u);
  expect(fault_kind::trap, {"division by zero", "thread 3", "@divides"}, divides, {.blocks = 1, .threads = 4}, words.data(), 3u);
  expect(fault_kind::trap, {"broken precondition", "thread 2", "@asserts"}, asserts, {.blocks = 1, .threads = 4}, words.data());
  const outcome r = run(0, recurses, {.blocks = 1, .threads = 1}, out.data());
  INFO(r.text);
  REQUIRE(r.has(fault_kind::trap, {"a stack that is full"}));
}
TEST_CASE("a flag that nobody raises is no hang") {
  device_array<std::uint32_t> flag(std::vector<std::uint32_t>(1), "flag");
  const outcome r = run(0, waits_forever, {.blocks = 1, .threads = 2}, flag.data());
  INFO(r.text);
  REQUIRE(r.has(fault_kind::divergent, {"nothing but atomics", "@waits forever"}));
}
TEST_CASE("a seed repeats, others differ") {
  const auto orders = [](std::uint64_t seed) {
    device_array<std::uint32_t> next(std::vector<std::uint32_t>(1), "next"), taken(256, "taken");
    const outcome r = run(seed, tickets, {.blocks = 4, .threads = 64}, next.data(), taken.data());
    REQUIRE(r.launched);
    return taken.download();
  };
  auto first = orders(0);
  for (std::uint32_t i = 0; i < 256; ++i) REQUIRE(first[i] == i);
  const auto seventh = orders(7);
  REQUIRE(seventh == orders(7));
  REQUIRE(seventh != orders(8));
  auto sorted = seventh;
  std::sort(sorted.begin(), sorted.end());
  REQUIRE(sorted == first);
}
TEST_CASE("faults of a seed repeat word for word") {
  device_array<float> out(64, "out");
  REQUIRE(run(5, late_reader, {.blocks = 1, .threads = 128}, device_array<float>(128, "a").data()).faults.size() >= 1);
  device_array<float> wide(128, "wide");
  REQUIRE(run(5, late_reader, {.blocks = 1, .threads = 128}, wide.data()).text == run(5, late_reader, {.blocks = 1, .threads = 128}, wide.data()).text);
}
namespace {
__global__ void fill(float* x, std::uint32_t n) {
  for (std::uint32_t i = threadIdx.x; i < n; i += blockDim.x) x[i] = 1;
}
std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * 4096;
}
}  // namespace
TEST_CASE("memory that was released takes none, and its shadow neither") {
  const std::uint32_t n = 1 << 18;
  const std::size_t before = resident_bytes();
  for (int i = 0; i < 20; ++i) {
    device_array<float> x(n, "x");
    REQUIRE(device::launch(fill, {.blocks = 1, .threads = 32}, {}, x.data(), n));
  }
  REQUIRE(resident_bytes() < before + 8 * n * 4);  // one array's shadow is 17 times its size
}
TEST_CASE("launches that no device takes are refused, empty ones are nothing") {
  REQUIRE(run(0, nothing, {.blocks = 1, .threads = 1025}).launched.code == errc::device);
  REQUIRE(run(0, nothing, {.blocks = 1, .threads = 32, .shared_bytes = 1 << 18}).launched.code == errc::device);
  REQUIRE(run(0, nothing, {.blocks = 0, .threads = 32}).launched);
  REQUIRE(run(0, nothing, {.blocks = 1, .threads = 0}).launched);
  REQUIRE(run(0, nothing, {.blocks = 3, .threads = 1024, .shared_bytes = emulator::most_shared}).launched);
}
