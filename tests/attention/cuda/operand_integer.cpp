// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/operand_integer.cuh"

#include "attention/cuda/operand_check.hpp"
#include "catch.hpp"

using namespace operand_check;
using kv::group;
using kv::integer;

TEST_CASE("cuda operands: 8-bit codes, one scale for each row or column") {
  check_keys<integer<8, group::column>, 16, 48, 64, 96, 128, 256>();
  check_keys<integer<8, group::row>, 64, 96>();
  check_values<integer<8, group::row>, 16, 48, 64, 96, 128, 256>();
  check_values<integer<8, group::column>, 96>();
}
TEST_CASE("cuda operands: 4-bit codes, two planes a byte") {
  check_keys<integer<4, group::column>, 32, 64, 96, 128, 256>();
  check_keys<integer<4, group::row>, 32, 64, 96, 128, 256>();
  check_values<integer<4, group::row>, 16, 48, 64, 96, 128, 256>();
  check_values<integer<4, group::column>, 64>();
  check_keys<kv::hadamard<integer<4, group::column>>, 64>();
}
TEST_CASE("cuda operands: 2-bit codes, four planes a byte") {
  check_keys<integer<2, group::column>, 64, 128, 256>();
  check_keys<integer<2, group::row>, 64, 192>();
  check_values<integer<2, group::row>, 16, 64, 96, 128, 256>();
}
TEST_CASE("cuda operands: 3-bit codes, the highest bit apart") {
  check_keys<integer<3, group::column>, 64, 128>();
  check_keys<integer<3, group::row>, 64, 192>();
  check_values<integer<3, group::row>, 16, 64, 96, 256>();
}
TEST_CASE("cuda operands: scales for stretches of a row") {
  check_keys<integer<4, group::row, 32>, 32, 64, 96, 128>();
  check_keys<integer<8, group::row, 32>, 48>();
  check_keys<integer<3, group::row, 32>, 64, 128>();
  check_keys<integer<2, group::row, 64>, 64>();           // one group: whole rows
  check_values<integer<2, group::row, 32>, 64, 96, 128, 256>();
  check_values<integer<3, group::row, 32>, 64, 80, 128>();  // of 80 channels the last group is shorter
  check_values<integer<4, group::row, 96>, 256>();
  check_values<integer<8, group::row, 64>, 64, 96>();
}

namespace {

__global__ void widen_codes(std::uint32_t* out) {
  for (std::uint32_t i = threadIdx.x; i < 64; i += cuda::warp_threads) {
    const std::uint32_t bytes = 0x03020100u + 0x04040404u * i;
    out[4 * i] = cuda::detail::byte_codes<false>(bytes), out[4 * i + 1] = cuda::detail::byte_codes<true>(bytes);
    out[4 * i + 2] = cuda::detail::small_codes<false, 8>(bytes & 0x7f7f7f7fu), out[4 * i + 3] = cuda::detail::small_codes<true, 2>(bytes & 0x7f7f7f7fu);
  }
}

}  // namespace

TEST_CASE("cuda operands: every byte becomes its number less the middle in bf16, exactly") {
  device_array<std::uint32_t> out(256, "numbers");
  const status launched = device::launch(&widen_codes, {.threads = 32}, {}, out.data());
  device_test::finish();
  REQUIRE(launched);
  const auto words = out.download();
  const auto half = [&](std::uint32_t word, std::uint32_t high) { return bf16{static_cast<std::uint16_t>(words[word] >> 16 * high)}.to_float(); };
  for (std::uint32_t i = 0; i < 64; ++i)
    for (std::uint32_t k = 0; k < 4; ++k) {
      CHECK(half(4 * i + k / 2, k % 2) == static_cast<float>(4 * i + k) - 128);
      CHECK(half(4 * i + 2 + k / 2, k % 2) == static_cast<float>((4 * i + k) % 128) - (k < 2 ? 8 : 2));
    }
}
