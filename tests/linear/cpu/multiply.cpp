// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cpu/multiply.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "catch.hpp"
#include "linear/weights.hpp"

using namespace weights;
using namespace quire::linear::cpu;

namespace {

struct inputs {
  std::vector<float> rows;
  std::vector<std::byte> work;
  activations view;
};

inputs random_inputs(std::uint32_t n, std::uint32_t cols, std::uint32_t stride, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  inputs in{
      std::vector<float>(std::size_t{n} * stride), std::vector<std::byte>(activations::workspace_bytes(n, cols)), {}};
  for (auto& v : in.rows) v = normal(random);
  in.view = {in.rows.data(), stride, n, cols, in.work.data()};
  if (cols % 32 == 0 && !quantize(in.view)) throw std::runtime_error("inputs");
  return in;
}

bool is_quantized(source_type t) { return packed_as(t) == weight_type::q4_1 || packed_as(t) == weight_type::q8_0; }

/// What the kernel sees of input (r, c): the row itself, or scale · code.
double seen(const activations& x, bool codes, std::uint32_t r, std::uint32_t c) {
  if (!codes) return x.rows[r * x.stride + c];
  const std::uint32_t g = r / group_rows, lane = r % group_rows, rows = x.rows_of(g);
  const std::byte* block = x.group(g) + std::size_t{c / 32} * rows * 40;
  float scale;
  std::memcpy(&scale, block + rows * 32 + lane * 4, 4);
  return double{scale} * static_cast<std::int8_t>(std::to_integer<std::uint8_t>(block[lane * 32 + c % 32]));
}

void compare(const tensor& t, const inputs& in, const float* y, std::size_t stride, double start = 0) {
  for (std::uint32_t i = 0; i < in.view.n; ++i)
    for (std::uint32_t r = 0; r < t.rows; ++r) {
      double want = start, size = std::fabs(start), exact = start, loss = 0;
      for (std::uint32_t c = 0; c < t.cols; ++c) {
        const double w = t.values[std::size_t{r} * t.cols + c], x = seen(in.view, is_quantized(t.type), i, c);
        want += w * x;
        size += std::fabs(w * x);
        exact += w * in.rows[i * in.view.stride + c];
        loss += std::fabs(w) * 4.5 / 254;  // half a step of the 8-bit codes; no normal sample here exceeds 4.5 by much
      }
      const double got = y[i * stride + r];
      REQUIRE(std::fabs(got - want) <= 1e-6 * size + 1e-6);
      REQUIRE(std::fabs(got - exact) <= loss + 1e-6 * size + 1e-6);
    }
}

}  // namespace

TEST_CASE("products agree with double precision for every type and shape") {
  for (const source_type type : all_types)
    for (const std::uint32_t cols : {32u, 96u, 576u, 1536u})
      for (const std::uint32_t rows : {1u, 2u, 7u, 15u, 16u, 17u, 31u, 32u, 50u}) {
        if (cols > 96 && rows % 16 > 2) continue;  // large and ragged is covered by the rest
        const tensor t = random_tensor(type, rows, cols, rows * cols);
        const packed p = pack_all(t);
        for (const std::uint32_t n : {1u, 2u, 5u, 8u, 11u}) {
          const inputs in = random_inputs(n, cols, cols + 5, n);
          REQUIRE(supports(p.view, in.view));
          std::vector<float> y(std::size_t{n} * (rows + 3), 7.0f);
          multiply(p.view, in.view, y.data(), rows + 3, {0, panels(p.view)});
          compare(t, in, y.data(), rows + 3);
          for (std::uint32_t i = 0; i < n; ++i)
            for (std::uint32_t k = 0; k < 3; ++k)
              REQUIRE(y[i * (rows + 3) + rows + k] == 7.0f);  // nothing past the outputs
        }
      }
}

TEST_CASE("f32 and bf16 take any even number of columns") {
  for (const source_type type : {source_type::f32, source_type::bf16})
    for (const std::uint32_t cols : {2u, 30u, 34u}) {
      const tensor t = random_tensor(type, 20, cols, cols);
      const packed p = pack_all(t);
      const inputs in = random_inputs(3, cols, cols, 1);
      std::vector<float> y(60);
      multiply(p.view, in.view, y.data(), 20, {0, 2});
      compare(t, in, y.data(), 20);
    }
}

TEST_CASE("an output is the same bits for any number of rows") {
  for (const source_type type : {source_type::f32, source_type::bf16, source_type::q4_1, source_type::q8_0})
    for (const std::uint32_t cols : {96u, 576u, 2144u}) {
      const std::uint32_t rows = 41, most = 37;
      const packed p = pack_all(random_tensor(type, rows, cols, 3));
      const inputs all = random_inputs(most, cols, cols, 4);
      std::vector<float> single(most * rows);
      for (std::uint32_t i = 0; i < most; ++i) {
        std::vector<std::byte> work(activations::workspace_bytes(1, cols));
        const activations one{all.rows.data() + i * cols, cols, 1, cols, work.data()};
        REQUIRE(quantize(one));
        multiply(p.view, one, single.data() + i * rows, rows, {0, panels(p.view)});
      }
      for (std::uint32_t n = 1; n <= most; n += n < 18 ? 1 : 5)
        for (std::uint32_t first = 0; first + n <= most; first += 5) {
          std::vector<std::byte> work(activations::workspace_bytes(n, cols));
          const activations some{all.rows.data() + first * cols, cols, n, cols, work.data()};
          REQUIRE(quantize(some));
          std::vector<float> y(n * rows);
          multiply(p.view, some, y.data(), rows, {0, panels(p.view)});
          REQUIRE(std::memcmp(y.data(), single.data() + first * rows, y.size() * 4) == 0);
        }
    }
}

TEST_CASE("an output is the same bits for any number of workers and for long activations") {
  for (const source_type type : {source_type::f32, source_type::q4_1}) {
    const std::uint32_t rows = 75, cols = 576, n = 600;  // more rows than the cache block takes
    const packed p = pack_all(random_tensor(type, rows, cols, 8));
    const inputs in = random_inputs(n, cols, cols, 9);
    std::vector<float> want(n * rows), single(rows);
    multiply(p.view, in.view, want.data(), rows, {0, panels(p.view)});
    for (const std::uint32_t i : {0u, 300u, 599u}) {
      std::vector<std::byte> work(activations::workspace_bytes(1, cols));
      const activations one{in.rows.data() + i * cols, cols, 1, cols, work.data()};
      REQUIRE(quantize(one));
      multiply(p.view, one, single.data(), rows, {0, panels(p.view)});
      REQUIRE(std::memcmp(single.data(), want.data() + i * rows, rows * 4) == 0);
    }
    for (std::uint32_t workers = 1; workers <= 4; ++workers) {
      thread_executor executor(workers);
      std::vector<float> y(n * rows, -1.0f);
      std::vector<std::byte> work(activations::workspace_bytes(n, cols));
      const activations x{in.rows.data(), cols, n, cols, work.data()};
      executor.run([&](const team& t) {
        static_cast<void>(quantize(x, t.share(n)));
        t.barrier();
        multiply(t, p.view, x, y.data(), rows);
      });
      REQUIRE(std::memcmp(y.data(), want.data(), y.size() * 4) == 0);
    }
  }
}

TEST_CASE("adding to the output adds the assigned product once") {
  for (const source_type type : all_types) {
    const std::uint32_t rows = 37, cols = 96, n = 9;
    const tensor t = random_tensor(type, rows, cols, 12);
    const packed p = pack_all(t);
    const inputs in = random_inputs(n, cols, cols, 13);
    std::vector<float> product(n * rows), y(n * rows, 2.5f);
    multiply(p.view, in.view, product.data(), rows, {0, panels(p.view)});
    multiply(p.view, in.view, y.data(), rows, {0, panels(p.view)}, store_mode::add);
    for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(y[i] == 2.5f + product[i]);
    compare(t, in, y.data(), rows, 2.5);
  }
}

TEST_CASE("a range of panels writes its own outputs alone") {
  const std::uint32_t rows = 50, cols = 64;
  const packed p = pack_all(random_tensor(source_type::q8_0, rows, cols, 21));
  const inputs in = random_inputs(2, cols, cols, 22);
  std::vector<float> y(2 * rows, 9.0f), whole(2 * rows);
  multiply(p.view, in.view, whole.data(), rows, {0, panels(p.view)});
  multiply(p.view, in.view, y.data(), rows, {1, 3});
  for (std::uint32_t i = 0; i < 2; ++i)
    for (std::uint32_t r = 0; r < rows; ++r)
      REQUIRE(y[i * rows + r] == (r >= 16 && r < 48 ? whole[i * rows + r] : 9.0f));
}

TEST_CASE("the largest codes of weights and activations do not overflow") {
  for (const std::uint8_t code : {0xffu, 0x7fu, 0x80u, 0x00u}) {
    std::vector<std::byte> source(34 * 2, static_cast<std::byte>(code));
    const std::uint16_t one = f16::from(1.0f).bits;
    std::memcpy(source.data(), &one, 2);
    std::memcpy(source.data() + 34, &one, 2);
    std::vector<std::byte> bytes(packed_bytes(weight_type::q8_0, 1, 64));
    REQUIRE(pack(source_type::q8_0, source.data(), 0, 1, 1, 64, bytes.data()));
    for (const float x : {127.0f, -127.0f}) {
      const std::vector<float> rows(64, x);
      std::vector<std::byte> work(activations::workspace_bytes(1, 64));
      const activations a{rows.data(), 64, 1, 64, work.data()};
      REQUIRE(quantize(a));
      float y = 0;
      multiply({weight_type::q8_0, 1, 64, bytes.data()}, a, &y, 1, {0, 1});
      REQUIRE(y == 64 * x * static_cast<float>(static_cast<std::int8_t>(code)));
    }
  }
}

TEST_CASE("products that do not fit are refused by name") {
  const packed p = pack_all(random_tensor(source_type::q4_1, 16, 64, 1));
  inputs in = random_inputs(2, 64, 64, 1);
  REQUIRE(supports(p.view, in.view));
  activations x = in.view;
  x.cols = 32;
  REQUIRE(supports(p.view, x).code == errc::out_of_range);
  x = in.view;
  x.stride = 60;
  REQUIRE(supports(p.view, x).code == errc::out_of_range);
  x = in.view;
  x.codes = nullptr;
  REQUIRE(supports(p.view, x).code == errc::out_of_range);
  REQUIRE(supports(matrix{weight_type::f32, 16, 64, p.bytes.data()}, x));
}
