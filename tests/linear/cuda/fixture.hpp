// SPDX-License-Identifier: Apache-2.0
// Matrices and rows on a device, for the tests of linear/cuda.
#pragma once

#include <random>

#include "device/memory.hpp"
#include "linear/weights.hpp"
#include "quire/linear/cuda/panel.cuh"

namespace linear_fixture {

using namespace weights;
using device_test::device_array;
using device_test::device_or_skip;
using device_test::finish;
using device_test::order;
namespace cuda = quire::linear::cuda;

/// A packed matrix and its copy on the device.
struct device_matrix {
  packed host;
  device_array<std::byte> bytes;
  matrix view;
  explicit device_matrix(const tensor& t)
      : host(pack_all(t)), bytes(host.bytes, "weights"), view{host.view.type, t.rows, t.cols, bytes.data()} {}
};

template <class Row>
Row row_number(float x) {
  if constexpr (sizeof(Row) == 4) return x;
  else return bf16::from(x);
}
inline float widened(float x) { return x; }
inline float widened(bf16 x) { return x.to_float(); }

/// Random rows [n][stride], NaN past `cols`.
template <class Row = float>
std::vector<Row> random_rows(std::uint32_t n, std::uint32_t cols, std::size_t stride, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Row> x(n * stride, row_number<Row>(NAN));
  for (std::uint32_t r = 0; r < n; ++r)
    for (std::uint32_t c = 0; c < cols; ++c) x[r * stride + c] = row_number<Row>(normal(random));
  return x;
}
/// The least stride of rows that kernels take.
template <class Row = float>
std::uint32_t stride_of(std::uint32_t cols) {
  return (cols + cuda::row_unit<Row> - 1) / cuda::row_unit<Row> * cuda::row_unit<Row>;
}

}  // namespace linear_fixture
