// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cuda/dequantize.cuh"

#include "fixture.hpp"

using namespace linear_fixture;

TEST_CASE("linear cuda: a dequantized matrix is every row of the packed one, rounded once") {
  if (!device_or_skip()) return;
  for (const source_type type : all_types)
    for (const std::uint32_t cols : {32u, 160u, 608u})
      for (const std::uint32_t rows : {1u, 15u, 16u, 37u}) {
        order(rows);
        const device_matrix w(random_tensor(type, rows, cols, rows * cols));
        const std::size_t stride = cols + 8;
        device_array<bf16> out(std::vector<bf16>((rows + 1) * stride, bf16::from(7)), "out");
        REQUIRE(cuda::dequantize({.weights = w.view, .out = out.data(), .stride = stride}, {}));
        finish();
        const auto got = out.download();
        std::vector<float> want(cols);
        for (std::uint32_t r = 0; r <= rows; ++r) {
          if (r < rows) row(w.host.view, r, want.data());
          for (std::uint32_t c = 0; c < stride; ++c)
            REQUIRE(got[r * stride + c].bits == bf16::from(r < rows && c < cols ? want[c] : 7.0f).bits);
        }
      }
}

TEST_CASE("linear cuda: any even number of columns of f32 and bf16 is dequantized") {
  if (!device_or_skip()) return;
  for (const source_type type : {source_type::f32, source_type::bf16})
    for (const std::uint32_t cols : {2u, 30u, 66u}) {
      const device_matrix w(random_tensor(type, 19, cols, cols));
      const std::size_t stride = stride_of<bf16>(cols);
      REQUIRE(cuda::dequantized_bytes(w.view) == 19 * stride * 2);
      device_array<bf16> out(std::vector<bf16>(19 * stride, bf16::from(7)), "out");
      REQUIRE(cuda::dequantize({.weights = w.view, .out = out.data(), .stride = stride}, {}));
      finish();
      const auto got = out.download();
      std::vector<float> want(cols);
      for (std::uint32_t r = 0; r < 19; ++r) {
        row(w.host.view, r, want.data());
        for (std::uint32_t c = 0; c < stride; ++c) REQUIRE(got[r * stride + c].bits == bf16::from(c < cols ? want[c] : 7.0f).bits);
      }
    }
}

namespace {

template <class Row>
void check_embedding(source_type type, std::uint32_t cols) {
  const std::uint32_t rows = 45;
  order(cols);
  const device_matrix w(random_tensor(type, rows, cols, cols));
  const std::vector<std::int32_t> tokens{0, 44, 17, 17, 31, 3, 45, -1, 2000000000};
  const device_array<std::int32_t> device_tokens(tokens, "tokens");
  const std::size_t stride = stride_of<Row>(cols + 1);
  device_array<Row> out(std::vector<Row>(tokens.size() * stride, row_number<Row>(7)), "out");
  for (const std::uint32_t n : {6u, 9u}) {
    device_array<std::uint32_t> outside(std::vector<std::uint32_t>{0}, "outside");
    REQUIRE(cuda::embed<Row>({.weights = w.view, .tokens = device_tokens.data(), .n = n, .out = out.data(), .stride = stride, .outside = outside.data()}, {}));
    finish();
    REQUIRE(outside.download()[0] == (n == 9 ? 1u : 0u));
    const auto got = out.download();
    for (std::uint32_t i = 0; i < tokens.size(); ++i) {
      std::vector<float> want(stride, 7.0f);
      if (i < 6) row(w.host.view, static_cast<std::uint32_t>(tokens[i]), want.data());
      else if (n == 9) std::fill_n(want.begin(), cols, 0.0f);
      for (std::uint32_t c = 0; c < stride; ++c) REQUIRE(widened(got[i * stride + c]) == widened(row_number<Row>(want[c])));
    }
  }
}

}  // namespace

TEST_CASE("linear cuda: embeddings are rows of the packed matrix, and tokens outside it are told") {
  if (!device_or_skip()) return;
  for (const source_type type : all_types)
    for (const std::uint32_t cols : {32u, 96u, 576u}) check_embedding<float>(type, cols);
  check_embedding<float>(source_type::f32, 34);
  check_embedding<bf16>(source_type::q4_1, 96);
  check_embedding<bf16>(source_type::bf16, 30);
}

TEST_CASE("linear cuda: matrices that can not be dequantized are refused by name") {
  alignas(64) static std::byte place[4096];
  auto* out = reinterpret_cast<bf16*>(place);
  const matrix w{weight_type::q8_0, 16, 64, place};
  REQUIRE(cuda::dequantize({.weights = {weight_type::q8_0, 16, 40, place}, .out = out, .stride = 64}, {}).code == errc::unsupported_shape);
  REQUIRE(cuda::dequantize({.weights = {weight_type::q8_0, 16, 64, place + 4}, .out = out, .stride = 64}, {}).code == errc::out_of_range);
  REQUIRE(cuda::dequantize({.weights = w, .out = out, .stride = 68}, {}).code == errc::out_of_range);
  REQUIRE(cuda::dequantize({.weights = w, .out = out + 1, .stride = 64}, {}).code == errc::out_of_range);
  REQUIRE(cuda::embed<bf16>({.weights = w, .n = 1, .out = out, .stride = 56}, {}).code == errc::out_of_range);
}
