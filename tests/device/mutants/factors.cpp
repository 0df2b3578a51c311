// SPDX-License-Identifier: Apache-2.0
// Sealing with factors and outliers.
#include "attention/cuda/encode_gear_check.hpp"

TEST_CASE("factors") {
  using namespace encode_gear_check;
  for (rows what : {rows::spiky, rows::low_rank, rows::equal}) check<gear<integer<2, group::row>, 2, 2>, kv::raw<bf16>>(kv::side::key, 64, what);
}
