// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/tuning/sm_86.cuh"

#include "rows.hpp"

using namespace tuning_rows;
using sm_86 = cuda::tuning::sm_86;

TEST_CASE("cuda tuning, sm_86: what decode kernels and chunks get") {
  static_assert(gets<sm_86, kv::raw_bf16, 64, 8, 2, 2>() && gets<sm_86, kv::raw_bf16, 128, 8, 2, 1>());
  static_assert(gets<sm_86, per_token<8>, 64, 8, 4, 2>() && gets<sm_86, rotated<4>, 64, 8, 7, 2>() && gets<sm_86, rotated<4>, 128, 8, 9, 1>());
  SUCCEED();
}

TEST_CASE("cuda tuning, sm_86: rows change no bit") { check_bits<sm_86>(); }
