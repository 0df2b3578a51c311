// SPDX-License-Identifier: Apache-2.0
// Tiles of other codecs as operands: fp8, f32, 8, 3 and 2 bits, scales by rows and by columns.
#include "attention/cuda/operand_check.hpp"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_integer.cuh"

using namespace operand_check;

TEST_CASE("operands") {
  check_keys<kv::integer<8, kv::group::column>, 64>();
  check_keys<kv::integer<4, kv::group::row>, 64>();
  check_values<kv::integer<2, kv::group::row>, 64>();
  check_keys<kv::integer<3, kv::group::row, 32>, 64>();
  check_keys<kv::fp8, 32>();
  check_keys<kv::raw<float>, 16>();
}
