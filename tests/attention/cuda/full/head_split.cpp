// SPDX-License-Identifier: Apache-2.0
// Minutes of compiling and running: hidden, and built by nobody who does not ask for it.
#include "attention/cuda/composed/matrix.hpp"

using namespace composed;

TEST_CASE("cuda, the full grid: heads in two groups, bf16", "[.full]") { check_grid<with_bf16, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, f16", "[.full]") { check_grid<with_f16, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, fp8", "[.full]") { check_grid<with_fp8, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int8, scales by token", "[.full]") { check_grid<with_int8, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int4, scales by token", "[.full]") { check_grid<with_int4, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int2, scales by token", "[.full]") { check_grid<with_int2, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int4, scales of keys by channel", "[.full]") { check_grid<with_int4_channel, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int4, rotated", "[.full]") { check_grid<with_int4_rotated, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int8, rotated", "[.full]") { check_grid<with_int8_rotated, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int2 with factors and outliers", "[.full]") { check_grid<with_gear_2, in_two_groups>(); }
TEST_CASE("cuda, the full grid: heads in two groups, int3, scales in groups of 32", "[.full]") { check_grid<with_int3_groups, in_two_groups>(); }
