// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/operand.cuh"

#include "attention/cuda/operand_check.hpp"
#include "catch.hpp"

using namespace operand_check;

TEST_CASE("cuda operands: 16-bit floats multiply as they are, on both sides and at every head size") {
  check_keys<kv::raw<bf16>, 16, 32, 48, 64, 80, 96, 112, 128, 192, 256>();
  check_values<kv::raw<bf16>, 16, 32, 48, 64, 80, 96, 112, 128, 192, 256>();
  check_keys<kv::raw<f16>, 16, 64, 96, 128, 256>();
  check_values<kv::raw<f16>, 16, 64, 96, 128, 256>();
}
TEST_CASE("cuda operands: an f32 is two bf16") {
  check_keys<kv::raw<float>, 16, 96>();
  check_values<kv::raw<float>, 48, 128>();
}

namespace {

using half = cuda::operand<kv::raw<f16>, 64, 64>;
using brain = cuda::operand<kv::raw<bf16>, 64, 64>;
static_assert(half::f16_products && !brain::f16_products);

__global__ void pack_some(std::uint32_t* out) {
  out[0] = cuda::pack<half>(1e6f, -1e6f), out[1] = cuda::pack<half>(1.0f, -2.0f), out[2] = cuda::pack<brain>(1.0f, -2.0f), out[3] = cuda::pack<brain>(1e30f, 1.00390625f);
}

}  // namespace

TEST_CASE("cuda operands: f16 coefficients saturate, bf16 ones keep the range of f32 and round to even") {
  device_array<std::uint32_t> out(4, "words");
  const status launched = device::launch(&pack_some, {.threads = 1}, {}, out.data());
  device_test::finish();
  REQUIRE(launched);
  CHECK(out.download() == std::vector<std::uint32_t>{0xfbff7bffu, 0xc0003c00u, 0xc0003f80u, 0x3f800000u | bf16::from(1e30f).bits});
}

TEST_CASE("cuda operands: a rotated codec multiplies as its base does, and rows of words never lie in one bank") {
  static_assert(std::is_base_of_v<cuda::operand<kv::raw<bf16>, 64, 64>, cuda::operand<kv::hadamard<kv::raw<bf16>>, 64, 64>>);
  check_keys<kv::hadamard<kv::raw<bf16>>, 64>();
  const auto banks = []<class Operand>(Operand) {  // 16 lanes load 64 bits each at a time
    for (std::uint32_t first = 0; first < 32; first += 16) {
      std::uint64_t used = 0;
      for (std::uint32_t lane = first; lane < first + 16; ++lane)
        for (std::uint32_t word = 0; word < 2; ++word) used |= std::uint64_t{1} << (lane % 4 * Operand::stride + 2 * (lane / 4) + word) % 32;
      CHECK(used == 0xffffffffu);
    }
  };
  banks(cuda::operand<kv::raw<bf16>, 64, 64>{});
  banks(cuda::operand<kv::raw<bf16>, 64, 96>{});
  banks(cuda::operand<kv::raw<bf16>, 64, 128>{});
  banks(cuda::operand<kv::raw<bf16>, 64, 256>{});
}
