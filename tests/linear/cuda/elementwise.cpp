// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cuda/elementwise.cuh"

#include <cmath>
#include <limits>

#include "fixture.hpp"

using namespace linear_fixture;

namespace {

/// A row as f32, and how far bf16 may be from it.
template <class Out>
constexpr double rounding = sizeof(Out) == 4 ? 0 : 1.0 / 256;

template <class Out>
void check_norm(std::uint32_t n, std::uint32_t width, bool gather) {
  order(n + width);
  const std::size_t x_stride = width + 3, out_stride = width + 2;
  const auto x = random_rows(n, width, x_stride, width), weight = random_rows(1, width, width, 2);
  std::vector<std::uint32_t> which;
  for (std::uint32_t i = 0; i < n; ++i) which.push_back(i * 5 % n);
  const device_array<float> device_x(x, "x"), device_weight(weight, "weight");
  const device_array<std::uint32_t> device_which(which, "which");
  device_array<Out> out(std::vector<Out>(n * out_stride, row_number<Out>(7)), "out");
  REQUIRE(cuda::rms_norm<Out>({.x = device_x.data(), .x_stride = x_stride, .which = gather ? device_which.data() : nullptr, .weight = device_weight.data(),
                               .n = n, .width = width, .epsilon = 1e-5f, .out = out.data(), .out_stride = out_stride}, {}));
  finish();
  const auto got = out.download();
  for (std::uint32_t i = 0; i < n; ++i) {
    const float* row = x.data() + (gather ? which[i] : i) * x_stride;
    double sum = 0;
    for (std::uint32_t c = 0; c < width; ++c) sum += double{row[c]} * row[c];
    const double scale = 1 / std::sqrt(sum / width + 1e-5f);
    // all squares are positive: the sum's relative error is half of its chain of roundings, then five more operations
    const double bound = ((width + 255) / 256 + 5 + 7) * 0.5 * std::ldexp(1.0, -24) + 5 * std::ldexp(1.0, -24) + rounding<Out>;
    for (std::uint32_t c = 0; c < width; ++c) {
      const double want = row[c] * scale * weight[c];
      REQUIRE(std::fabs(widened(got[i * out_stride + c]) - want) <= bound * std::fabs(want));
    }
    REQUIRE(widened(got[i * out_stride + width]) == 7.0f);
  }
}

template <class Out>
void check_pair(cuda::pairing how, std::uint32_t n, std::uint32_t width) {
  order(width);
  const std::size_t stride = 2 * width + 1, out_stride = width + 1;
  auto x = random_rows(n, 2 * width, stride, width);
  const float special[] = {-200.0f, -90.0f, 200.0f, 0.0f, -0.0f, 17.0f};
  for (std::uint32_t i = 0; i < std::min(width, 6u); ++i) x[i] = special[i];
  const device_array<float> device_x(x, "x");
  device_array<Out> out(std::vector<Out>(n * out_stride, row_number<Out>(7)), "out");
  REQUIRE(cuda::combine<Out>({.how = how, .a = device_x.data(), .b = device_x.data() + width, .stride = stride, .n = n, .width = width, .out = out.data(), .out_stride = out_stride}, {}));
  finish();
  const auto got = out.download();
  for (std::uint32_t i = 0; i < n; ++i) {
    for (std::uint32_t c = 0; c < width; ++c) {
      const double a = x[i * stride + c], b = x[i * stride + width + c];
      const double want = how == cuda::pairing::add ? a + b : a / (1 + std::exp(-a)) * b;
      // e^-a: the rounded product -a log2 e moves it by |a| · 2 ulp, exp2 by 2 ulp, then four operations; subnormals are lost
      const double bound = how == cuda::pairing::add ? 1 : 2 * std::fabs(a) + 8;
      REQUIRE(std::fabs(widened(got[i * out_stride + c]) - want) <= (bound * std::ldexp(1.0, -24) + rounding<Out>) * std::fabs(want) + 1e-35);
    }
    REQUIRE(widened(got[i * out_stride + width]) == 7.0f);
  }
}

}  // namespace

TEST_CASE("linear cuda: rms_norm agrees with double precision, for all rows and for those that are wanted") {
  if (!device_or_skip()) return;
  for (const bool gather : {false, true}) {
    for (const std::uint32_t width : {1u, 31u, 576u, 1001u}) check_norm<float>(7, width, gather);
    check_norm<bf16>(4, 96, gather);
  }
}

TEST_CASE("linear cuda: rms_norm in place, and the same bits beside other rows") {
  if (!device_or_skip()) return;
  const std::uint32_t width = 300, n = 5;
  const auto weight = random_rows(1, width, width, 3);
  const device_array<float> x(random_rows(n, width, width, 4), "x"), device_weight(weight, "weight");
  device_array<float> in_place(x.download(), "in place"), one(width, "one");
  const auto norm = [&](const float* from, std::uint32_t rows, float* to) {
    REQUIRE(cuda::rms_norm<float>({.x = from, .x_stride = width, .weight = device_weight.data(), .n = rows, .width = width, .out = to, .out_stride = width}, {}));
    finish();
  };
  norm(in_place.data(), n, in_place.data());
  const auto all = in_place.download();
  for (std::uint32_t i = 0; i < n; ++i) {
    order(i + 40);
    norm(x.data() + i * width, 1, one.data());
    REQUIRE(std::memcmp(one.download().data(), all.data() + i * width, width * sizeof(float)) == 0);
  }
}

TEST_CASE("linear cuda: gates and residuals agree with double precision") {
  if (!device_or_skip()) return;
  for (const auto how : {cuda::pairing::silu_mul, cuda::pairing::add})
    for (const std::uint32_t width : {1u, 33u, 576u}) {
      check_pair<float>(how, 3, width);
      check_pair<bf16>(how, 2, width);
    }
}

TEST_CASE("linear cuda: rows are narrowed to nearest even") {
  if (!device_or_skip()) return;
  const std::uint32_t n = 3, width = 301;
  const auto x = random_rows(n, width, width + 2, 8);
  const device_array<float> device_x(x, "x");
  device_array<bf16> out(std::vector<bf16>(n * (width + 1), bf16::from(7)), "out");
  REQUIRE(cuda::narrow_rows<bf16>({.x = device_x.data(), .x_stride = width + 2, .n = n, .width = width, .out = out.data(), .out_stride = width + 1}, {}));
  finish();
  const auto got = out.download();
  for (std::uint32_t i = 0; i < n; ++i)
    for (std::uint32_t c = 0; c <= width; ++c) REQUIRE(got[i * (width + 1) + c].bits == bf16::from(c < width ? x[i * (width + 2) + c] : 7.0f).bits);
}

TEST_CASE("linear cuda: the greatest logit, the first of equals, never NaN") {
  if (!device_or_skip()) return;
  constexpr float inf = std::numeric_limits<float>::infinity();
  const std::uint32_t width = 777, n = 8;
  auto x = random_rows(n, width, width, 9);
  const auto at = [&](std::uint32_t r, std::uint32_t c) -> float& { return x[r * width + c]; };
  std::vector<std::uint32_t> want(n);
  at(0, 776) = 50, want[0] = 776;
  at(1, 0) = 50, want[1] = 0;
  at(2, 300) = at(2, 556) = at(2, 301) = 50, want[2] = 300;
  for (std::uint32_t c = 0; c < width; ++c) at(3, c) = -5 - static_cast<float>((c + 400) % width), at(4, c) = NAN, at(5, c) = -inf, at(6, c) = c == 5 ? 0.0f : c < 5 ? -0.0f : -1.0f;
  want[3] = width - 400, want[4] = 0, want[5] = 0, want[6] = 0;
  at(7, 100) = NAN, at(7, 600) = inf, want[7] = 600;
  const device_array<float> device_x(x, "x");
  device_array<std::uint32_t> chosen(n, "chosen");
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    order(seed);
    REQUIRE(cuda::argmax<float>({.x = device_x.data(), .stride = width, .n = n, .width = width, .chosen = chosen.data()}, {}));
    finish();
    REQUIRE(chosen.download() == want);
  }
}
