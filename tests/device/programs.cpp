// SPDX-License-Identifier: Apache-2.0
// Whole programs in miniature, right for every order of blocks, warps and lanes: a reduction, a product on tensor cores, copies in
// two stages, a merge by whoever arrives last.
#include <numeric>

#include "device/memory.hpp"
#include "quire/core/number.hpp"

using namespace quire;
using namespace device_test;

namespace {

__global__ void reduce(const float* in, std::uint32_t n, float* partial, std::uint32_t* arrivals, float* out) {
  __shared__ float warps[32];
  __shared__ bool last;
  float x = 0;
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) x += in[i];
  for (int d = 16; d != 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  if (threadIdx.x < 32) {
    x = threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : 0.0f;
    for (int d = 16; d != 0; d /= 2) x += __shfl_down_sync(~0u, x, static_cast<unsigned>(d));
    if (threadIdx.x == 0) {
      partial[blockIdx.x] = x;
      last = device::arrive(arrivals, gridDim.x - 1) == gridDim.x - 1;
    }
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float sum = 0;
  for (std::uint32_t b = 0; b < gridDim.x; ++b) sum += partial[b];
  *out = sum;
}

/// c [64 blocks][64] = a·bᵀ for rows of k numbers: 128 threads, sixteen rows a warp, two stages of copies.
template <class Number>
__global__ void multiply(const Number* a, const Number* b, float* c, std::uint32_t k) {
  constexpr std::uint32_t stride = 12, matrix = 64 * stride;  // words: 16 numbers and padding
  auto* stages = reinterpret_cast<std::uint32_t*>(device::shared_memory());  // [stage][a, b][64][stride]
  const std::uint32_t warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const auto ask = [&](std::uint32_t step) {
    if (step * 16 < k)
      for (std::uint32_t i = threadIdx.x; i < 256; i += 128) {
        const std::uint32_t row = i % 128 / 2, half = i % 2;
        const Number* from = i < 128 ? a + (blockIdx.x * 64 + row) * k : b + row * k;
        device::copy_async(stages + (step % 2 * 2 + i / 128) * matrix + row * stride + half * 4, from + step * 16 + half * 8);
      }
    device::copy_commit();
  };
  float sums[8][4] = {};
  ask(0);
  for (std::uint32_t step = 0; step < k / 16; ++step) {
    ask(step + 1);
    device::copy_wait<1>();
    __syncthreads();
    const std::uint32_t* x = stages + step % 2 * 2 * matrix + (warp * 16 + g) * stride + t;
    const std::uint32_t words[4] = {x[0], x[8 * stride], x[4], x[8 * stride + 4]};
    for (std::uint32_t n = 0; n < 8; ++n) {
      const std::uint32_t* y = stages + (step % 2 * 2 + 1) * matrix + (n * 8 + g) * stride + t;
      if constexpr (std::is_same_v<Number, bf16>) device::mma_bf16(sums[n], words, {y[0], y[4]});
      else device::mma_f16(sums[n], words, {y[0], y[4]});
    }
    __syncthreads();
  }
  for (std::uint32_t n = 0; n < 8; ++n)
    for (std::uint32_t i = 0; i < 4; ++i) c[(blockIdx.x * 64 + warp * 16 + g + i / 2 * 8) * 64 + n * 8 + 2 * t + i % 2] = sums[n][i];
}

/// Counts of values below 64, in shared memory, then added up by all blocks.
__global__ void histogram(const std::uint8_t* in, std::uint32_t n, std::uint32_t* bins) {
  __shared__ std::uint32_t mine[64];
  if (threadIdx.x < 64) mine[threadIdx.x] = 0;
  __syncthreads();
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(mine + in[i], 1u);
  __syncthreads();
  if (threadIdx.x < 64) atomicAdd(bins + threadIdx.x, mine[threadIdx.x]);
}

/// Positions of set flags, in order: ballots inside a warp, a scan over warps.
__global__ void compact(const std::uint8_t* flags, std::uint32_t n, std::uint32_t* out, std::uint32_t* count) {
  __shared__ std::uint32_t before[33];
  const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, i = threadIdx.x;
  const bool set = i < n && flags[i] != 0;
  const std::uint32_t ballot = __ballot_sync(~0u, set);
  if (lane == 0) before[warp + 1] = static_cast<std::uint32_t>(__popc(ballot));
  const int all = __syncthreads_count(set);
  if (warp == 0) {
    std::uint32_t x = lane < blockDim.x / 32 ? before[lane + 1] : 0;
    for (unsigned d = 1; d < 32; d *= 2)
      if (const std::uint32_t y = __shfl_up_sync(~0u, x, d); lane >= d) x += y;
    if (lane < blockDim.x / 32) before[lane + 1] = x;
    if (lane == 0) before[0] = 0;
  }
  __syncthreads();
  if (set) out[before[warp] + static_cast<std::uint32_t>(__popc(ballot & ((1u << lane) - 1)))] = i;
  if (threadIdx.x == 0) *count = static_cast<std::uint32_t>(all);
}

constexpr std::uint64_t seeds[] = {0, 1, 2, 3, 17, 12345};

}  // namespace

TEST_CASE("a reduction whose last block adds up") {
  if (!device_or_skip()) return;
  std::vector<float> values(5000);
  std::iota(values.begin(), values.end(), 0.0f);
  device_array<float> in(values, "in"), out(1, "out");
  device_array<std::uint32_t> arrivals(std::vector<std::uint32_t>(1), "arrivals");
  for (const std::uint64_t seed : seeds)
    for (const std::uint32_t blocks : {1u, 2u, 7u}) {
      order(seed);
      device_array<float> partial(blocks, "partial");
      REQUIRE(device::launch(reduce, {.blocks = blocks, .threads = 128}, {}, in.data(), 5000u, partial.data(), arrivals.data(), out.data()));
      finish();
      REQUIRE(out.download()[0] == 12497500.0f);
      REQUIRE(arrivals.download()[0] == 0);
    }
}

namespace {
template <class Number>
void check_product() {
  constexpr std::uint32_t k = 80;
  std::vector<Number> a(128 * k), b(64 * k);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = Number::from(static_cast<float>(static_cast<int>(i * 7 % 31) - 15) / 4);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = Number::from(static_cast<float>(static_cast<int>(i * 5 % 23) - 11) / 2);
  device_array<Number> da(a, "a"), db(b, "b");
  for (const std::uint64_t seed : seeds) {
    order(seed);
    device_array<float> c(128 * 64, "c");
    REQUIRE(device::launch(multiply<Number>, {.blocks = 2, .threads = 128, .shared_bytes = 4 * 64 * 12 * 4}, {}, da.data(), db.data(), c.data(), k));
    finish();
    const auto result = c.download();
    for (std::uint32_t i = 0; i < 128; ++i)
      for (std::uint32_t j = 0; j < 64; ++j) {
        double want = 0;
        for (std::uint32_t x = 0; x < k; ++x) want += double{a[i * k + x].to_float()} * b[j * k + x].to_float();
        if (result[i * 64 + j] != static_cast<float>(want)) REQUIRE(result[i * 64 + j] == static_cast<float>(want));  // sums of eighths are exact
      }
  }
}
}  // namespace
TEST_CASE("products of bf16 and f16 with copies in two stages") {
  if (!device_or_skip()) return;
  check_product<bf16>();
  check_product<f16>();
}

TEST_CASE("a histogram and a compaction") {
  if (!device_or_skip()) return;
  std::vector<std::uint8_t> values(3000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(i * i % 61);
  std::vector<std::uint32_t> want(64);
  for (const std::uint8_t v : values) ++want[v];
  device_array<std::uint8_t> in(values, "in");
  for (const std::uint64_t seed : seeds) {
    order(seed);
    device_array<std::uint32_t> bins(std::vector<std::uint32_t>(64), "bins");
    REQUIRE(device::launch(histogram, {.blocks = 5, .threads = 96}, {}, in.data(), 3000u, bins.data()));
    finish();
    REQUIRE(bins.download() == want);

    device_array<std::uint32_t> places(256, "places"), count(1, "count");
    REQUIRE(device::launch(compact, {.blocks = 1, .threads = 256}, {}, in.data(), 250u, places.data(), count.data()));
    finish();
    std::vector<std::uint32_t> set;
    for (std::uint32_t i = 0; i < 250; ++i)
      if (values[i] != 0) set.push_back(i);
    REQUIRE(count.download()[0] == set.size());
    const auto got = places.download();
    REQUIRE(std::equal(set.begin(), set.end(), got.begin()));
  }
}
