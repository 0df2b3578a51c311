// SPDX-License-Identifier: Apache-2.0
// What stands between the products of a model: norms, gates, residuals, and the greatest logit. One block a row; sums and
// choices are made in one fixed order, so a row's bits do not depend on the rows beside it.
#pragma once

#include "panel.cuh"

namespace quire::inline v0::linear::cuda {

namespace detail {

/// Joins a value of every thread of the block in one fixed order; every thread gets the result. `shared` [block_warps].
template <class T, class Join>
__device__ T join_block(T mine, T* shared, Join join) noexcept {
  const std::uint32_t warp = threadIdx.x / warp_threads, lane = threadIdx.x % warp_threads;
#pragma unroll
  for (int step = 1; step < static_cast<int>(warp_threads); step *= 2) mine = join(mine, __shfl_xor_sync(~0u, mine, step));
  if (lane == 0) shared[warp] = mine;
  __syncthreads();
  T all = shared[0];
#pragma unroll
  for (std::uint32_t w = 1; w < block_warps; ++w) all = join(all, shared[w]);
  return all;
}


}  // namespace detail

/// out row i ← x row (which ? which[i] : i), scaled to unit mean square, times the weight. out may be x where `which` is
/// null. All rows are `width` numbers at their stride.
template <class Out = float>
struct norm_call {
  const float* x = nullptr;
  std::size_t x_stride = 0;
  const std::uint32_t* which = nullptr;  ///< [n] rows of x: those whose logits are wanted
  const float* weight = nullptr;         ///< [width]
  std::uint32_t n = 0, width = 0;
  float epsilon = 1e-5f;
  Out* out = nullptr;
  std::size_t out_stride = 0;
};

template <class Out>
__global__ void __launch_bounds__(block_threads) rms_norm_kernel(const __grid_constant__ norm_call<Out> c) {
  __shared__ float partial[block_warps];
  const float* x = c.x + (c.which == nullptr ? blockIdx.x : c.which[blockIdx.x]) * c.x_stride;
  float sum = 0;
  for (std::uint32_t i = threadIdx.x; i < c.width; i += block_threads) sum = __fmaf_rn(x[i], x[i], sum);
  sum = detail::join_block(sum, partial, [](float a, float b) { return __fadd_rn(a, b); });
  const float scale = 1.0f / sqrtf(__fadd_rn(sum / static_cast<float>(c.width), c.epsilon));
  Out* out = c.out + blockIdx.x * c.out_stride;
  for (std::uint32_t i = threadIdx.x; i < c.width; i += block_threads) out[i] = narrow<Out>(x[i] * scale * c.weight[i]);
}

/// from: arXiv:1910.07467. fails: device. test: tests/linear/cuda/elementwise.cpp
template <class Out>
[[nodiscard]] status rms_norm(const norm_call<Out>& c, device::stream on) noexcept {
  return device::launch(&rms_norm_kernel<Out>, {.blocks = c.n, .threads = block_threads}, on, c);
}

/// What two rows of `width` numbers become together: gate / (1 + e^−gate) · up, or a + b.
enum class pairing : std::uint8_t { silu_mul, add };

/// out [n][width] from a and b; each at its stride; out may be either where the formats are the same.
template <class Out = float>
struct pair_call {
  pairing how = pairing::add;
  const float *a = nullptr, *b = nullptr;
  std::size_t stride = 0;   ///< of a and b
  std::uint32_t n = 0, width = 0;
  Out* out = nullptr;
  std::size_t out_stride = 0;
};

template <class Out>
__global__ void __launch_bounds__(block_threads) pair_kernel(const __grid_constant__ pair_call<Out> c) {
  const float *a = c.a + blockIdx.x * c.stride, *b = c.b + blockIdx.x * c.stride;
  Out* out = c.out + blockIdx.x * c.out_stride;
  for (std::uint32_t i = threadIdx.x; i < c.width; i += block_threads) {
    const float x = a[i], y = b[i];
    out[i] = narrow<Out>(c.how == pairing::add ? x + y : x / (1.0f + device::exp2(-device::log2_e * x)) * y);
  }
}

/// fails: device. test: tests/linear/cuda/elementwise.cpp
template <class Out>
[[nodiscard]] status combine(const pair_call<Out>& c, device::stream on) noexcept {
  return device::launch(&pair_kernel<Out>, {.blocks = c.n, .threads = block_threads}, on, c);
}

/// f32 rows in another format: bf16 for products on the tensor cores.
template <class Out = bf16>
struct narrow_call {
  const float* x = nullptr;
  std::size_t x_stride = 0;
  std::uint32_t n = 0, width = 0;
  Out* out = nullptr;
  std::size_t out_stride = 0;
};

template <class Out>
__global__ void __launch_bounds__(block_threads) narrow_kernel(const __grid_constant__ narrow_call<Out> c) {
  for (std::uint32_t i = threadIdx.x; i < c.width; i += block_threads)
    c.out[blockIdx.x * c.out_stride + i] = narrow<Out>(c.x[blockIdx.x * c.x_stride + i]);
}

/// fails: device. test: tests/linear/cuda/elementwise.cpp
template <class Out>
[[nodiscard]] status narrow_rows(const narrow_call<Out>& c, device::stream on) noexcept {
  return device::launch(&narrow_kernel<Out>, {.blocks = c.n, .threads = block_threads}, on, c);
}

/// chosen [n] ← place of the greatest of each row of logits, the first of equals; NaN is never chosen, and a row of nothing
/// else gives 0.
template <class Row = float>
struct argmax_call {
  const Row* x = nullptr;
  std::size_t stride = 0;
  std::uint32_t n = 0, width = 0;
  std::uint32_t* chosen = nullptr;
};

namespace detail {
/// Ordered so that the greater word wins: the number, then the lower place. 0 is NaN and nothing.
__device__ inline unsigned long long rank(float x, std::uint32_t place) noexcept {
  if (x != x) return 0;
  const auto bits = std::bit_cast<std::uint32_t>(x == 0 ? 0.0f : x);
  const std::uint32_t ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | ~place;
}
}  // namespace detail

template <class Row>
__global__ void __launch_bounds__(block_threads) argmax_kernel(const __grid_constant__ argmax_call<Row> c) {
  __shared__ unsigned long long partial[block_warps];
  const auto greater = [](unsigned long long a, unsigned long long b) { return a > b ? a : b; };
  unsigned long long best = 0;
  for (std::uint32_t i = threadIdx.x; i < c.width; i += block_threads) {
    float x[1];
    load_row(c.x + blockIdx.x * c.stride + i, x);
    best = greater(best, detail::rank(x[0], i));
  }
  best = detail::join_block(best, partial, greater);
  if (threadIdx.x == 0) c.chosen[blockIdx.x] = best == 0 ? 0 : ~static_cast<std::uint32_t>(best);
}

/// fails: device. test: tests/linear/cuda/elementwise.cpp
template <class Row>
[[nodiscard]] status argmax(const argmax_call<Row>& c, device::stream on) noexcept {
  return device::launch(&argmax_kernel<Row>, {.blocks = c.n, .threads = block_threads}, on, c);
}

}  // namespace quire::inline v0::linear::cuda
