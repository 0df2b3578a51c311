// SPDX-License-Identifier: Apache-2.0
// Needs nvcc and a GPU: the emulator has no cuBLASLt.
#include "quire/linear/cuda/cublaslt.cuh"

#include <cmath>

#include "fixture.hpp"
#include "quire/linear/cuda/dequantize.cuh"

using namespace linear_fixture;

namespace {

constexpr std::size_t workspace_bytes = std::size_t{4} << 20;

void check_product(const cuda::lt_context& context, source_type type, std::uint32_t n, std::uint32_t rows, std::uint32_t cols, store_mode mode) {
  const device_matrix w(random_tensor(type, rows, cols, rows));
  const std::size_t stride = stride_of<bf16>(cols), y_stride = stride_of(rows + 1);
  device_array<bf16> wide(cuda::dequantized_bytes(w.view) / sizeof(bf16), "wide");
  REQUIRE(cuda::dequantize({.weights = w.view, .out = wide.data(), .stride = stride}, {}));
  const auto x = random_rows<bf16>(n, cols, stride, n);
  const device_array<bf16> device_x(x, "x");
  device_array<float> y(std::vector<float>(n * y_stride, 2.5f), "y");
  device_array<std::byte> workspace(workspace_bytes, "workspace");
  cuda::matmul product;
  const status s = product.prepare(context, {.n = n, .outputs = rows, .inputs = cols, .x_stride = stride, .w_stride = stride, .y_stride = y_stride, .mode = mode, .workspace_bytes = workspace_bytes});
  INFO(describe(s));
  REQUIRE(s);
  REQUIRE(product.run(wide.data(), device_x.data(), y.data(), workspace.data(), {}));
  finish();
  const auto got = y.download();
  std::vector<float> weight(cols);
  for (std::uint32_t r = 0; r < rows; ++r) {
    row(w.host.view, r, weight.data());
    for (std::uint32_t i = 0; i < n; ++i) {
      double want = mode == store_mode::add ? 2.5 : 0, size = want;
      for (std::uint32_t c = 0; c < cols; ++c) {
        const double p = double{bf16::from(weight[c]).to_float()} * x[i * stride + c].to_float();
        want += p, size += std::fabs(p);
      }
      REQUIRE(std::fabs(got[i * y_stride + r] - want) <= (cols + 2) * std::ldexp(1.0, -24) * size);
    }
  }
  for (std::uint32_t i = 0; i < n; ++i) REQUIRE(got[i * y_stride + rows] == 2.5f);
}

}  // namespace

TEST_CASE("linear cuda: cuBLASLt over dequantized weights agrees with double precision") {
  if (!device_or_skip()) return;
  cuda::lt_context context;
  REQUIRE(context.open());
  for (const source_type type : {source_type::bf16, source_type::q4_1, source_type::q8_0})
    for (const std::uint32_t n : {1u, 17u, 256u}) {
      check_product(context, type, n, 192, 576, store_mode::assign);
      check_product(context, type, n, 45, 96, store_mode::add);
    }
}

TEST_CASE("linear cuda: products that cuBLASLt can not do are refused by name") {
  const cuda::matmul_shape good{.n = 3, .outputs = 20, .inputs = 64, .x_stride = 64, .w_stride = 64, .y_stride = 20};
  REQUIRE(cuda::supports(good));
  cuda::matmul_shape s = good;
  s.n = 0;
  REQUIRE(cuda::supports(s).code == errc::unsupported_shape);
  s = good, s.x_stride = 56;
  REQUIRE(cuda::supports(s).code == errc::out_of_range);
  s = good, s.w_stride = 66;
  REQUIRE(cuda::supports(s).code == errc::out_of_range);
  s = good, s.y_stride = 22;
  REQUIRE(cuda::supports(s).code == errc::out_of_range);
  cuda::matmul product;
  REQUIRE(product.run(nullptr, nullptr, nullptr, nullptr, {}).code == errc::not_ready);
  REQUIRE(product.prepare({}, s).code == errc::out_of_range);
}
