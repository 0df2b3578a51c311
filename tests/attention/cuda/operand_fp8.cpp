// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/operand_fp8.cuh"

#include "attention/cuda/operand_check.hpp"
#include "catch.hpp"

using namespace operand_check;

TEST_CASE("cuda operands: fp8 tiles with one power of two, on both sides") {
  check_keys<kv::fp8, 16, 48, 64, 96, 128, 256>();
  check_values<kv::fp8, 16, 48, 64, 96, 128, 256>();
  check_keys<kv::hadamard<kv::fp8>, 64>();
}

TEST_CASE("cuda operands: every fp8 number that the codec writes is widened exactly") {
  constexpr kv::tile_shape s{64, 64};
  std::vector<std::byte> tile(round_up(kv::fp8{}.tile_bytes(s), 64));
  std::vector<float> decoded(s.elements()), ones(operand_check::coefficient_rows * 64);
  for (std::uint32_t i = 0; i < s.elements(); ++i) {  // columns 4c to 4c + 3 of row r: all codes but NaN and subnormals
    std::uint32_t code = i % 256;
    if ((code & 0x7fu) == 0x7fu || (code & 0x7fu) < 8) code = 0;
    tile[i] = static_cast<std::byte>(code);
  }
  const f16 scale = f16::from(0.25f);
  std::memcpy(tile.data() + s.elements(), &scale, sizeof scale);
  kv::fp8{}.decode({}, s, tile.data(), decoded.data());
  for (std::uint32_t row = 0; row < 64; row += operand_check::coefficient_rows) {  // rows of the unit matrix: products are elements
    std::fill(ones.begin(), ones.end(), 0.0f);
    for (std::uint32_t q = 0; q < operand_check::coefficient_rows; ++q) ones[q * 64 + row + q] = 1;
    device_array<std::byte> device_tile(tile, "tile");
    device_array<float> x(ones, "unit rows"), y(operand_check::coefficient_rows * 64, "elements");
    using operand = cuda::operand<kv::fp8, 64, 64>;
    const status launched = device::launch(&multiply_tile<operand>, {.threads = cuda::block_threads, .shared_bytes = shared_bytes<operand>}, {}, device_tile.data(), x.data(), y.data());
    device_test::finish();
    REQUIRE(launched);
    const auto got = y.download();
    for (std::uint32_t i = 0; i < got.size(); ++i)
      if (got[i] != decoded[row * 64 + i]) FAIL("row " << row + i / 64 << ", column " << i % 64 << ": " << got[i] << " for " << decoded[row * 64 + i]);
  }
}
