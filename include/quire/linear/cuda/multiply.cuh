// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with a few rows, for decoding: bound by the bytes of the weights, which are read once for up
// to 16 rows. A block of eight warps owns a panel of 16 outputs. The order in which one output is summed is fixed: a
// lane takes its columns in steps of its warp, lanes meet in pairs, then warps in turn; so its bits depend on the row and
// the weights alone, not on how many rows there are.
#pragma once

#include "panel.cuh"

namespace quire::inline v0::linear::cuda {

/// y [n][y_stride] = (or +=) x [n][x_stride] · Wᵀ. Pointers are the device's. x: f32 or bf16, each row at a multiple of
/// 16 bytes; y may not be x.
template <class Row = float>
struct multiply_call {
  matrix weights;
  const Row* x = nullptr;
  std::size_t x_stride = 0;  ///< numbers from row to row, ≥ cols
  std::uint32_t n = 0;
  float* y = nullptr;
  std::size_t y_stride = 0;  ///< ≥ rows of the weights
  store_mode mode = store_mode::assign;
};

namespace detail {

/// One block: panel and a group of up to `Rows` rows.
template <weight_type Type, std::uint32_t Rows, class Row>
struct panel_product {
  using word = lane_weights<Type>;
  static constexpr std::uint32_t ahead = Rows <= 4 ? 4 : Rows <= 8 ? 2 : 1;  ///< reads of weights under way; changes no result

  float sum[Rows][lane_outputs] = {};

  __device__ void add(const word& w, const Row* x, std::size_t stride, std::uint32_t last_row) noexcept {
#pragma unroll(Rows <= 4 ? word::parts : 1)
    for (std::uint32_t p = 0; p < word::parts; ++p) {
      float weight[lane_outputs][word::part_columns];
#pragma unroll
      for (std::uint32_t o = 0; o < lane_outputs; ++o)
#pragma unroll
        for (std::uint32_t k = 0; k < word::part_columns; ++k) weight[o][k] = w.at(p, o, k);
      const Row* row = x + p * word::part_columns;
#pragma unroll
      for (std::uint32_t r = 0; r < Rows; ++r) {
        float v[word::part_columns];
        load_row(row, v);
        if (r < last_row) row += stride;  // past the last row it is read again, and its sums are nobody's
#pragma unroll
        for (std::uint32_t o = 0; o < lane_outputs; ++o)
#pragma unroll
          for (std::uint32_t k = 0; k < word::part_columns; ++k)
            sum[r][o] = __fmaf_rn(weight[o][k], v[k], sum[r][o]);
      }
    }
  }

  /// The warp's steps of all columns.
  __device__ void run(const std::byte* panel, const Row* x, std::size_t stride, std::uint32_t last_row,
                      std::uint32_t cols, std::uint32_t warp, std::uint32_t lane) noexcept {
    const std::uint32_t steps = word::steps(cols);
    for (std::uint32_t s = warp; s < steps; s += ahead * block_warps) {
      word w[ahead];
#pragma unroll
      for (std::uint32_t a = 0; a < ahead; ++a)
        if (word::first_column(s + a * block_warps, lane) < cols) w[a].load(panel, s + a * block_warps, lane);
#pragma unroll
      for (std::uint32_t a = 0; a < ahead; ++a)
        if (const std::uint32_t c = word::first_column(s + a * block_warps, lane); c < cols)
          add(w[a], x + c, stride, last_row);
    }
#pragma unroll
    for (std::uint32_t r = 0; r < Rows; ++r)
#pragma unroll
      for (std::uint32_t o = 0; o < lane_outputs; ++o)
#pragma unroll
        for (std::uint32_t step = lane_outputs; step < warp_threads; step *= 2)
          sum[r][o] = __fadd_rn(sum[r][o], __shfl_xor_sync(~0u, sum[r][o], static_cast<int>(step)));
  }
};

template <weight_type Type, std::uint32_t Rows, class Row>
__global__ void __launch_bounds__(block_threads, 2) multiply_kernel(const __grid_constant__ multiply_call<Row> c) {
  __shared__ float4 partial[block_warps][Rows][lane_outputs];
  const std::uint32_t all = panels(c.weights), index = blockIdx.x % all, first = blockIdx.x / all * Rows;
  const std::uint32_t warp = threadIdx.x / warp_threads, lane = threadIdx.x % warp_threads;
  const std::uint32_t count = c.n - first < Rows ? c.n - first : Rows;
  panel_product<Type, Rows, Row> product;
  product.run(c.weights.data + index * panel_bytes(Type, c.weights.cols), c.x + first * c.x_stride, c.x_stride,
              count - 1, c.weights.cols, warp, lane);
  if (lane < lane_outputs) {
#pragma unroll
    for (std::uint32_t r = 0; r < Rows; ++r)
      partial[warp][r][lane] =
          make_float4(product.sum[r][0], product.sum[r][1], product.sum[r][2], product.sum[r][3]);
  }
  __syncthreads();
  const std::uint32_t r = threadIdx.x / panel_rows, o = threadIdx.x % panel_rows, output = index * panel_rows + o;
  if (r >= count || output >= c.weights.rows) return;
  float y = 0;
  for (std::uint32_t w = 0; w < block_warps; ++w)
    y = __fadd_rn(y, reinterpret_cast<const float*>(partial[w][r])[o]);
  float* to = c.y + (first + r) * c.y_stride + output;
  *to = c.mode == store_mode::add ? __fadd_rn(*to, y) : y;
}

}  // namespace detail

/// Rows that share one read of the weights; more rows are as many groups.
inline constexpr std::uint32_t group_rows = 16;

/// Can `multiply` serve the call? fails: unsupported_shape, out_of_range.
template <class Row>
[[nodiscard]] status supports(const multiply_call<Row>& c) noexcept {
  if (const status s = fits(c.weights, c.x, c.x_stride, c.weights.cols,
                            "stride of x (a multiple of 16 bytes, as its address)"); !s)
    return s;
  if (c.y_stride < c.weights.rows)
    return {errc::out_of_range, "stride of y", static_cast<std::int64_t>(c.y_stride), c.weights.rows};
  return {};
}

/// cost: the weights once for each 16 rows; past about 5 (q4_1) to 16 (bf16) rows arithmetic costs more than bytes.
/// Nothing is allocated, a launch can be captured. fails: unsupported_shape, out_of_range, device.
/// test: tests/linear/cuda/multiply.cpp
template <class Row>
[[nodiscard]] status multiply(const multiply_call<Row>& c, device::stream on) noexcept {
  if (const status s = supports(c); !s) return s;
  if (c.n == 0) return {};
  const auto start = [&](auto type, auto rows) {
    return device::launch(&detail::multiply_kernel<type(), rows(), Row>,
                          {.blocks = panels(c.weights) * ((c.n + rows() - 1) / rows()), .threads = block_threads}, on, c);
  };
  return with_type(c.weights.type, [&](auto type) {
    if (c.n == 1) return start(type, std::integral_constant<std::uint32_t, 1>{});
    if (c.n == 2) return start(type, std::integral_constant<std::uint32_t, 2>{});
    if (c.n <= 4) return start(type, std::integral_constant<std::uint32_t, 4>{});
    if (c.n <= 8) return start(type, std::integral_constant<std::uint32_t, 8>{});
    return start(type, std::integral_constant<std::uint32_t, group_rows>{});
  });
}

}  // namespace quire::inline v0::linear::cuda
