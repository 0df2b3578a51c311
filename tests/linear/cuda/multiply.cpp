// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cuda/multiply.cuh"

#include <cmath>

#include "fixture.hpp"
#include "quire/linear/cpu/multiply.hpp"

using namespace linear_fixture;

namespace {

constexpr float untouched = 7.0f;

/// y [n][rows + 3] of a launch that must go well; starts as `start` everywhere.
template <class Row>
std::vector<float> product(const device_matrix& w, const Row* x, std::size_t stride, std::uint32_t n,
                           float start = untouched, store_mode mode = store_mode::assign) {
  const std::size_t y_stride = w.view.rows + 3;
  device_array<float> y(std::vector<float>(n * y_stride, start), "y");
  const status s = cuda::multiply<Row>({.weights = w.view, .x = x, .x_stride = stride, .n = n, .y = y.data(), .y_stride = y_stride, .mode = mode}, {});
  INFO(describe(s));
  REQUIRE(s);
  finish();
  return y.download();
}

/// Longest chain of additions behind an output: a lane's columns, then three exchanges, then the warps.
double chain(weight_type type, std::uint32_t cols) {
  const std::uint32_t lane = type == weight_type::f32 ? 1 : type == weight_type::bf16 ? 2 : type == weight_type::q8_0 ? 4 : 8;
  const std::uint32_t steps = (cols + 8 * lane - 1) / (8 * lane);
  return (steps + cuda::block_warps - 1) / cuda::block_warps * lane + 3.0 + cuda::block_warps;
}

/// |y − Σ w x| ≤ (chain + 2) u / (1 − ..) · Σ |w x| for f32 sums with unit roundoff u = 2^-24 (Higham, theorem 3.1), a step
/// more for the rounding of a q4_1 weight to f32 and one for the addition to y; q4_1 weights may be small sums of large terms.
template <class Row>
void compare(const tensor& t, const std::vector<Row>& x, std::size_t stride, const std::vector<float>& y, std::uint32_t n, double start = 0) {
  const std::size_t y_stride = t.rows + 3;
  const double steps = chain(packed_as(t.type), t.cols) + 3, u = std::ldexp(1.0, -24), bound = steps * u / (1 - steps * u);
  for (std::uint32_t i = 0; i < n; ++i) {
    for (std::uint32_t r = 0; r < t.rows; ++r) {
      double want = start, size = std::fabs(start);
      for (std::uint32_t c = 0; c < t.cols; ++c) {
        const double p = t.values[std::size_t{r} * t.cols + c] * double{widened(x[i * stride + c])};
        want += p, size += std::fabs(p);
      }
      if (std::fabs(y[i * y_stride + r] - want) > bound * size) {
        INFO("type " << int(t.type) << ", " << t.rows << " x " << t.cols << ", row " << i << " of " << n << ", output " << r);
        REQUIRE(std::fabs(y[i * y_stride + r] - want) <= bound * size);
      }
    }
    for (std::uint32_t k = t.rows; k < y_stride; ++k) REQUIRE(y[i * y_stride + k] == (start == 0 ? untouched : start));
  }
}

template <class Row>
void check_shapes(source_type type, std::uint32_t n) {
  for (const std::uint32_t cols : {32u, 96u, 576u, 1120u})
    for (const std::uint32_t rows : {1u, 7u, 16u, 33u}) {
      if (cols > 96 && rows != 7 && rows != 33) continue;
      order(rows + n);
      const tensor t = random_tensor(type, rows, cols, rows * cols);
      const device_matrix w(t);
      const std::size_t stride = stride_of<Row>(cols + 5);
      const auto x = random_rows<Row>(n, cols, stride, n);
      const device_array<Row> device_x(x, "x");
      compare(t, x, stride, product<Row>(w, device_x.data(), stride, n), n);
    }
}

}  // namespace

TEST_CASE("linear cuda: products agree with double precision for every type and shape") {
  if (!device_or_skip()) return;
  for (const source_type type : all_types)
    for (const std::uint32_t n : {1u, 3u, 16u, 21u}) check_shapes<float>(type, n);
}

TEST_CASE("linear cuda: rows of bf16") {
  if (!device_or_skip()) return;
  for (const source_type type : {source_type::f32, source_type::bf16, source_type::q4_1, source_type::q8_0})
    for (const std::uint32_t n : {1u, 5u}) check_shapes<bf16>(type, n);
}

TEST_CASE("linear cuda: f32 and bf16 take any even number of columns") {
  if (!device_or_skip()) return;
  for (const source_type type : {source_type::f32, source_type::bf16})
    for (const std::uint32_t cols : {2u, 30u, 34u, 130u}) {
      const tensor t = random_tensor(type, 20, cols, cols);
      const device_matrix w(t);
      const std::size_t stride = stride_of(cols);
      const auto x = random_rows(3, cols, stride, 1);
      const device_array<float> device_x(x, "x");
      compare(t, x, stride, product<float>(w, device_x.data(), stride, 3), 3);
    }
}

TEST_CASE("linear cuda: an output is the same bits for any number of rows and any order of blocks") {
  if (!device_or_skip()) return;
  for (const source_type type : {source_type::f32, source_type::bf16, source_type::q4_1, source_type::q8_0})
    for (const std::uint32_t cols : {96u, 608u}) {
      const std::uint32_t rows = 41, all = 19, y_stride = rows + 3;
      const device_matrix w(random_tensor(type, rows, cols, 3));
      const device_array<float> x(random_rows(all, cols, cols, 4), "x");
      std::vector<float> single;
      for (std::uint32_t i = 0; i < all; ++i) {
        const auto y = product<float>(w, x.data() + i * cols, cols, 1);
        single.insert(single.end(), y.begin(), y.end());
      }
      for (const std::uint32_t n : {2u, 3u, 4u, 5u, 8u, 9u, 16u, 17u, 19u}) {
        order(n);
        const std::uint32_t first = (all - n) / 2;
        const auto y = product<float>(w, x.data() + first * cols, cols, n);
        REQUIRE(std::memcmp(y.data(), single.data() + first * y_stride, y.size() * sizeof(float)) == 0);
      }
    }
}

TEST_CASE("linear cuda: adding to the output adds the assigned product once") {
  if (!device_or_skip()) return;
  for (const source_type type : all_types) {
    const std::uint32_t rows = 37, cols = 96, n = 9;
    const tensor t = random_tensor(type, rows, cols, 12);
    const device_matrix w(t);
    const auto x = random_rows(n, cols, cols, 13);
    const device_array<float> device_x(x, "x");
    const auto assigned = product<float>(w, device_x.data(), cols, n), added = product<float>(w, device_x.data(), cols, n, 2.5f, store_mode::add);
    for (std::uint32_t i = 0; i < n; ++i)
      for (std::uint32_t r = 0; r < rows; ++r) REQUIRE(added[i * (rows + 3) + r] == 2.5f + assigned[i * (rows + 3) + r]);
    compare(t, x, cols, added, n, 2.5);
  }
}

// The CPU rounds activations of quantized weights to 8 bits: half a step of max|x| / 127 for each; f32 and bf16 differ in the
// order of sums only.
TEST_CASE("linear cuda: the CPU's products are as near as its own rounding of the activations") {
  if (!device_or_skip()) return;
  for (const source_type type : all_types) {
    const std::uint32_t rows = 50, cols = 576, n = 6;
    const tensor t = random_tensor(type, rows, cols, 5);
    const device_matrix w(t);
    const auto x = random_rows(n, cols, cols, 6);
    const device_array<float> device_x(x, "x");
    const auto y = product<float>(w, device_x.data(), cols, n);
    std::vector<std::byte> work(cpu::activations::workspace_bytes(n, cols));
    const cpu::activations a{x.data(), cols, n, cols, work.data()};
    REQUIRE(cpu::quantize(a));
    std::vector<float> on_cpu(n * rows);
    cpu::multiply(w.host.view, a, on_cpu.data(), rows, {0, panels(w.host.view)});
    const bool codes = packed_as(type) == weight_type::q4_1 || packed_as(type) == weight_type::q8_0;
    for (std::uint32_t i = 0; i < n; ++i)
      for (std::uint32_t r = 0; r < rows; ++r) {
        double loss = 0, size = 0;
        for (std::uint32_t b = 0; b < cols; b += 32) {
          double largest = 0;
          for (std::uint32_t c = b; c < b + 32; ++c) largest = std::max(largest, std::fabs(double{x[i * cols + c]}));
          for (std::uint32_t c = b; c < b + 32; ++c) {
            const double value = std::fabs(t.values[r * cols + c]);
            size += value * std::fabs(x[i * cols + c]);
            if (codes) loss += value * largest / 254;
          }
        }
        REQUIRE(std::fabs(double{y[i * (rows + 3) + r]} - on_cpu[i * rows + r]) <= loss + 1e-6 * size * 32);
      }
  }
}

TEST_CASE("linear cuda: products that do not fit are refused by name") {
  const packed p = pack_all(random_tensor(source_type::q4_1, 16, 64, 1));
  alignas(64) static std::byte place[8192];
  const matrix w{weight_type::q4_1, 16, 64, place};
  const auto* x = reinterpret_cast<const float*>(place);
  auto* y = reinterpret_cast<float*>(place + 4096);
  const cuda::multiply_call<float> good{.weights = w, .x = x, .x_stride = 64, .n = 2, .y = y, .y_stride = 16};
  REQUIRE(cuda::supports(good));
  const auto refused = [&](auto change) {
    auto c = good;
    change(c);
    return cuda::multiply(c, {}).code;
  };
  REQUIRE(refused([](auto& c) { c.weights.cols = 63; }) == errc::unsupported_shape);
  REQUIRE(refused([](auto& c) { c.weights.cols = 48; }) == errc::unsupported_shape);
  REQUIRE(refused([](auto& c) { c.weights.rows = 0; }) == errc::unsupported_shape);
  REQUIRE(refused([](auto& c) { c.weights.data += 8; }) == errc::out_of_range);
  REQUIRE(refused([](auto& c) { c.x_stride = 60; }) == errc::out_of_range);
  REQUIRE(refused([](auto& c) { c.x_stride = 66; }) == errc::out_of_range);
  REQUIRE(refused([](auto& c) { c.x += 1; }) == errc::out_of_range);
  REQUIRE(refused([](auto& c) { c.y_stride = 15; }) == errc::out_of_range);
  REQUIRE(refused([](auto& c) { c.n = 0; }) == errc::ok);
}
