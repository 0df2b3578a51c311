// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/operand_gear.cuh"

#include "attention/cuda/operand_check.hpp"
#include "catch.hpp"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_integer.cuh"

using namespace operand_check;
using kv::gear;
using kv::group;
using kv::integer;

TEST_CASE("cuda operands: backbone, factors and outliers are one product") {
  check_keys<gear<integer<2, group::row>, 2, 2>, 64, 128>();
  check_values<gear<integer<2, group::row>, 2, 2>, 64, 256>();
  check_keys<kv::hadamard<gear<integer<4, group::column>, 8, 4>>, 96>();
  check_values<gear<integer<4, group::row>, 1, 6>, 48>();
}
TEST_CASE("cuda operands: factors alone, outliers alone, and behind a scale of two bytes") {
  check_keys<gear<integer<8, group::row>, 5, 0>, 64>();
  check_values<gear<integer<4, group::row>, 0, 2>, 96>();
  check_keys<gear<kv::fp8, 3, 2>, 32>();
}
