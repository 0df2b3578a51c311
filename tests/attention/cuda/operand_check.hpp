// SPDX-License-Identifier: Apache-2.0
// One tile, sealed by its codec, times eight rows of coefficients on tensor cores: what both products of the fold are made of.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "device/memory.hpp"
#include "quire/attention/cuda/operand.cuh"

namespace operand_check {

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

inline constexpr std::uint32_t coefficient_rows = 8;

/// What repairs ask of a block: eight rows on tensor cores.
struct eight_rows {
  static constexpr bool on_cores = false;
  static constexpr std::uint32_t row_blocks = 1, lane_rows = 2, fragment_floats = 4;
};
template <class Operand>
constexpr std::size_t shared_bytes = Operand::staged_bytes + Operand::steps * cuda::warp_threads * 8;

/// y [8][columns] = x [8][rows] · X.
template <class Operand>
__global__ void __launch_bounds__(cuda::block_threads) multiply_tile(const std::byte* tile, const float* x, float* y) {
  std::byte* staged = device::shared_memory();
  Operand::stage(staged, tile, cuda::async_order{threadIdx.x});
  auto* coefficients = reinterpret_cast<std::uint32_t*>(staged + Operand::staged_bytes);   // for repairs: [step][lane][2]
  for (std::uint32_t i = threadIdx.x; i < Operand::steps * cuda::warp_threads * 2; i += cuda::block_threads) {
    const cuda::lane_place to = cuda::lane_place::of(i / 2 % cuda::warp_threads);
    const float* from = x + to.g * Operand::rows + 2 * Operand::pair_of({i / 2 / cuda::warp_threads, to.t, i % 2});
    coefficients[i] = cuda::pack<cuda::repair_products>(from[0], from[1]);
  }
  device::copy_commit();
  device::copy_wait<0>();
  __syncthreads();
  const cuda::lane_place l = cuda::lane_place::of(threadIdx.x % cuda::warp_threads);
  for (std::uint32_t column = threadIdx.x / cuda::warp_threads * cuda::mma_columns; column < Operand::columns; column += cuda::block_warps * cuda::mma_columns) {
    float c[4] = {0, 0, 0, 0};
    Operand::for_each_step(staged, column, l, [&](std::uint32_t step, const std::uint32_t(&a)[4]) {
      std::uint32_t b[2];
      for (std::uint32_t half = 0; half < 2; ++half) {
        const std::uint32_t row = 2 * Operand::pair_of({step, l.t, half});
        float low = x[l.g * Operand::rows + row], high = x[l.g * Operand::rows + row + 1];
        if constexpr (cuda::scales_coefficients<Operand>) {
          const float4 by = Operand::four_of(staged, step, column, l).scale;
          low *= half == 0 ? by.x : by.z, high *= half == 0 ? by.y : by.w;
        }
        b[half] = cuda::pack<Operand>(low, high);
      }
      cuda::multiply<Operand>(c, a, b);
    });
    for (std::uint32_t i = 0; i < 4; ++i) {
      const std::uint32_t query = 2 * l.t + i % 2, at = column + 2 * l.g + i / 2;
      const float* mine = x + query * Operand::rows;
      if constexpr (Operand::scaled == cuda::scaling::tile) c[i] *= Operand::scale(staged, 0);
      if constexpr (cuda::scales_coefficients<Operand>)
        for (std::uint32_t step = 0; step < Operand::steps; ++step)
          for (std::uint32_t t = 0; t < 4; ++t) {
            const float* four = mine + 2 * Operand::pair_of({step, t, 0});
            const float4 low = Operand::four_of(staged, step, column, {l.g, t}).minimum;
            c[i] = fmaf(four[0], low.x, fmaf(four[1], low.y, fmaf(four[2], low.z, fmaf(four[3], low.w, c[i]))));
          }
      if constexpr (Operand::scaled == cuda::scaling::columns) {
        float sum = 0;
        for (std::uint32_t r = 0; r < Operand::rows; ++r) sum += mine[r];
        c[i] = fmaf(c[i], Operand::scale(staged, at), Operand::minimum(staged, at) * sum);
      }
    }
    if constexpr (cuda::is_repaired<Operand>) {
      float along[1][4] = {}, more[1][4] = {};
      Operand::template project<eight_rows>(staged, coefficients, along, l);
      Operand::template repair<eight_rows>(staged, column, coefficients, along, more, l);
      for (std::uint32_t i = 0; i < 4; ++i) c[i] += more[0][i];
    }
    for (std::uint32_t i = 0; i < 4; ++i) y[(2 * l.t + i % 2) * Operand::columns + column + 2 * l.g + i / 2] = c[i];
  }
}

/// What a product adds to scale·code, where codes are counted from their middle.
template <class Codec>
double minimum_of(kv::tile_shape s, const std::byte* tile, std::uint32_t r, std::uint32_t c) {
  if constexpr (requires { Codec::rank; }) return minimum_of<typename Codec::base_codec>(s, tile, r, c);
  else if constexpr (requires { Codec::minima(s, tile); }) return static_cast<double>(Codec::minima(s, tile)[Codec::group_of(s, r, c)].to_float()) + (1 << (Codec::bits - 1)) * static_cast<double>(Codec::scales(s, tile)[Codec::group_of(s, r, c)].to_float());
  else return 0.0;
}

/// Coefficients are exact in bf16 and f16, so a product differs from decode()·x by the order of an f32 sum alone; scales by rows go
/// into the coefficients, which are then rounded to bf16. Of an f32 two bf16 keep all but 2^-18.
template <class Codec, std::uint32_t Rows, std::uint32_t Columns>
void check_product() {
  using operand = cuda::operand<Codec, Rows, Columns>;
  for (std::uint32_t pair = 0; pair < Rows / 2; ++pair) {  // an inverse on as many places as there are pairs: both are permutations
    const cuda::pair_place p = operand::place_of(pair);
    REQUIRE((p.step < operand::steps && p.t < 4 && p.half < 2));
    REQUIRE(operand::pair_of(p) == pair);
  }
  constexpr kv::tile_shape s{Rows, Columns};
  const Codec codec{};
  const kv::codec_context at{.which = Columns == tile_tokens ? kv::side::key : kv::side::value};
  std::mt19937 random(Rows * 1000 + Columns);
  std::normal_distribution<float> normal;
  std::vector<float> x(s.elements()), decoded(s.elements()), coefficients(coefficient_rows * Rows);
  for (std::uint32_t r = 0; r < Rows; ++r)
    for (std::uint32_t c = 0; c < Columns; ++c) x[r * Columns + c] = normal(random) * static_cast<float>(1 + r % 7) * static_cast<float>(1 + c % 5) + 0.5f;
  for (float& c : coefficients) c = static_cast<float>(static_cast<int>(random() % 33) - 16) / 8;
  std::vector<std::byte> tile(round_up(codec.tile_bytes(s), 64));
  codec.encode(at, s, x.data(), tile.data());
  codec.decode(at, s, tile.data(), decoded.data());
  auto scaled = decoded;  // the part whose coefficients are scaled and rounded
  if constexpr (requires { Codec::rank; }) codec.base.decode(at, s, tile.data(), scaled.data());

  device_array<std::byte> device_tile(tile, "tile");
  device_array<float> device_x(coefficients, "coefficients"), y(coefficient_rows * Columns, "products");
  const status launched = device::launch(&multiply_tile<operand>, {.threads = cuda::block_threads, .shared_bytes = shared_bytes<operand>}, {}, device_tile.data(), device_x.data(), y.data());
  device_test::finish();
  REQUIRE(launched);
  const auto got = y.download();
  double most = 0;
  for (std::uint32_t q = 0; q < coefficient_rows; ++q)
    for (std::uint32_t c = 0; c < Columns; ++c) {
      double want = 0, spread = 0, size = 0;
      for (std::uint32_t r = 0; r < Rows; ++r) {
        const double a = static_cast<double>(coefficients[q * Rows + r]), e = static_cast<double>(decoded[r * Columns + c]), d = static_cast<double>(scaled[r * Columns + c]);
        const double low = minimum_of<Codec>(s, tile.data(), r, c);
        want += a * e, spread += std::fabs(a * (d - low)), size += std::fabs(a) * (std::fabs(e) + std::fabs(d) + std::fabs(low));
      }
      constexpr double rest = std::is_same_v<Codec, kv::raw<float>> ? 0x1p-18 : 0x1p-21;
      const double bound = (cuda::scales_coefficients<operand> ? 0x1p-8 * spread : 0.0) + rest * size;
      most = std::max(most, std::fabs(want - static_cast<double>(got[q * Columns + c])) / bound);
    }
  CAPTURE(Codec::format(), Rows, Columns);
  CHECK(most <= 1);
}

/// Keys of heads of these sizes; values.
template <class Codec, std::uint32_t... Dim>
void check_keys() { (check_product<Codec, Dim, tile_tokens>(), ...); }
template <class Codec, std::uint32_t... Dim>
void check_values() { (check_product<Codec, tile_tokens, Dim>(), ...); }

}  // namespace operand_check
