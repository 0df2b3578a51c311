// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/tuning/sm_80.cuh"

#include "rows.hpp"

using namespace tuning_rows;
using sm_80 = cuda::tuning::sm_80;

TEST_CASE("cuda tuning, sm_80: what decode kernels and chunks get") {
  static_assert(gets<sm_80, kv::raw_bf16, 64, 8, 4, 2>() && gets<sm_80, kv::raw_bf16, 128, 8, 2, 2>() && gets<sm_80, kv::raw_bf16, 256, 8, 2, 1>());
  static_assert(gets<sm_80, per_token<8>, 64, 8, 5, 3>() && gets<sm_80, per_token<8>, 128, 8, 3, 2>());
  static_assert(gets<sm_80, rotated<4>, 64, 8, 8, 3>() && gets<sm_80, rotated<4>, 128, 8, 7, 2>());
  static_assert(gets<sm_80, kv::raw_bf16, 128, 64, 3, 1>());
  SUCCEED();
}

TEST_CASE("cuda tuning, sm_80: rows change no bit") { check_bits<sm_80>(); }
