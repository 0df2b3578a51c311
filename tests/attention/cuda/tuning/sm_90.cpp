// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/tuning/sm_90.cuh"

#include "rows.hpp"

using namespace tuning_rows;
using sm_90 = cuda::tuning::sm_90;

TEST_CASE("cuda tuning, sm_90: what decode kernels and chunks get") {
  static_assert(gets<sm_90, kv::raw_bf16, 64, 8, 3, 3>() && gets<sm_90, kv::raw_bf16, 128, 8, 3, 2>() && gets<sm_90, kv::raw_bf16, 256, 8, 3, 1>());
  static_assert(gets<sm_90, per_token<8>, 64, 8, 7, 3>() && gets<sm_90, per_token<8>, 128, 8, 5, 2>());
  static_assert(gets<sm_90, rotated<4>, 64, 8, 9, 4>() && gets<sm_90, rotated<4>, 128, 8, 7, 3>());
  static_assert(gets<sm_90, kv::raw_bf16, 128, 64, 2, 2>() && gets<sm_90, rotated<4>, 128, 32, 8, 2>());
  SUCCEED();
}

TEST_CASE("cuda tuning, sm_90: rows change no bit") { check_bits<sm_90>(); }
