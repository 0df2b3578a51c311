// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/settle.cuh"

#include "attention/cuda/settle_check.hpp"
#include "catch.hpp"

using namespace settle_check;

TEST_CASE("cuda settle: sums of dropped tiles, and the mean token that each tile's queries read") { check<kv::raw_bf16, 8>(0.02); }
TEST_CASE("cuda settle: the same of repaired tiles, on CUDA cores") { check<repaired<4>, 2>(2e-5); }
TEST_CASE("cuda settle: the same in a rotated basis, beside exact tiles that are turned over") { check<rotated<4>, 16>(0.02); }
